"use strict";
// Numbers, times and elements: what every page writes with.
const byId = (id) => document.getElementById(id);
const missing = (x) => x === null || x === undefined;
const percent = (x, digits = 1) => (missing(x) ? "–" : (100 * x).toFixed(digits) + " %");
const number = (x, digits = 3) => (missing(x) ? "–" : Number(x.toPrecision(digits)).toString());
const milli = (s) => (missing(s) ? "–" : (1000 * s).toFixed(s < 0.1 ? 1 : 0) + " ms");
const hours = (s) => (missing(s) ? "–" : (s / 3600).toFixed(2));
const price = (x) => (missing(x) ? "–" : x.toFixed(2));

function offsetOf(zone, timeS) {
  // seconds to add to UTC for wall-clock time in `zone`
  try {
    const parts = Object.fromEntries(new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23",
      year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" })
      .formatToParts(new Date(1000 * timeS)).map((p) => [p.type, Number(p.value)]));
    return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) / 1000 - Math.floor(timeS);
  } catch { return 0; }
}
const local = (timeS) => new Date(1000 * (timeS + offsetOf(service().timezone, timeS)));
const wall = (timeS) => local(timeS).toISOString().slice(0, 19).replace("T", " ");
const clock = (timeS) => local(timeS).toISOString().slice(11, 16);
const minute = (timeS) => wall(timeS).slice(0, 16);

function element(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  made.append(...(Array.isArray(content) ? content : [content]).map((each) => (each instanceof Node ? each : String(each))));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function fillTable(id, rows) {
  // each row is a list of cells; the first one names the row; one line says so where there is nothing
  const columns = document.querySelectorAll(`#${id} thead th`).length;
  const body = rows.map((cells) => element("tr", cells.map((cell, i) => (i ? element("td", cell) : element("th", cell, { scope: "row" })))));
  if (!rows.length) body.push(element("tr", element("td", say("nothing yet"), { colspan: columns })));
  document.querySelector(`#${id} tbody`).replaceChildren(...body);
}

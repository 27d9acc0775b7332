"use strict";
// The red curve (load) over the blue blocks (units) of one policy; below, the share outside the SLO.
const data = JSON.parse(document.getElementById("data").textContent);
const chart = document.getElementById("chart"), nav = document.getElementById("policies");
let shown = data.shown;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const sum = (a, b) => a.map((v, i) => v + b[i]);

function line(name, of, tone, extra) {
  return { name, x: of.x, y: of.ready, mode: "lines", line: { shape: "hv", width: 1.6, color: colour(tone), dash: extra }, hovertemplate: "%{y}" };
}

function traces() {
  const of = data.policies[shown], all = data.policies, found = [];
  const area = { mode: "lines", line: { shape: "hv", width: 0 } };
  found.push({ ...area, name: "ready", x: of.x, y: of.ready, fill: "tozeroy", fillcolor: colour("ready"), hovertemplate: "%{y}" });
  found.push({ ...area, name: "warming", x: of.x, y: sum(of.ready, of.warming), fill: "tonexty", fillcolor: colour("warming"), customdata: of.warming, hovertemplate: "%{customdata}" });
  if (all["static-peak"] && shown !== "static-peak") found.push(line("static peak", all["static-peak"], "peak", "dot"));
  if (all["tide-clairvoyant"] && shown !== "tide-clairvoyant") found.push(line("tide clairvoyant", all["tide-clairvoyant"], "tide", "dash"));
  found.push({ name: "load, in units needed", x: data.load.x, y: data.load.y, mode: "lines", line: { color: colour("red"), width: 1.8 }, hovertemplate: "%{y:.1f}" });
  found.push({ name: "outside the SLO", x: data.outside_x, y: of.outside, width: data.outside_ms, offset: 0, type: "bar", yaxis: "y2", marker: { color: of.outside.map((v) => colour(v > data.allowed ? "bad" : "ready")) }, hovertemplate: "%{y:.2%}", showlegend: false });
  return found;
}

function layout() {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line") };
  return {
    paper_bgcolor: colour("card"), plot_bgcolor: colour("card"), font: { color: colour("ink"), size: 12 },
    margin: { l: 56, r: 16, t: 8, b: 40 }, hovermode: "x unified", uirevision: "kept",
    hoverlabel: { bgcolor: colour("card"), font: { color: colour("ink") } },
    legend: { orientation: "h", y: 1.08, x: 0 },
    xaxis: { ...axis, type: "date", anchor: "y2" },
    yaxis: { ...axis, title: { text: "units" }, rangemode: "tozero", domain: [0.3, 1] },
    yaxis2: { ...axis, title: { text: "outside" }, tickformat: ".1%", rangemode: "tozero", domain: [0, 0.22] },
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y2", y0: data.allowed, y1: data.allowed, line: { color: colour("red"), width: 1, dash: "dot" } }],
  };
}

function draw() {
  for (const button of nav.children) button.setAttribute("aria-pressed", String(button.dataset.policy === shown));
  chart.setAttribute("aria-label", "Load and units of " + shown);
  Plotly.react(chart, traces(), layout(), { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
}

for (const name of Object.keys(data.policies)) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.policy = name;
  button.textContent = name;
  button.onclick = () => { shown = name; draw(); };
  nav.append(button);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();

"use strict";
// The red curve (load) over the blue blocks (units), live. Reads /v1; draws with Plotly.
const byId = (id) => document.getElementById(id);
const PAST_S = 14 * 3600, COMING_S = 24 * 3600;
let picked = new URLSearchParams(location.search).get("service");
let overview = null, tide = null, busy = false;

const percent = (x, digits = 1) => (x === null || x === undefined ? "–" : (100 * x).toFixed(digits) + " %");
const number = (x, digits = 3) => (x === null || x === undefined ? "–" : Number(x.toPrecision(digits)).toString());
const milli = (s) => (s === null || s === undefined ? "–" : (1000 * s).toFixed(s < 0.1 ? 1 : 0) + " ms");

const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function offsetOf(zone, timeS) {
  // seconds to add to UTC for wall-clock time in `zone`
  try {
    const parts = Object.fromEntries(new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23",
      year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" })
      .formatToParts(new Date(1000 * timeS)).map((p) => [p.type, Number(p.value)]));
    return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) / 1000 - Math.floor(timeS);
  } catch { return 0; }
}
const service = () => overview && (overview.services.find((s) => s.name === picked) || overview.services[0]);
const local = (timeS) => new Date(1000 * (timeS + offsetOf(service().timezone, timeS)));
const wall = (timeS) => local(timeS).toISOString().slice(0, 19).replace("T", " ");
const clock = (timeS) => local(timeS).toISOString().slice(11, 16);

function showServices() {
  const nav = byId("services");
  if (nav.childElementCount === overview.services.length) {
    for (const b of nav.children) b.setAttribute("aria-pressed", String(b.textContent === service().name));
    return;
  }
  nav.replaceChildren(...overview.services.map((s) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = s.name;
    button.setAttribute("aria-pressed", String(s.name === service().name));
    button.onclick = () => { picked = s.name; history.replaceState(null, "", "?service=" + encodeURIComponent(picked)); show(); drawTide(); };
    return button;
  }));
}

function show() {
  const s = service();
  if (!s) return;
  showServices();
  const u = s.units, served = s.served, paid = s.ledger;
  byId("clock").textContent = wall(overview.now_s) + " " + s.timezone + (overview.speed > 1 ? " · " + overview.compressed : "");
  byId("units").textContent = u.ready + (u.warming ? " + " + u.warming + " warming" : "");
  byId("units-detail").textContent = "need " + (s.need_units ?? "–") + ", hold " + (s.hold_units ?? "–") +
    (u.draining ? ", " + u.draining + " draining" : "") + " · lead p90 " + number(s.lead_time_s / overview.speed, 2) + " s";
  const kept = served.requests ? served.attainment : null;
  byId("slo").textContent = percent(kept, 2);
  byId("slo").className = "big " + (kept === null ? "" : kept >= s.slo.attainment ? "good" : "bad");
  const first = s.slo.ttft_p99_s !== null ? "TTFT p99 " + milli(served.ttft_p99_s) + " of " + milli(s.slo.ttft_p99_s)
    : "latency p99 " + milli(served.latency_p99_s) + " of " + milli(s.slo.latency_p99_s);
  byId("slo-detail").textContent = served.requests + " requests, " + first;
  byId("saved").textContent = percent(paid.saved_share, 0);
  byId("saved-detail").textContent = number(paid.paid_s / 3600) + " unit-hours, static peak of " + paid.peak_units + " would be " + number(paid.static_peak_s / 3600);
  byId("load").textContent = number(s.forecast_rps) + " /s";
  byId("load-detail").textContent = "planned for " + number(s.planned_rps) + " /s · " + (s.champion ?? "no champion");
  byId("why").textContent = (s.decision ? clock(s.decision.at_s) + " " + s.decision.explanation : "no decision yet") + (s.note ? " · " + s.note : "");
  showTrust(s);
  byId("about").textContent = "Tidegate " + overview.version + " · models at " + overview.tier_url;
}

function showTrust(s) {
  if (document.activeElement !== byId("mode")) byId("mode").value = s.mode;
  byId("freeze").setAttribute("aria-pressed", String(s.frozen));
  byId("freeze").textContent = s.frozen ? "Frozen" : "Freeze";
  const waits = s.waiting && !s.waiting.declined;
  byId("waiting").hidden = !waits;
  if (waits) byId("waiting-order").textContent = "Waits for your word: " + s.waiting.why;
}

async function order(method, path, body) {
  const answer = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) problem((await answer.json()).detail);
  return answer.ok;
}
const here = () => "/v1/services/" + encodeURIComponent(service().name);
const answerOrder = (approved) => service().waiting && order("POST", here() + "/answer", { order_id: service().waiting.order_id, approved, why: "dashboard" });

function bindOrders() {
  byId("approve").onclick = () => answerOrder(true);
  byId("decline").onclick = () => answerOrder(false);
  byId("mode").onchange = (event) => { order("PUT", here() + "/mode", { mode: event.target.value, why: "dashboard" }); event.target.blur(); };
  byId("freeze").onclick = () => order("PUT", "/v1/freeze", { frozen: !service().frozen, why: "dashboard" });
}

function steps(start, step, values, extra) {
  // a step area: each value holds from its moment to the next
  const x = values.map((_, i) => wall(start + i * step));
  return { x, y: values, mode: "lines", line: { shape: "hv", width: 0 }, fill: "tozeroy", hoverinfo: "skip", ...extra };
}

function traces() {
  const t = tide, found = [];
  const sum = (a, b) => a.map((v, i) => v + b[i]);
  const units = t.units, begin = units.start_s, step = units.step_s;
  const warming = sum(units.ready, units.warming), all = sum(warming, units.draining);
  found.push(steps(begin, step, all, { fillcolor: dark() ? "#55677a" : "#b4c0cd", name: "draining" }));
  found.push(steps(begin, step, warming, { fillcolor: "#f2b134", name: "warming" }));
  found.push(steps(begin, step, units.ready, { fillcolor: dark() ? "#2f5f9e" : "#7fa9de", name: "ready" }));
  if (t.plan) {
    const runs = t.plan.runs.filter((r) => r.start_s < t.now_s + COMING_S);
    const x = runs.map((r) => wall(Math.max(r.start_s, t.now_s))), y = runs.map((r) => r.hold);
    x.push(wall(Math.min(t.plan.end_s, t.now_s + COMING_S))); y.push(y[y.length - 1]);
    found.push({ x, y, mode: "lines", line: { shape: "hv", width: 1.5, color: "#2f6fc4" }, fill: "tozeroy",
      fillcolor: "rgba(47,111,196,.25)", name: "planned units", hovertemplate: "%{y} units<extra>planned</extra>" });
  }
  if (t.forecast) {
    const f = t.forecast, x = [], n = f["q0.5"].length;
    for (let i = 0; i < n; i++) x.push(wall(f.start_s + (i + 0.5) * f.step_s));
    found.push({ x, y: f["q0.05"], mode: "lines", line: { width: 0 }, hoverinfo: "skip", yaxis: "y2" });
    found.push({ x, y: f["q0.95"], yaxis: "y2", mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: "rgba(214,40,57,.22)", hoverinfo: "skip" });
    found.push({ x, y: f["q0.5"], mode: "lines", line: { color: "#d62839", width: 2, dash: "dot" }, yaxis: "y2", name: "forecast", hovertemplate: "%{y:.3g}/s<extra>forecast</extra>" });
  }
  const o = t.observed;
  found.push({ x: o.rate_rps.map((_, i) => wall(o.start_s + (i + 0.5) * t.step_s)), y: o.rate_rps, yaxis: "y2", mode: "lines", connectgaps: false,
    line: { color: "#d62839", width: 2.2 }, name: "load", hovertemplate: "%{y:.3g}/s<extra>load</extra>" });
  return found;
}

function drawTide() {
  if (!tide || !window.Plotly || !service() || tide.service !== service().name) return;
  const ink = dark() ? "#9aa7b5" : "#5b6878", line = dark() ? "#2b3744" : "#dde3ea";
  const tops = [...tide.observed.rate_rps, ...(tide.forecast ? tide.forecast["q0.95"] : [])].filter((v) => v !== null);
  const most = Math.max(tide.plan ? tide.plan.peak_units : 1, ...tide.units.ready, 1);
  const now = wall(tide.now_s);
  Plotly.react("chart", traces(), {
    margin: { l: 48, r: 44, t: 8, b: 32 }, showlegend: false, hovermode: "x unified",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
    xaxis: { range: [wall(tide.now_s - PAST_S), wall(tide.now_s + COMING_S)], gridcolor: line, tickformat: "%H:%M\n%a %d" },
    yaxis: { title: { text: "units" }, side: "right", range: [0, most * 1.2], dtick: Math.ceil(most / 8), gridcolor: line, zeroline: false },
    yaxis2: { title: { text: "requests/s" }, overlaying: "y", side: "left", tickmode: "auto", nticks: 7, range: [0, 1.15 * Math.max(...tops, 1e-6)], showgrid: false, zeroline: false },
    shapes: [{ type: "line", x0: now, x1: now, yref: "paper", y0: 0, y1: 1, line: { color: ink, width: 1.5, dash: "dash" } }],
    annotations: [{ x: now, yref: "paper", y: 1, text: "now", showarrow: false, xanchor: "left", xshift: 4, font: { color: ink } }],
  }, { displayModeBar: false, responsive: true });
  const chart = byId("chart");
  if (!chart.dataset.bound) {
    chart.dataset.bound = "yes";
    chart.on("plotly_click", (event) => explain(event.points[0].x));
  }
  showTable();
}

function showTable() {
  if (!tide.plan) return;
  const cells = (r) => [clock(r.start_s), number(r.rate_rps), r.need, r.hold, r.reason, r.binding];
  document.querySelector("#table tbody").replaceChildren(...tide.plan.runs.map((r) => {
    const row = document.createElement("tr");
    row.append(...cells(r).map((text) => { const cell = document.createElement("td"); cell.textContent = text; return cell; }));
    return row;
  }));
}

async function explain(x) {
  const guess = Date.parse(x.replace(" ", "T") + "Z") / 1000;
  const at = guess - offsetOf(service().timezone, guess);
  const found = await (await fetch(`/v1/services/${encodeURIComponent(service().name)}/explain?at_s=${at}`)).json();
  const s = found.slot;
  byId("picked").textContent = clock(at) + (at > overview.now_s && s
    ? `: hold ${s.hold_units} (${s.reason}); ${number(s.arrival_rate_rps)} requests/s (${number(s.offered_load_erl)} erl) need ${s.need_units}, ${s.binding} binds`
    : ": " + (found.why || "nothing was decided here"));
}

async function refresh() {
  if (busy || !service()) return;
  busy = true;
  try {
    const name = encodeURIComponent(service().name);
    const [picture, decisions] = await Promise.all([
      fetch(`/v1/services/${name}/tide`).then((r) => r.json()),
      fetch(`/v1/services/${name}/decisions?limit=40`).then((r) => r.json()),
    ]);
    tide = picture;
    drawTide();
    byId("decisions").replaceChildren(...decisions.map((d) => {
      const item = document.createElement("li"), bold = document.createElement("b");
      bold.textContent = clock(d.at_s) + " ";
      item.append(bold, d.explanation);
      return item;
    }));
  } catch (error) { problem(String(error)); } finally { busy = false; }
}

function problem(text) {
  const box = byId("problem");
  box.hidden = !text;
  box.textContent = text;
}

function listen() {
  bindOrders();
  const events = new EventSource("/v1/events");
  events.addEventListener("overview", (event) => {
    const first = overview === null;
    overview = JSON.parse(event.data);
    problem("");
    show();
    if (first) { refresh(); setInterval(refresh, overview.speed > 1 ? 1500 : 10000); }
  });
  events.addEventListener("problem", (event) => problem(JSON.parse(event.data)));
  events.onerror = () => problem("the daemon does not answer; trying again");
}

async function enter() {
  // with a token set, reads carry it as a cookie: event streams cannot send headers
  if ((await fetch("/v1/services")).status !== 401) return listen();
  const form = byId("token-form");
  form.hidden = false;
  byId("token").focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    document.cookie = "tidegate_token=" + encodeURIComponent(byId("token").value) + "; path=/; SameSite=Strict";
    form.hidden = true;
    enter();
  };
}
addEventListener("load", enter);

"use strict";
// The service page: the red curve (load) over the blue blocks (units), and why.
const PAST_S = 24 * 3600, COMING_S = 24 * 3600;
const HOVER_EVERY_S = 600, HOVER_COLUMNS = 46, NAME_MOST = 28;
let tide = null;

function showFigures(s) {
  const u = s.units, served = s.served, paid = s.ledger;
  byId("service-name").textContent = s.name;
  byId("units").textContent = u.ready + (u.warming ? " + " + say("{n} warming", { n: u.warming }) : "");
  byId("units-detail").textContent = say("need {need}, hold {hold}", { need: s.need_units ?? "–", hold: s.hold_units ?? "–" }) +
    (u.draining ? ", " + say("{n} draining", { n: u.draining }) : "") + " · " + say("lead p90 {s} s", { s: number(s.lead_time_s / overview.speed, 2) });
  const kept = served.requests ? served.attainment : s.kept.attainment;
  byId("slo").textContent = percent(kept, 2);
  byId("slo").className = "big " + (kept === null ? "" : kept >= s.slo.attainment ? "good" : "bad");
  const first = s.slo.ttft_p99_s !== null ? say("TTFT p99 {was} of {slo}", { was: milli(served.ttft_p99_s), slo: milli(s.slo.ttft_p99_s) })
    : say("latency p99 {was} of {slo}", { was: milli(served.latency_p99_s), slo: milli(s.slo.latency_p99_s) });
  byId("slo-detail").textContent = say("{n} requests", { n: served.requests || Math.round(s.kept.requests) }) + ", " + first;
  byId("saved").textContent = percent(paid.saved_share, 0);
  byId("saved-detail").textContent = say("{paid} unit-hours, static peak of {peak} would be {static}",
    { paid: number(paid.paid_s / 3600), peak: paid.peak_units, static: number(paid.static_peak_s / 3600) });
  byId("load").textContent = number(s.forecast_rps) + " /s";
  byId("load-detail").textContent = say("planned for {rate} /s", { rate: number(s.planned_rps) }) + " · " + (s.champion ?? say("no champion"));
  byId("why").textContent = (s.decision ? clock(s.decision.at_s) + " " + s.decision.explanation : say("no decision yet")) + (s.note ? " · " + s.note : "");
}

function steps(start, step, values, extra) {
  // a step area: each value holds from its moment to the next
  const x = values.map((_, i) => wall(start + i * step));
  return { x, y: values, mode: "lines", line: { shape: "hv", width: 0 }, fill: "tozeroy", hoverinfo: "skip", ...extra };
}

function folded(text) {
  // a hover does not wrap by itself
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines[lines.length - 1].length + word.length > HOVER_COLUMNS) lines.push("");
    lines[lines.length - 1] += word + " ";
  }
  return "<br>" + lines.map((line) => line.trim()).join("<br>");
}

function reasons(start, step, count) {
  // the decision that was in force at each moment, as far back as they were read
  const made = [...tide.decisions].sort((a, b) => a.at_s - b.at_s), found = [];
  for (let i = 0, last = -1; i < count; i++) {
    while (last + 1 < made.length && made[last + 1].at_s <= start + i * step) last += 1;
    found.push(last < 0 ? "" : (made[last].folded ??= folded(made[last].explanation)));
  }
  return found;
}

function planSlots(t) {
  // runs cut into short slots: a hover finds the nearest point, and each says why
  const end = Math.min(t.plan.end_s, t.now_s + COMING_S), runs = t.plan.runs, found = [];
  for (let at = t.now_s, i = 0; at < end; at += HOVER_EVERY_S) {
    while (i + 1 < runs.length && runs[i + 1].start_s <= at) i += 1;
    if (i + 1 < runs.length && runs[i + 1].start_s < at + HOVER_EVERY_S) {
      found.push({ at, run: runs[i] }, { at: runs[i + 1].start_s, run: runs[i + 1] });
    } else found.push({ at, run: runs[i] });
  }
  return [...found, { at: end, run: found[found.length - 1].run }];
}

function markShapes() {
  const shown = (m) => ({ x0: wall(Math.max(m.start_s, tide.now_s - PAST_S)), x1: wall(Math.min(m.end_s, tide.now_s + COMING_S)) });
  const seen = tide.marks.filter((m) => m.end_s > tide.now_s - PAST_S && m.start_s < tide.now_s + COMING_S);
  return {
    shapes: seen.map((m) => ({ type: "rect", ...shown(m), yref: "paper", y0: 0, y1: 1, line: { width: 0 }, layer: "below", fillcolor: faded(m.kind === "holiday" ? "good" : "unused", 0.16) })),
    annotations: seen.map((m) => ({ x: shown(m).x0, yref: "paper", y: 0.93, xanchor: "left", align: "left", showarrow: false, font: { size: 11, color: shade("ink") },
      text: m.name.replaceAll("<", "‹").slice(0, NAME_MOST) })),
  };
}

function showMarks() {
  const box = byId("marks"), span = (m) => minute(m.start_s) + " – " + minute(m.end_s);
  box.hidden = !tide.marks.length;
  box.textContent = tide.marks.map((m) => say(m.kind) + ": " + m.name + ", " + span(m)).join(" · ");
}

function traces() {
  const t = tide, found = [];
  const sum = (a, b) => a.map((v, i) => v + b[i]);
  const units = t.units, begin = units.start_s, step = units.step_s;
  const warming = sum(units.ready, units.warming), all = sum(warming, units.draining);
  found.push(steps(begin, step, all, { fillcolor: shade("draining"), name: "draining" }));
  found.push(steps(begin, step, warming, { fillcolor: shade("warming"), name: "warming" }));
  found.push(steps(begin, step, units.ready, { fillcolor: shade("ready"), name: "ready", hoverinfo: undefined, customdata: reasons(begin, step, units.ready.length),
    hovertemplate: "%{y} " + say("ready") + "%{customdata}<extra></extra>" }));
  if (t.plan) {
    const slots = planSlots(t);
    found.push({ x: slots.map((p) => wall(p.at)), y: slots.map((p) => p.run.hold), mode: "lines", line: { shape: "hv", width: 1.5, color: shade("blue") }, fill: "tozeroy",
      fillcolor: faded("blue", 0.25), name: "planned units", customdata: slots.map((p) => [p.run.reason, p.run.need, p.run.binding]),
      hovertemplate: say("hold {hold} ({reason}), need {need}, {binding} binds", { hold: "%{y}", reason: "%{customdata[0]}", need: "%{customdata[1]}", binding: "%{customdata[2]}" }) + "<extra></extra>" });
  }
  if (t.forecast) {
    const f = t.forecast, x = [], n = f["q0.5"].length;
    for (let i = 0; i < n; i++) x.push(wall(f.start_s + (i + 0.5) * f.step_s));
    found.push({ x, y: f["q0.05"], mode: "lines", line: { width: 0 }, hoverinfo: "skip", yaxis: "y2" });
    found.push({ x, y: f["q0.95"], yaxis: "y2", mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: faded("red", 0.22), hoverinfo: "skip" });
    found.push({ x, y: f["q0.5"], mode: "lines", line: { color: shade("red"), width: 2, dash: "dot" }, yaxis: "y2", name: "forecast", hovertemplate: "%{y:.3g}/s<extra>forecast</extra>" });
  }
  const o = t.observed;
  found.push({ x: o.rate_rps.map((_, i) => wall(o.start_s + (i + 0.5) * t.step_s)), y: o.rate_rps, yaxis: "y2", mode: "lines", connectgaps: false,
    line: { color: shade("red"), width: 2.2 }, name: "load", hovertemplate: "%{y:.3g}/s<extra>load</extra>" });
  return found;
}

function drawTide() {
  const tops = [...tide.observed.rate_rps, ...(tide.forecast ? tide.forecast["q0.95"] : [])].filter((v) => v !== null);
  const most = Math.max(tide.plan ? tide.plan.peak_units : 1, ...tide.units.ready, 1);
  const now = nowLine(tide.now_s), marked = markShapes();
  drawChart("chart", traces(), {
    hovermode: "x unified", shapes: [...marked.shapes, ...now.shapes], annotations: [...marked.annotations, ...now.annotations],
    xaxis: { range: [wall(tide.now_s - PAST_S), wall(tide.now_s + COMING_S)], tickformat: "%H:%M\n%a %d" },
    yaxis: { title: { text: say("units") }, side: "right", range: [0, most * 1.2], dtick: Math.ceil(most / 8) },
    yaxis2: { title: { text: say("requests/s") }, overlaying: "y", side: "left", tickmode: "auto", nticks: 7, range: [0, 1.15 * Math.max(...tops, 1e-6)], showgrid: false },
  });
  const chart = byId("chart");
  if (!chart.dataset.bound && chart.on) {
    chart.dataset.bound = "yes";
    chart.on("plotly_click", (event) => explain(event.points[0].x));
  }
}

function showPlan() {
  const runs = tide.plan ? tide.plan.runs : [];
  fillTable("table", runs.map((r) => [clock(r.start_s), number(r.rate_rps), r.need, r.hold, r.reason, r.binding]));
}

async function explain(x) {
  const guess = Date.parse(x.replace(" ", "T") + "Z") / 1000;
  const at = guess - offsetOf(service().timezone, guess);
  const said = await ask(pathOf(service().name, `explain?at_s=${at}`));
  const s = said.slot;
  byId("picked").textContent = clock(at) + (at > overview.now_s && s
    ? ": " + say("hold {hold} ({reason}); {rate} requests/s ({load} erl) need {need}, {binding} binds", { hold: s.hold_units,
      reason: s.reason, rate: number(s.arrival_rate_rps), load: number(s.offered_load_erl), need: s.need_units, binding: s.binding })
    : ": " + (said.why || say("nothing was decided here")));
}

pages.service = {
  async load(name) {
    const [picture, { decisions }] = await Promise.all([ask(pathOf(name, "tide")), ask(pathOf(name, "decisions?limit=100"))]);
    return { picture, decisions };
  },
  draw({ picture, decisions }) {
    tide = { ...picture, decisions };
    drawTide();
    showMarks();
    showPlan();
    byId("decisions").replaceChildren(...decisions.map((d) => element("li", [element("b", clock(d.at_s) + " "), d.explanation])));
  },
};

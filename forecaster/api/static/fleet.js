"use strict";
// The fleet page: each unit's life as a line through time, coloured by state.
const STATES = ["ordered", "warming", "ready", "draining"];
const UNITS_MOST = 100, ROW_PX = 24, AXES_PX = 80;

function staysIn(state, units) {
  const stays = units.flatMap((unit) => unit.stays.map(([name, from, to], i) => ({ name, from, to, unit: unit.unit_id, reason: unit.reasons[i] })))
    .filter((stay) => stay.name === state);
  return {
    type: "bar", orientation: "h", name: say(state), marker: { color: shade(state), line: { width: 0 } }, width: 0.7,
    y: stays.map((s) => s.unit), base: stays.map((s) => wall(s.from)), x: stays.map((s) => 1000 * (s.to - s.from)),
    customdata: stays.map((s) => [clock(s.from), clock(s.to), s.reason || "–"]),
    hovertemplate: "%{y}: %{customdata[0]} – %{customdata[1]}<br>%{customdata[2]}<extra>" + say(state) + "</extra>",
  };
}

function failures(units) {
  const failed = units.filter((unit) => unit.ending === "failed");
  return {
    type: "scatter", mode: "markers", name: say("failed"), marker: { color: shade("bad"), symbol: "x", size: 11 }, showlegend: true,
    x: failed.length ? failed.map((unit) => wall(unit.ended_s)) : [null], y: failed.length ? failed.map((unit) => unit.unit_id) : [null], text: failed.map((unit) => unit.ending_reason || "–"),
    hovertemplate: "%{y}: %{x|%H:%M}<br>%{text}<extra>" + say("failed") + "</extra>",
  };
}

function lifeLine(unit) {
  const last = unit.stays.length - 1;
  const state = unit.ending || (last >= 0 ? unit.stays[last][0] : "–");
  const reason = unit.ending ? unit.ending_reason : unit.reasons[last];
  return [unit.unit_id, minute(unit.born_s), missing(unit.ended_s) ? "–" : minute(unit.ended_s),
    hours((unit.ended_s ?? found.to_s) - unit.born_s), say(state), element("span", reason || "–", { class: "words" })];
}

function refusedLine(hoursRefused, requests) {
  return hoursRefused > 0 ? say("{n} unit-hours, {r} requests", { n: number(hoursRefused), r: number(requests) }) : "–";
}

function showQuota(quota) {
  byId("quota-section").hidden = !quota;
  if (!quota) return;
  byId("quota-note").textContent = say("{name}: {taken} of {all} GPUs are held", { name: quota.name, taken: quota.taken_gpus, all: quota.gpus });
  fillTable("quota-table", quota.services.map((s) => [s.service, s.priority, s.taken_gpus, s.wanted_units ?? "–", s.hold_units ?? "–",
    refusedLine(s.refused_unit_hours, s.refused_requests), refusedLine(s.past_day.refused_unit_hours, s.past_day.refused_requests)]));
}

function showBatch({ backlog, batch_in_flight }) {
  byId("batch-section").hidden = !backlog.length && !batch_in_flight;
  byId("batch-note").textContent = say("{n} requests are being answered; what waits fills the room that interactive work leaves", { n: number(batch_in_flight) });
  fillTable("batch-table", backlog.map((due) => [minute(due.deadline_s), hours(due.work_s)]));
}

pages.fleet = {
  async load(name) {
    const [lives, shared, now] = await Promise.all([ask(pathOf(name, "lives")), ask("/v1/quotas"), ask(pathOf(name, "units"))]);
    return { ...lives, now, quota: shared.quotas.find((quota) => quota.services.some((each) => each.service === name)) };
  },
  draw(lives) {
    showQuota(lives.quota);
    showBatch(lives.now);
    const units = lives.units.slice(-UNITS_MOST);
    byId("fleet-note").textContent = lives.units.length > units.length
      ? say("the newest {n} of {all} units of the last 24 hours", { n: units.length, all: lives.units.length })
      : say("{n} units in the last 24 hours", { n: units.length });
    byId("fleet-chart").style.height = AXES_PX + ROW_PX * Math.max(units.length, 2) + "px";
    drawChart("fleet-chart", [...STATES.map((state) => staysIn(state, units)), failures(units)], {
      barmode: "overlay", hovermode: "closest", showlegend: true, ...nowLine(lives.to_s),
      xaxis: { type: "date", range: [wall(Math.max(lives.from_s, Math.min(lives.to_s - 3600, ...units.map((unit) => unit.born_s)))), wall(lives.to_s)], tickformat: "%H:%M\n%a %d" },
      yaxis: { type: "category", categoryorder: "array", categoryarray: units.map((unit) => unit.unit_id), showgrid: false },
    });
    fillTable("fleet-table", [...units].reverse().map(lifeLine));
  },
};

"use strict";
// The money page: what the fleet cost day by day beside what its rivals would have cost.
const SPENT_ON = [["ready_s", "ready"], ["warming_s", "warming"], ["ordered_s", "ordered"], ["draining_s", "draining"], ["unused_s", "unused"]];
const RIVALS = [["static-peak", "red", "square"], ["hpa", "blue", "diamond"], ["seasonal-naive", "ink", "circle"]];
const MONTH = /^\d{4}-\d{2}$/;

const dayOf = (days) => days.map((day) => day.day);

function unitHours(days) {
  return SPENT_ON.map(([key, state]) => ({
    type: "bar", name: say(state === "unused" ? "billed, unused" : state), x: dayOf(days), y: days.map((day) => day[key] / 3600),
    marker: { color: shade(state) }, hovertemplate: "%{y:.2f} h<extra>%{fullData.name}</extra>",
  }));
}

function bills(days) {
  return [{ type: "bar", name: say("fleet"), x: dayOf(days), y: days.map((day) => day.money), marker: { color: shade("ready") },
    hovertemplate: "%{y:.2f}<extra>%{fullData.name}</extra>" }];
}

function rivalMarks(days, value, unit) {
  // a rival is compared over the hours that were judged, which may be less than the day
  return RIVALS.map(([name, colour, symbol]) => {
    const judged = days.filter((day) => day.rivals[name]);
    return {
      type: "scatter", mode: "lines+markers", name: say(name), x: dayOf(judged), y: judged.map((day) => value(day.rivals[name])),
      line: { color: shade(colour), width: 1, dash: "dot" }, marker: { color: shade(colour), symbol, size: 9 },
      customdata: judged.map((day) => hours(day.rivals[name].seconds)),
      hovertemplate: `%{y:.2f}${unit} (` + say("judged over {n} h", { n: "%{customdata}" }) + ")<extra>%{fullData.name}</extra>",
    };
  });
}

function drawDays(id, days, traces, title) {
  drawChart(id, traces, { barmode: "stack", hovermode: "x unified", showlegend: true, bargap: Math.max(0.4, 1 - 0.12 * days.length),
    xaxis: { type: "category" }, yaxis: { title: { text: title }, rangemode: "tozero" } });
}

function showStatementLinks() {
  const asked = byId("month").value, month = MONTH.test(asked) ? "&month=" + asked : "";
  for (const paper of ["html", "csv"]) byId("statement-" + paper).href = pathOf(service().name, "statement?format=" + paper + month);
}

const rivalLine = ([name, r]) => [say(name), hours(r.seconds), hours(r.fleet_unit_s), hours(r.unit_s), price(r.fleet_money), price(r.money),
  price(r.saved_money), percent(r.saved_share, 1), percent(r.fleet_attainment, 2), percent(r.attainment, 2)];

pages.money = {
  everyS: 5,
  load: (name) => ask(pathOf(name, "ledger")),
  draw(ledger) {
    const first = ledger.days.findIndex((day) => day.billed_s > 0 || Object.keys(day.rivals).length);
    const days = first < 0 ? [] : ledger.days.slice(first);
    byId("paid").textContent = price(ledger.money);
    byId("paid-detail").textContent = say("{n} unit-hours, days: {days}", { n: hours(ledger.billed_s), days: days.length });
    for (const [name] of RIVALS) {
      const rival = ledger.rivals[name];
      byId("saved-" + name).textContent = percent(rival?.saved_share, 1);
      byId("saved-" + name + "-detail").textContent = rival ? say("{money} over {n} h judged", { money: price(rival.saved_money), n: hours(rival.seconds) }) : say("not judged yet");
    }
    drawDays("hours-chart", days, [...unitHours(days), ...rivalMarks(days, (r) => r.unit_s / 3600, " h")], say("unit-hours"));
    drawDays("price-chart", days, [...bills(days), ...rivalMarks(days, (r) => r.money, "")], say("price"));
    fillTable("rival-table", RIVALS.filter(([name]) => ledger.rivals[name]).map(([name]) => rivalLine([name, ledger.rivals[name]])));
    fillTable("day-table", [...days].reverse().map((day) => [day.day, ...SPENT_ON.map(([key]) => hours(day[key])), hours(day.billed_s), price(day.money), percent(day.slo.attainment, 2)]));
    byId("month").value ||= wall(overview.now_s).slice(0, 7);
    byId("month").onchange = showStatementLinks;
    showStatementLinks();
  },
};

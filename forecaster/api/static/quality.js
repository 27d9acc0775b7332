"use strict";
// The forecast-quality page: what was foretold beside what came, and who foretold it.
const LEVELS_SHOWN = ["0.5", "0.9", "0.99"];

function leadName(leadS) {
  return leadS < 3600 ? say("{n} min", { n: number(leadS / 60) }) : say("{n} h", { n: number(leadS / 3600) });
}

function coverageTraces(leads) {
  // one line a lead, from pale (near) to full (far); the diagonal is what was promised
  const diagonal = { x: [0, 1], y: [0, 1], mode: "lines", name: say("promised"), line: { color: shade("dim"), dash: "dash", width: 1.5 }, hoverinfo: "skip" };
  const lines = leads.map((lead, i) => {
    const levels = Object.entries(lead.coverage).map(([level, share]) => [Number(level), share]).sort(([a], [b]) => a - b);
    return {
      x: levels.map(([level]) => level), y: levels.map(([, share]) => share), mode: "lines+markers",
      name: leadName(lead.lead_s), line: { color: faded("blue", 0.35 + 0.65 * (i + 1) / leads.length), width: 2 }, marker: { size: 5 },
      hovertemplate: say("promised") + " %{x:.1%}, " + say("came true") + " %{y:.1%}<extra>%{fullData.name}</extra>",
    };
  });
  return [diagonal, ...lines];
}

function drawCoverage(leads) {
  drawChart("coverage-chart", coverageTraces(leads), { showlegend: true, hovermode: "closest",
    xaxis: { title: { text: say("promised") }, range: [0, 1.02], tickformat: ".0%" },
    yaxis: { title: { text: say("came true") }, range: [0, 1.05], tickformat: ".0%" } });
}

function drawError(leads) {
  drawChart("error-chart", [{ type: "bar", x: leads.map((lead) => leadName(lead.lead_s)), y: leads.map((lead) => lead.wape),
    customdata: leads.map((lead) => lead.verified), marker: { color: shade("ready") }, hovertemplate: "WAPE %{y:.1%} (n = %{customdata})<extra></extra>" }],
  { bargap: 0.5, xaxis: { type: "category", title: { text: say("lead") } }, yaxis: { title: { text: "WAPE" }, rangemode: "tozero", tickformat: ".0%" } });
}

function showAccuracy(accuracy) {
  const verified = accuracy.leads.reduce((sum, lead) => sum + lead.verified, 0);
  byId("drift").textContent = verified ? say(accuracy.drift ? "drift" : "no drift") : "–";
  byId("drift").className = "big " + (verified ? (accuracy.drift ? "bad" : "good") : "");
  byId("drift-detail").textContent = accuracy.why || "\u00a0";
  byId("verified").textContent = verified;
  byId("verified-detail").textContent = say("{n} still to come", { n: accuracy.pending });
  fillTable("lead-table", accuracy.leads.map((lead) => [leadName(lead.lead_s), lead.verified, percent(lead.wape), percent(lead.bias),
    number(lead.pinball_99), ...LEVELS_SHOWN.map((level) => percent(lead.coverage[level]))]));
}

function showChampions(champions) {
  const live = champions.find((version) => version.live);
  byId("champion").textContent = live ? live.champion : "–";
  byId("champion-detail").textContent = live ? say("version {version} of {created}", { version: live.version, created: minute(live.created_s) }) : "\u00a0";
  fillTable("champion-table", champions.map((v) => [v.version, minute(v.created_s), v.champion, v.live ? say("live") : "–",
    percent(v.wape), percent(v.naive_wape), number(v.cost), element("span", v.verdict, { class: "words" })]));
}

function showAnomalies(anomalies) {
  byId("anomaly-count").textContent = anomalies.length;
  fillTable("anomaly-table", [...anomalies].reverse().map((a) => [minute(a.start_s), minute(a.end_s), say(a.kind),
    a.size > 0 ? "× " + number(a.size) : "–", say(a.taught ? "learnt" : "not learnt"), element("span", a.why, { class: "words" })]));
}

pages.quality = {
  everyS: 20,
  async load(name) {
    const [accuracy, { champions }, { anomalies }] = await Promise.all(["accuracy", "champions", "anomalies"].map((what) => ask(pathOf(name, what))));
    return { accuracy, champions, anomalies };
  },
  draw({ accuracy, champions, anomalies }) {
    showAccuracy(accuracy);
    drawCoverage(accuracy.leads);
    drawError(accuracy.leads);
    showChampions(champions);
    showAnomalies(anomalies);
  },
};

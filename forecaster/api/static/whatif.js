"use strict";
// The what-if page: two dials over settings that were really played; between them there is nothing to see.
const DIALS = ["elasticity", "target"];
const TARGET_SHADES = ["red", "warming", "good", "blue", "unused", "dim"];
let dialled = null;  // { service, elasticity, target }: the chosen setting

const valuesOf = (points, dial) => [...new Set(points.map((point) => point[dial]))].sort((a, b) => a - b);
const pointAt = (points, at) => points.find((point) => point.elasticity === at.elasticity && point.target === at.target);
const shareOf = (dial, value) => (dial === "target" ? percent(value, 1) : number(value));

function settle(frontier) {
  // the dials' places for this frontier: where they were, else the service's own setting
  const kept = dialled && dialled.service === service().name && pointAt(frontier.points, dialled);
  if (!kept) dialled = { service: service().name, ...frontier.own };
  for (const dial of DIALS) {
    const values = valuesOf(frontier.points, dial), input = byId("dial-" + dial);
    input.max = values.length - 1;
    input.disabled = values.length < 2;
    input.value = values.indexOf(dialled[dial]);
    input.oninput = () => { dialled[dial] = values[Number(input.value)]; showSetting(frontier); };
  }
}

function against(now, own, say_) {
  return now === own ? say("as it is set now") : say("now: {value}", { value: say_(own) });
}

function showSetting(frontier) {
  const at = pointAt(frontier.points, dialled), own = pointAt(frontier.points, frontier.own);
  const windowH = (frontier.to_s - frontier.from_s) / 3600;
  for (const dial of DIALS) {
    byId("said-" + dial).textContent = shareOf(dial, dialled[dial]);
    byId("dial-" + dial).setAttribute("aria-valuetext", shareOf(dial, dialled[dial]));
  }
  const mean = (point) => (point.unit_hours / windowH).toFixed(2);
  const shown = { units: mean, saved: (p) => percent(p.saved_share, 1), attainment: (p) => percent(p.attainment, 2), price: (p) => price(p.cost) };
  for (const [name, said] of Object.entries(shown)) {
    byId("whatif-" + name).textContent = said(at);
    byId("whatif-" + name + "-detail").textContent = against(at, own, said);
  }
  byId("whatif-attainment").className = "big " + (at.attainment >= at.target ? "good" : "bad");
  byId("whatif-attainment-detail").textContent += " · " + say("minutes outside: {n}", { n: at.violation_minutes });
  byId("whatif-toml").textContent = `[[service]]\nname = "${service().name}"\nelasticity = ${at.elasticity}\n\n[service.slo]\nattainment = ${at.target}`;
  drawFrontier(frontier, at, own);
}

function drawFrontier(frontier, at, own) {
  const lines = valuesOf(frontier.points, "target").map((target, i) => {
    const points = frontier.points.filter((point) => point.target === target);
    return {
      x: points.map((p) => p.saved_share), y: points.map((p) => p.attainment), mode: "lines+markers", name: say("target {n}", { n: percent(target, 1) }),
      line: { color: shade(TARGET_SHADES[i % TARGET_SHADES.length]), width: 1.5, dash: "dot" }, marker: { size: 7 },
      customdata: points.map((p) => [p.elasticity, p.target, p.unit_hours]),
      hovertemplate: say("elasticity {e}: {h} unit-hours", { e: "%{customdata[0]}", h: "%{customdata[2]:.1f}" }) + "<br>%{x:.1%} · %{y:.3%}<extra>%{fullData.name}</extra>",
    };
  });
  const mark = (point, name, symbol, size) => ({ x: [point.saved_share], y: [point.attainment], mode: "markers", name: say(name), hoverinfo: "skip",
    marker: { symbol, size, color: shade("ink"), line: { color: shade("ink"), width: 2 } } });
  drawChart("frontier-chart", [...lines, mark(own, "set now", "diamond-open", 14), mark(at, "chosen", "circle-open", 18)], {
    showlegend: true, hovermode: "closest",
    xaxis: { title: { text: say("saved against the peak held") }, tickformat: ".0%" },
    yaxis: { title: { text: say("inside SLO") }, tickformat: ".1%" },
  });
  const chart = byId("frontier-chart");
  if (!chart.dataset.bound && chart.on) {
    chart.dataset.bound = "yes";
    chart.on("plotly_click", (event) => {
      const picked = event.points[0].customdata, frontier = found?.frontier;
      if (!picked || !frontier) return;
      Object.assign(dialled, { elasticity: picked[0], target: picked[1] });
      settle(frontier);
      showSetting(frontier);
    });
  }
}

function showJob(job) {
  const runs = job?.state === "running";
  byId("whatif-play").disabled = runs;
  byId("whatif-stop").hidden = byId("whatif-progress").hidden = !runs;
  byId("whatif-progress").value = job?.progress ?? 0;
  byId("whatif-doing").textContent = runs ? percent(job.progress, 0) + " · " + job.doing
    : job?.problem ? job.problem.detail + "; " + job.problem.remedy : "";
  byId("whatif-stop").onclick = async () => { await order("DELETE", "/v1/replay/" + job.id); refresh(); };
}

async function play() {
  const wish = { days: Number(byId("whatif-days").value), lead_s: service().lead_time_s };
  if (await order("POST", pathOf(service().name, "frontier"), wish)) refresh();
}

pages.whatif = {
  get everyS() { return found?.job?.state === "running" ? 1 : 30; },
  load: (name) => ask(pathOf(name, "frontier")),
  draw({ frontier, job }) {
    byId("whatif-play").onclick = play;
    showJob(job);
    byId("frontier-chart").hidden = !frontier;
    if (!frontier) return showNothing();
    byId("whatif-note").textContent = say("{n} requests from {from} to {to}, lead {lead} s, played without hindsight and without steering; each point was really played.",
      { n: frontier.requests.toLocaleString("en"), from: minute(frontier.from_s), to: minute(frontier.to_s), lead: number(frontier.lead_s) });
    settle(frontier);
    showSetting(frontier);
    fillTable("frontier-table", frontier.points.map((p) => [percent(p.target, 1), number(p.elasticity), p.unit_hours.toFixed(1), percent(p.saved_share, 1),
      percent(p.attainment, 3), p.violation_minutes, p.actions, price(p.cost)]));
  },
};

function showNothing() {
  dialled = null;
  byId("whatif-note").textContent = say("Nothing was played yet for this service.");
  for (const dial of DIALS) {
    byId("dial-" + dial).disabled = true;
    byId("said-" + dial).textContent = "–";
  }
  for (const name of ["units", "saved", "attainment", "price"]) {
    byId("whatif-" + name).textContent = "–";
    byId("whatif-" + name + "-detail").textContent = "\u00a0";
  }
  byId("whatif-attainment").className = "big";
  byId("whatif-toml").textContent = "–";
  fillTable("frontier-table", []);
}

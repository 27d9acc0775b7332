"use strict";
// The overview page: every service in a line, the month's money, the alerts that last.
const ALERTS_MOST = 100, LINES_MOST = 200, FILTER_FROM = 20;

function serviceLine(s) {
  const link = element("a", s.name, { href: "?service=" + encodeURIComponent(s.name) + "#service" });
  link.onclick = (event) => { event.preventDefault(); pick(s.name, "#service"); };
  const kept = s.served.requests ? s.served.attainment : s.kept.attainment;
  return [link, number(s.forecast_rps), s.units.ready, s.units.warming, s.need_units ?? "–", s.hold_units ?? "–",
    percent(kept, 2), percent(s.ledger.saved_share, 0), s.frozen ? say("frozen") : say(s.mode), s.champion ?? "–",
    element("span", s.note || "–", { class: "note" })];
}

pages.overview = {
  everyS: 5,
  async load() {
    const [money, alerts] = await Promise.all([ask("/v1/money"), ask(`/v1/alerts?open=true&limit=${ALERTS_MOST}`)]);
    return { money, alerts: alerts.alerts, more: alerts.before_id !== null };
  },
  draw({ money, alerts, more }) {
    const billed = money.services.reduce((sum, each) => sum + each.billed_s, 0);
    byId("month-paid").textContent = price(money.money);
    byId("month-paid-detail").textContent = say("{n} unit-hours", { n: hours(billed) });
    byId("month-saved").textContent = price(money.saved_money);
    byId("alert-count").textContent = alerts.length + (more ? "+" : "");
    fillTable("alert-table", alerts.map((a) => [minute(a.opened_s), a.service, element("span", a.text, { class: "words" })]));
    showServiceTable();
  },
};

function showServiceTable() {
  const focused = document.activeElement?.closest("#service-table a")?.textContent;
  const wanted = byId("service-filter").value.trim().toLowerCase();
  const named = overview.services.filter((s) => s.name.toLowerCase().includes(wanted));
  byId("service-search").hidden = overview.services.length < FILTER_FROM;
  byId("service-filter").oninput = showServiceTable;
  byId("service-count").textContent = say("{n} of {all} services", { n: Math.min(named.length, LINES_MOST), all: overview.services.length });
  fillTable("service-table", named.slice(0, LINES_MOST).map(serviceLine));
  if (focused) [...document.querySelectorAll("#service-table a")].find((link) => link.textContent === focused)?.focus();
}

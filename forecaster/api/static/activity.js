"use strict";
// The activity page: alerts, changes by hand and orders as one list, newest first, page by page.
const ENTRIES_A_PAGE = 50;
let older = [];  // pages that were asked for beyond the first

function activityPath(before) {
  const kinds = [...document.querySelectorAll("#activity-filter [name=kind]:checked")].map((box) => "&kind=" + box.value).join("");
  const name = encodeURIComponent(byId("activity-service").value);
  return `/v1/activity?limit=${ENTRIES_A_PAGE}&service=${name}${kinds}${before ? "&before=" + before : ""}`;
}

function offerServices() {
  const select = byId("activity-service"), names = overview.services.map((s) => s.name);
  if (select.options.length === names.length + 1) return;
  select.append(...names.map((name) => element("option", name, { value: name })));
}

function entryLine(e) {
  const state = e.kind !== "alert" ? "" : " · " + (missing(e.resolved_s) ? say("lasts") : say("over at {time}", { time: minute(e.resolved_s) }));
  return [minute(e.at_s), element("span", say(e.kind), { class: "kind " + e.kind }), e.service || say("all"), e.what + state, e.by || "–", element("span", e.why || "–", { class: "reason" })];
}

async function showOlder() {
  const last = older[older.length - 1] ?? found;
  try {
    older.push(await ask(activityPath(last.before)));
    pages.activity.draw(found);
  } catch (error) { problem(error.message); }
}

pages.activity = {
  get everyS() { return older.length ? Infinity : 5; },  // who reads on is not disturbed
  async load() {
    offerServices();
    older = [];
    const any = document.querySelector("#activity-filter [name=kind]:checked");
    return any ? ask(activityPath("")) : { entries: [], before: null };
  },
  draw(first) {
    const shown = [first, ...older], entries = shown.flatMap((each) => each.entries);
    fillTable("activity-table", entries.map(entryLine));
    for (const cell of document.querySelectorAll("#activity-table td")) cell.className = "words";
    byId("activity-older").hidden = !shown[shown.length - 1].before;
    byId("activity-count").textContent = say("{n} entries", { n: entries.length });
    byId("activity-older").onclick = showOlder;
    byId("activity-filter").onchange = () => { asked = ""; refresh(); };
    byId("activity-filter").onsubmit = (event) => event.preventDefault();
  },
};

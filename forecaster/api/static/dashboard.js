"use strict";
// The frame round every page: which service, what the daemon says now, the token, the start.
const DUE_EVERY_MS = 1000, BUTTONS_MOST = 12;
let picked = new URLSearchParams(location.search).get("service");
let overview = null;
const service = () => overview && (overview.services.find((s) => s.name === picked) || overview.services[0]);

function pick(name, hash) {
  picked = name;
  history.replaceState(null, "", "?service=" + encodeURIComponent(picked) + hash);
  openPage();
}

function showServices() {
  const nav = byId("services");
  if (overview.services.length > BUTTONS_MOST) return showPicker(nav);
  if (nav.childElementCount === overview.services.length) {
    for (const b of nav.children) b.setAttribute("aria-pressed", String(b.textContent === service().name));
    return;
  }
  nav.replaceChildren(...overview.services.map((s) => {
    const button = element("button", s.name, { type: "button", "aria-pressed": String(s.name === service().name) });
    button.onclick = () => pick(s.name, location.hash);
    return button;
  }));
}

function showPicker(nav) {
  // too many for a button each
  let select = nav.querySelector("select");
  if (select?.options.length !== overview.services.length) {
    select = element("select", overview.services.map((s) => element("option", s.name, { value: s.name })), { "aria-label": say("service") });
    select.onchange = () => pick(select.value, location.hash);
    nav.replaceChildren(select);
  }
  if (document.activeElement !== select) select.value = service().name;
}

function show() {
  const s = service();
  if (!s) return;
  showServices();
  byId("clock").textContent = wall(overview.now_s) + " " + s.timezone + (overview.speed > 1 ? " · " + say("a day passes in {n} minutes", { n: number(1440 / overview.speed) }) : "");
  showTrust(s);
  showFigures(s);
  showPin(s);
  if (page === "overview" && !document.hidden) showServiceTable();
  byId("about").textContent = "Tidegate " + overview.version + " · " + say("models at {url}", { url: overview.tier_url });
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
    problem(overview.away);
    show();
    if (first) { setTimeout(fetchPlotly); refresh(); setInterval(refreshWhenDue, DUE_EVERY_MS); }
  });
  events.addEventListener("problem", (event) => problem(JSON.parse(event.data)));
  events.onerror = () => problem(say("the daemon does not answer; trying again"));
}

async function enter(tried = false) {
  // with a token set, reads carry it as a cookie: event streams cannot send headers
  if ((await fetch("/v1/alerts?limit=1")).status !== 401) return listen();
  const form = byId("token-form"), secure = location.protocol === "https:" ? "; Secure" : "";
  form.hidden = false;
  byId("token-said").textContent = tried ? say("This token is not known.") : "";
  byId("token").value = "";
  byId("token").focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    document.cookie = "tidegate_token=" + encodeURIComponent(byId("token").value) + "; path=/; SameSite=Strict" + secure;
    form.hidden = true;
    enter(true);
  };
}

addEventListener("DOMContentLoaded", () => {
  bindLanguage(() => { showTitle(); redraw(); });
  addEventListener("hashchange", openPage);
  darkScheme.addEventListener("change", redraw);
  openPage();
  enter();
});

"use strict";
// Which page is open (the hash says), and the reading and drawing of that page alone.
// A page is { load(service) -> found, draw(found), everyS }; `load` runs again after `everyS` (usually `usualS`).
const FIRST_PAGE = "service";
const pages = {};
let page = FIRST_PAGE, found = null, asked = "", loadedMs = 0;

const ask = async (path) => {
  const answer = await fetch(path);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail ?? String(answer.status));
  return said;
};
const usualS = () => (overview.speed > 1 ? 1.5 : 10);  // a compressed day passes while one looks
const pathOf = (name, what) => `/v1/services/${encodeURIComponent(name)}/${what}`;

async function refresh() {
  // one reading at a time of what is in view; what comes late, for a page or service left, is dropped
  const wanted = service() && page + " " + service().name;
  if (!wanted || asked === wanted) return;
  asked = wanted;
  try {
    const answer = await pages[page].load(service().name);
    if (asked !== wanted) return;
    found = answer;
    loadedMs = performance.now();
    pages[page].draw(found);
  } catch (error) { problem(error.message); } finally { if (asked === wanted) asked = ""; }
}

function refreshWhenDue() {
  if (!document.hidden && performance.now() - loadedMs >= 1000 * (pages[page].everyS ?? usualS())) refresh();
}

function redraw() {
  if (!overview) return;
  show();
  if (found) pages[page].draw(found);
}

function openPage() {
  const name = location.hash.slice(1);
  page = Object.hasOwn(pages, name) ? name : FIRST_PAGE;
  found = null;
  asked = "";
  for (const each of document.querySelectorAll("main > .page")) each.hidden = each.id !== page + "-page";
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.hash !== "#" + page) { link.removeAttribute("aria-current"); continue; }
    link.setAttribute("aria-current", "page");
    link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.clientWidth / 3;  // a telephone shows some of them
  }
  showTitle();
  if (overview) show();
  refresh();
}

function showTitle() {
  document.title = document.querySelector("#pages [aria-current]").textContent + " – Tidegate";
}

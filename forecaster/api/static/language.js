"use strict";
// English is what the page is written in; another language is a dictionary from English.
const LANGUAGES = { en: {}, "zh-CN": CHINESE };
const KEPT_AS = "tidegate.language";
let language = "en";

function say(english, values = {}) {
  const words = LANGUAGES[language], said = Object.hasOwn(words, english) ? words[english] : english;
  return said.replace(/\{(\w+)\}/g, (all, name) => (Object.hasOwn(values, name) ? String(values[name]) : all));
}

function translatePage() {
  document.documentElement.lang = language;
  for (const each of document.querySelectorAll("[data-say]")) {
    each.dataset.say ||= each.textContent;
    each.textContent = say(each.dataset.say);
  }
  for (const name of ["aria-label", "title"]) {
    for (const each of document.querySelectorAll(`[${name}]`)) {
      const kept = "say-" + name;
      if (!each.hasAttribute("data-" + kept)) each.setAttribute("data-" + kept, each.getAttribute(name));
      each.setAttribute(name, say(each.getAttribute("data-" + kept)));
    }
  }
}

function keptLanguage() {
  try { return localStorage.getItem(KEPT_AS); } catch { return null; }  // storage may be forbidden
}

function bindLanguage(redraw) {
  const wanted = keptLanguage() ?? (navigator.language.startsWith("zh") ? "zh-CN" : "en");
  language = Object.hasOwn(LANGUAGES, wanted) ? wanted : "en";
  byId("language").value = language;
  byId("language").onchange = (event) => {
    language = event.target.value;
    try { localStorage.setItem(KEPT_AS, language); } catch { /* lasts until the page is closed */ }
    translatePage();
    redraw();
  };
  translatePage();
}

"use strict";
// Plotly in the colours of the page: every chart is drawn through `drawChart`.
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const faded = (name, opacity) => shade(name) + Math.round(255 * opacity).toString(16).padStart(2, "0");

function fetchPlotly() {
  // a megabyte of code that figures and tables need not wait for
  const script = element("script", "", { src: "/static/plotly.min.js" });
  script.onload = redraw;
  document.head.append(script);
}

function drawChart(id, traces, layout) {
  if (!window.Plotly || !byId(id).clientWidth) return;
  const line = shade("line"), axis = { gridcolor: line, zeroline: false, automargin: true };
  const axes = Object.fromEntries(Object.entries(layout).filter(([key]) => /^[xy]axis/.test(key)).map(([key, own]) => [key, { ...axis, ...own }]));
  Plotly.react(id, traces, {
    margin: { l: 48, r: 44, t: 8, b: 32 }, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: shade("dim"), size: 12 }, hoverlabel: { namelength: -1, align: "left", bgcolor: shade("card"), bordercolor: line, font: { color: shade("ink") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", traceorder: "normal" }, ...layout, ...axes,
  }, { displayModeBar: false, responsive: true });
}

function nowLine(timeS) {
  const x = wall(timeS), ink = shade("dim");
  return {
    shapes: [{ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: ink, width: 1.5, dash: "dash" } }],
    annotations: [{ x, yref: "paper", y: 1, text: say("now"), showarrow: false, xanchor: "left", xshift: 4, font: { color: ink } }],
  };
}

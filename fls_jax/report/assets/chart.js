// Learning curves: lines over agent steps, a band over seeds where there are several.

import { h, number, svg } from "./dom.js";

const WIDTH = 640, HEIGHT = 300;
const LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 28;

/** A figure of curves: [{label, note, colour, env_step, mean, low, high}], low and high null for one seed. */
export function curveChart(title, curves, unit) {
  const x = scale(0, Math.max(...curves.flatMap((curve) => curve.env_step), 1), LEFT, WIDTH - RIGHT);
  const values = curves.flatMap((curve) => [...curve.mean, ...(curve.low ?? []), ...(curve.high ?? [])]);
  const known = values.filter((value) => value !== null);
  const y = scale(Math.min(...known), Math.max(...known), HEIGHT - BOTTOM, TOP);
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img",
    "aria-label": `${title}: ${unit} over agent steps; ${curves.map(lastOf).join("; ")}`,
  });
  picture.append(axes(x, y), ...curves.map((curve) => line(curve, x, y)));
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  picture.append(cursor);
  const reading = h("p", { class: "reading" }, "Point at the curves to read them.");
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    read(curves, x.inverse(((event.clientX - box.left) / box.width) * WIDTH), x, cursor, reading);
  });
  return h("figure", {}, h("figcaption", {}, h("strong", {}, title), `: ${unit} over agent steps`), legend(curves), picture, reading);
}

function scale(low, high, from, to) {
  if (high <= low) [low, high] = [low - 1, high + 1];
  const at = (value) => from + ((value - low) / (high - low)) * (to - from);
  at.inverse = (place) => low + ((place - from) / (to - from)) * (high - low);
  Object.assign(at, { low, high });
  return at;
}

function lastOf(curve) {
  const last = curve.mean.findLastIndex((value) => value !== null);
  return last < 0 ? `${curve.label}: nothing` : `${curve.label} ends at ${number(curve.mean[last])}`;
}

/** Round numbers, about `count` of them, between two ends. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step / 1e6; i++) found.push(i * step);
  return found;
}

function steps(value) {
  return value >= 1e6 ? `${number(value / 1e6)}M` : value >= 1e3 ? `${number(value / 1e3)}k` : number(value);
}

function axes(x, y) {
  const group = svg("g", { class: "axes" });
  for (const value of ticks(y.low, y.high, 5)) {
    group.append(
      svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, Math.abs(value) >= 1e4 ? steps(value) : number(value)),
    );
  }
  for (const value of ticks(x.low, x.high, 5)) {
    group.append(svg("text", { x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, steps(value)));
  }
  return group;
}

function line(curve, x, y) {
  const group = svg("g", { class: `line-${curve.colour}` });
  if (curve.low) group.append(svg("path", { class: "band", d: band(curve, x, y) }));
  group.append(svg("path", { class: "line", d: path(curve.env_step, curve.mean, x, y) }));
  return group;
}

function path(across, up, x, y) {
  let d = "", pen = "M";
  up.forEach((value, i) => {
    if (value === null) pen = "M";
    else {
      d += `${pen}${x(across[i]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    }
  });
  return d;
}

function band(curve, x, y) {
  const known = curve.env_step.map((_, i) => i).filter((i) => curve.low[i] !== null && curve.high[i] !== null);
  const point = (i, value) => `${x(curve.env_step[i]).toFixed(1)} ${y(value).toFixed(1)}`;
  const there = known.map((i) => point(i, curve.high[i]));
  const back = known.reverse().map((i) => point(i, curve.low[i]));
  return there.length ? `M${[...there, ...back].join("L")}Z` : "";
}

function legend(curves) {
  return h("ul", { class: "legend" }, curves.map((curve) => h(
    "li", {}, h("span", { class: `key line-${curve.colour}`, "aria-hidden": "true" }), h("bdi", {}, curve.label),
    h("small", {}, ` ${curve.note}`),
  )));
}

function read(curves, step, x, cursor, reading) {
  const place = Math.min(Math.max(step, x.low), x.high);
  for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(place));
  cursor.setAttribute("visibility", "visible");
  const parts = curves.map((curve) => {
    const i = nearest(curve.env_step, place);
    const spread = curve.low && curve.low[i] !== null ? ` (${number(curve.low[i])} to ${number(curve.high[i])})` : "";
    return `${curve.label} ${number(curve.mean[i])}${spread}`;
  });
  reading.textContent = `At ${number(Math.round(place))} steps: ${parts.join("; ")}`;
}

function nearest(sorted, value) {
  let best = 0;
  sorted.forEach((each, i) => {
    if (Math.abs(each - value) < Math.abs(sorted[best] - value)) best = i;
  });
  return best;
}

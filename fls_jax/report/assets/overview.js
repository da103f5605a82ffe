// What was trained and how well it does: facts, curves, tables.

import { curveChart } from "./chart.js";
import { h, name, number } from "./dom.js";
import { sortableTable } from "./tables.js";

/** The section. */
export function overview(report) {
  return h(
    "section", { id: "overview", "aria-labelledby": "overview-title" },
    h("h2", { id: "overview-title" }, "Overview"),
    (report.sentences ?? []).map((sentence) => h("p", {}, sentence)),
    h("div", { class: "charts" }, games(report).map((game) => curves(report, game))),
    report.curves.length ? null : h("p", { class: "note" }, "No learning curve: no record of a finished game is at hand."),
    report.tables.filter((table) => table.place === "overview").map(sortableTable),
  );
}

const MEASURED = { gaze: "gaze of people", replacement: "attention replaced", saliency: "saliency methods" };

/** Tables that have a section of their own: gaze, replacement, saliency; and which of them are missing. */
export function measurements(report) {
  const tables = report.tables.filter((table) => table.place === "measurements");
  const missing = Object.keys(MEASURED).filter((kind) => !tables.some(({ id }) => id.split("-")[0] === kind));
  return h(
    "section", { id: "measurements", "aria-labelledby": "measurements-title" },
    h("h2", { id: "measurements-title" }, "Measurements of the maps"),
    tables.map(sortableTable),
    missing.length
      ? h("p", { class: "note" }, `Not measured: ${missing.map((kind) => MEASURED[kind]).join(", ")}. `,
        h("code", {}, "fls report --make"), " measures what the agents allow; the gaze needs ", h("code", {}, "--atari-head"), ".")
      : null,
  );
}

function games(report) {
  return [...new Set(report.curves.map((curve) => curve.game))];
}

function curves(report, game) {
  const found = report.curves.filter((curve) => curve.game === game).map((curve) => ({
    ...curve,
    label: curve.network,
    note: curve.seeds.length === 1 ? `seed ${curve.seeds[0]}` : `${curve.seeds.length} seeds: mean, lowest to highest`,
  }));
  return curveChart(game, found, "return of the last 100 games");
}

/** Folders and files that could not be used, by name. */
export function problems(report) {
  if (!report.problems.length) return null;
  return h(
    "section", { id: "problems", class: "notice", "aria-labelledby": "problems-title" },
    h("h2", { id: "problems-title" }, "Left out"),
    h("p", {}, `${number(report.problems.length)} could not be used:`),
    h("ul", {}, report.problems.map(({ path, reason }) => h("li", {}, h("code", {}, name(path)), ": ", name(reason)))),
  );
}

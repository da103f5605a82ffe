// Time lines under the scrub bar: one row a quantity, one line a view, a playhead over all.

import { h, number, svg } from "./dom.js";

/** Rows of series over the clip. `seek` is called with a frame where the reader points. */
export class Timelines {
  constructor(seek) {
    this.head = h("div", { class: "playhead", "aria-hidden": "true" });
    this.rows = h("div", { class: "rows" });
    this.element = h("div", { class: "timelines" }, this.rows);
    this.seek = seek;
    let dragging = false;
    const go = (event) => {
      const box = this.rows.querySelector("svg")?.getBoundingClientRect();
      if (!box) return;
      const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      this.seek(Math.round(share * (this.steps - 1)));
    };
    this.rows.addEventListener("pointerdown", (event) => {
      if (!event.target.closest("svg")) return;
      dragging = true;
      go(event);
    });
    window.addEventListener("pointermove", (event) => dragging && go(event));
    window.addEventListener("pointerup", () => (dragging = false));
  }

  /** Show series: [{label, meaning, lines: [{values, view}], zero}] over `steps` frames. */
  set(series, steps) {
    this.steps = steps;
    this.series = series;
    this.cells = series.map(({ lines }) => lines.map(({ view }) => h("span", { class: `now view-${view}` })));
    this.rows.replaceChildren(...series.map((each, i) => this.row(each, this.cells[i])));
    this.plots = [...this.rows.querySelectorAll(".plot")];
    this.plots.forEach((plot) => plot.append(this.head.cloneNode()));
    this.heads = this.plots.map((plot) => plot.lastChild);
  }

  row({ label, meaning, lines, zero }, cells) {
    const [low, high] = range(lines.map(({ values }) => values), zero);
    const picture = svg("svg", {
      viewBox: `0 0 ${Math.max(this.steps - 1, 1)} 1`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${label}: from ${number(low)} to ${number(high)}`,
    });
    for (const { values, view } of lines) {
      picture.append(svg("path", { class: `line view-${view}`, d: path(values, low, high) }));
    }
    const row = h(
      "div", { class: "row" },
      h("span", { class: "label", title: meaning }, label),
      h("div", { class: "plot" }, picture, h("span", { class: "high" }, number(high)), h("span", { class: "low" }, number(low))),
      h("span", { class: "values" }, cells),
    );
    row.style.setProperty("--values", cells.length);
    return row;
  }

  /** Move the playhead to t and tell the numbers there. */
  at(t) {
    const left = `${(100 * t) / Math.max(this.steps - 1, 1)}%`;
    this.heads?.forEach((head) => (head.style.left = left));
    this.series?.forEach(({ lines }, i) => lines.forEach(({ values }, j) => {
      this.cells[i][j].textContent = number(values[t]);
    }));
  }
}

function range(lines, zero) {
  let low = zero ? 0 : Infinity, high = zero ? 0 : -Infinity;
  for (const values of lines) {
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (!(low <= high)) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function path(values, low, high) {
  const parts = [];
  let pen = "M";
  for (let t = 0; t < values.length; t++) {
    if (Number.isNaN(values[t])) {
      pen = "M";
      continue;
    }
    parts.push(`${pen}${t} ${(1 - (values[t] - low) / (high - low)).toFixed(4)}`);
    pen = "L";
  }
  return parts.join("");
}

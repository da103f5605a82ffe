// The front page of a study: one row a game and network, one link a page.

import { h } from "./dom.js";
import { sortableTable } from "./tables.js";

/** The section. */
export function studyIndex(report) {
  return h(
    "section", { id: "overview", "aria-labelledby": "overview-title" },
    h("h2", { id: "overview-title" }, "Games"),
    h("ul", { class: "pages" }, report.pages.map(({ file, title, note }) => h(
      "li", {}, h("a", { href: file }, title), h("small", {}, ` ${note}`),
    ))),
    report.tables.map(sortableTable),
  );
}

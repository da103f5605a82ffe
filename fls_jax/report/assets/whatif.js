// "What if": the policy and the value of this frame with the agent's map replaced by another.

import { h, name, number, percent } from "./dom.js";

/** A table a view; `choose` is called with a replacement's name, null for as trained. */
export class WhatIf {
  constructor(choose) {
    this.choose = choose;
    this.element = h("div", { class: "whatif" });
  }

  /** Build the tables of these views. */
  set(views, chosen, clip) {
    this.acted = Boolean(clip.actions);
    const seen = new Set();
    this.tables = views
      .filter((view) => view.observer.replacements.size && !seen.has(view.view.agent) && seen.add(view.view.agent))
      .map((view) => this.table(view.observer, chosen));
    this.element.replaceChildren(
      h("h3", {}, "What if the map were another?"),
      h("p", { class: "note" }, this.tables.length
        ? "The same frame, the same weights, only the attention replaced. Choose a row: the thin marks at the "
          + "action bars and the time line “change” show it."
        : "Nothing is recorded here: these agents have no attention to replace."),
      ...this.tables.map(({ element }) => element),
    );
  }

  table(observer, chosen) {
    const rows = [["", "as trained"], ...[...observer.replacements.values()].map((each) => [each.name, each.label])];
    const cells = rows.map(([key, label]) => {
      const parts = { best: h("td"), taken: h("td", { class: "number" }), value: h("td", { class: "number" }), change: h("td", { class: "number" }) };
      const pick = h("button", {
        type: "button", "aria-pressed": String((chosen ?? "") === key), onclick: () => this.choose(key || null),
      }, label);
      const row = h("tr", {}, h("th", { scope: "row" }, pick), parts.best, this.acted ? parts.taken : null, parts.value, parts.change);
      return { key, parts, row };
    });
    const head = ["map", "most probable", ...(this.acted ? ["P(action taken)"] : []), "value", "change of policy"];
    const element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `What if, ${observer.agent.label}` },
      h("table", {}, h("caption", {}, name(observer.agent.label)),
        h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, cells.map(({ row }) => row))));
    return { observer, cells, element };
  }

  /** Fill in frame t. */
  at(t, clip) {
    for (const { observer, cells } of this.tables ?? []) {
      for (const { key, parts } of cells) {
        const replacement = key ? observer.replacements.get(key) : null;
        const policy = observer.policy(t, key || null);
        const best = policy.indexOf(Math.max(...policy));
        parts.best.textContent = `${observer.agent.actions[best]} ${percent(policy[best])}`;
        parts.taken.textContent = this.acted ? percent(policy[clip.actions[t]]) : "";
        parts.value.textContent = number((replacement ?? observer).values[t]);
        parts.change.textContent = replacement ? percent(replacement.change[t]) : "";
      }
    }
  }
}

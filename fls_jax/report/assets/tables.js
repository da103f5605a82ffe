// Tables that sort by any column; controls stay apart, beneath the agents.

import { h, name, number } from "./dom.js";

/**
 * A table of the document: {id, title, notes, columns: [{id, label, kind, better, digits}],
 * rows: [{kind, cells: {column: cell}}]}. A cell is {text} or {value, low, high, note, best}.
 */
export function sortableTable(table) {
  const body = h("tbody");
  const heads = table.columns.map((column) => head(column));
  const element = h(
    "div", { class: "table", id: `table-${table.id}` },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": table.title },
      h("table", {}, h("caption", {}, table.title), h("thead", {}, h("tr", {}, heads.map((each) => each.cell))), body)),
    (table.notes ?? []).map((note) => h("p", { class: "note" }, note)),
  );
  let order = { column: null, down: false };
  const show = () => {
    body.replaceChildren(...sorted(table.rows, order).map((row) => tableRow(row, table.columns)));
    for (const { column, cell } of heads) {
      if (column === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  };
  for (const { column, button } of heads) {
    button.addEventListener("click", () => {
      const down = order.column === column ? !order.down : column.kind !== "text" && column.better !== "low";
      order = { column, down };
      show();
    });
  }
  show();
  return element;
}

function head(column) {
  const button = h("button", { type: "button", title: column.meaning }, column.label);
  return { column, button, cell: h("th", { scope: "col", class: column.kind }, button) };
}

const KINDS = ["agent", "difference", "control"];

/** Rows by kind, within a kind by the column; what has no number comes last. */
function sorted(rows, { column, down }) {
  const place = (row) => KINDS.indexOf(row.kind ?? "agent");
  const key = (row) => {
    const cell = row.cells[column?.id] ?? {};
    return cell.value ?? (column?.kind === "text" ? cell.text : null) ?? null;
  };
  const compare = (a, b) => {
    if (place(a) !== place(b)) return place(a) - place(b);
    if (!column) return 0;
    const [one, other] = [key(a), key(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    const order = typeof one === "number" ? one - other : String(one).localeCompare(String(other));
    return down ? -order : order;
  };
  return [...rows].sort(compare);
}

function tableRow(row, columns) {
  return h("tr", { class: row.kind ?? "agent" }, columns.map((column, i) => {
    const cell = row.cells[column.id] ?? {};
    const attributes = { class: `${column.kind}${cell.best ? " best" : ""}`, title: cell.note };
    return i === 0 ? h("th", { scope: "row", ...attributes }, shown(cell, column)) : h("td", attributes, shown(cell, column));
  }));
}

function shown(cell, column) {
  if (cell.value === undefined || cell.value === null) return name(cell.text ?? "–");
  const parts = [h("span", {}, number(cell.value, column.digits ?? 3))];
  if (cell.best) parts.push(h("span", { class: "mark", title: "best: its interval lies beyond every other's" }, " ★"));
  if (cell.low !== undefined && cell.low !== null) {
    parts.push(h("small", {}, ` ${number(cell.low, column.digits ?? 3)} to ${number(cell.high, column.digits ?? 3)}`));
  }
  if (cell.note) parts.push(h("small", { class: "aside" }, ` ${cell.note}`));
  return parts;
}

// Elements and numbers. All text goes in as text: nothing from the data is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p", {class: "note", onclick: f}, "text", child, ...). */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A name that somebody else chose: its writing direction ends with it. */
export function name(text) {
  return h("bdi", {}, text);
}

/** A number for people; digits: significant ones. Null stands for what does not exist. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return grouped(value, 0);
  if (size >= 1e9) return value.toExponential(Math.max(digits - 1, 0));
  return grouped(value, Math.min(4, Math.max(0, digits - 1 - Math.floor(Math.log10(size)))));
}

function grouped(value, decimals) {
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** A share as per cent. */
export function percent(value) {
  if (value === null || Number.isNaN(value)) return "–";
  return `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0)}%`;
}

/** A choice with a label: options are [value, text]; chosen(value) is called with a new one. */
export function choice(label, options, value, chosen, attributes = {}) {
  const select = h("select", { onchange: () => chosen(select.value), ...attributes });
  for (const [each, text] of options) select.append(h("option", { value: each }, text));
  select.value = value;
  return { element: h("label", { class: "choice" }, h("span", {}, label), select), select };
}

/** A box to tick, with a label. */
export function tick(label, value, changed, attributes = {}) {
  const input = h("input", { type: "checkbox", onchange: () => changed(input.checked), ...attributes });
  input.checked = value;
  return { element: h("label", { class: "tick" }, input, label), input };
}

/** A button that puts a text on the clipboard and says so. */
export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "copy" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copied(typeof text === "function" ? text() : text)) ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not every browser gives a page from disk the clipboard; the old way needs no permission.
    const area = h("textarea", { readonly: true, class: "away" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

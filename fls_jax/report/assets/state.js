// What is shown, as the part of the address after #: a link brings another reader to the same moment.

const SHOWS = ["original", "map", "overlay", "relative"];

/** The state in a hash, or {} where it holds none. */
export function readHash(hash) {
  if (!hash.includes("=")) return {};
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { views: [] };
  const whole = (key) => (/^\d{1,9}$/.test(given.get(key) ?? "") ? Number(given.get(key)) : undefined);
  if (given.has("clip")) state.clip = given.get("clip");
  state.frame = whole("frame");
  if (SHOWS.includes(given.get("show"))) state.show = given.get("show");
  const opacity = Number(given.get("opacity"));
  if (given.has("opacity") && opacity >= 0 && opacity <= 1) state.opacity = opacity;
  if (given.has("shared")) state.shared = given.get("shared") === "1";
  if (given.has("each")) state.perFrame = given.get("each") === "1";
  if (given.has("gaze")) state.gaze = given.get("gaze") === "1";
  if (given.has("boxes")) state.boxes = given.get("boxes").split(",").filter(Boolean);
  if (given.has("instead")) state.instead = given.get("instead");
  const region = (given.get("region") ?? "").split(",").map(Number);
  if (region.length === 4 && region.every((n) => Number.isInteger(n) && n >= 0 && n <= 210)) state.region = region;
  for (const n of ["", 2, 3, 4]) {
    if (given.has(`agent${n}`)) state.views.push({ agent: given.get(`agent${n}`), map: given.get(`map${n}`) });
  }
  return state;
}

/** The hash of a state. */
export function writeHash(state) {
  const words = new URLSearchParams();
  words.set("clip", state.clip);
  state.views.forEach((view, i) => {
    const n = i ? i + 1 : "";
    words.set(`agent${n}`, view.agent);
    if (view.map) words.set(`map${n}`, view.map);
  });
  words.set("frame", state.frame);
  words.set("show", state.show);
  words.set("opacity", state.opacity);
  words.set("shared", state.shared ? 1 : 0);
  words.set("each", state.perFrame ? 1 : 0);
  words.set("gaze", state.gaze ? 1 : 0);
  if (state.boxes.length) words.set("boxes", state.boxes.join(","));
  if (state.instead) words.set("instead", state.instead);
  if (state.region) words.set("region", state.region.join(","));
  return `#${words}`;
}

/** Put the hash into the address bar without a new entry in the history. */
export function showHash(hash) {
  try {
    history.replaceState(null, "", hash);
  } catch {
    // Some browsers refuse it to a page from disk; the button that copies the link still works.
  }
}

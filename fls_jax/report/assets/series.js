// What is drawn over time: the quantities that the time lines show, one line a view.

import { massIn, shareOfArea } from "./mass.js";

/** Series for Timelines.set, of the views of a clip and the player's state. */
export function seriesOf(clip, views, state) {
  const ofViews = (values) => views
    .map((view, i) => ({ values: values(view), view: i }))
    .filter(({ values }) => values);
  const series = [
    { label: "value", meaning: "Predicted discounted return of clipped rewards", lines: ofViews((v) => v.observer.values) },
    { label: "entropy", meaning: "Entropy of the policy in nats", lines: ofViews((v) => v.observer.entropies), zero: true },
    {
      label: "P(action)", meaning: "Probability that the agent gives to the action that was taken",
      lines: ofViews((v) => takenProbability(clip, v.observer)), zero: true,
    },
    { label: "reward", meaning: "Raw reward of the step", lines: clip.rewards ? [{ values: clip.rewards, view: "game" }] : [], zero: true },
    {
      label: "effective area", meaning: "exp(entropy of the map) over its pixels: 1 where all are alike",
      lines: ofViews((v) => v.map && v.observer.areas.get(v.map.record.id)),
    },
    {
      label: "change", meaning: "Total variation between the policy as trained and with its map replaced",
      lines: ofViews((v) => v.observer.replacements.get(state.instead)?.change), zero: true,
    },
  ];
  const { region } = state;
  if (region) series.push(massSeries(clip, ofViews, "mass in region", `${region}`, () => [region]));
  for (const kind of state.boxes) {
    const boxesAt = (t) => clip.boxesAt(t, [kind]).map(({ box }) => box);
    series.push(massSeries(clip, ofViews, `mass on ${kind}`, `${clip.record.id} ${kind}`, boxesAt));
  }
  return series.filter(({ lines }) => lines.length);
}

/** The share of each view's map in boxes, and the share of the picture that they cover, which is what chance has. */
function massSeries(clip, ofViews, label, key, boxesAt) {
  const lines = ofViews((v) => massIn(v.map, clip.steps, key, boxesAt));
  const area = { values: shareOfArea(clip.steps, boxesAt), view: "game" };
  const meaning = "Share of the map's mass inside; grey: the share of the picture that it covers, as of a map that is the same everywhere";
  return { label, meaning, lines: lines.length ? [...lines, area] : [], zero: true };
}

function takenProbability(clip, observer) {
  if (!clip.actions) return null;
  const n = observer.agent.actions.length;
  return Float32Array.from({ length: clip.steps }, (_, t) => observer.probabilities[t * n + clip.actions[t]]);
}

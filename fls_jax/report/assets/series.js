// What is drawn over time: the quantities that the time lines show, one line a view.

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
    { label: "reward", meaning: "Raw reward of the step", lines: [{ values: clip.rewards, view: "game" }], zero: true },
    {
      label: "effective area", meaning: "exp(entropy of the map) over its pixels: 1 where all are alike",
      lines: ofViews((v) => v.map && v.observer.areas.get(v.map.record.id)),
    },
    {
      label: "change", meaning: "Total variation between the policy as trained and with its map replaced",
      lines: ofViews((v) => v.observer.replacements.get(state.instead)?.change), zero: true,
    },
  ];
  if (state.region) {
    series.push({
      label: "mass in region", meaning: "Share of the map's mass inside the marked region",
      lines: ofViews((v) => massIn(v.map, clip.steps, () => state.region)), zero: true,
    });
  }
  if (state.boxes && clip.boxes) series.push(...clip.boxes.names.map((name, i) => objectSeries(clip, ofViews, name, i)));
  return series.filter(({ lines }) => lines.length);
}

function objectSeries(clip, ofViews, name, i) {
  const count = clip.boxes.names.length;
  const box = (t) => clip.boxes.places.subarray(4 * (t * count + i), 4 * (t * count + i) + 4);
  return {
    label: `mass on ${name}`, meaning: "Share of the map's mass inside the object's box",
    lines: ofViews((v) => massIn(v.map, clip.steps, box)), zero: true,
  };
}

function takenProbability(clip, observer) {
  const n = observer.agent.actions.length;
  return Float32Array.from({ length: clip.steps }, (_, t) => observer.probabilities[t * n + clip.actions[t]]);
}

/** Share of a map's absolute mass inside boxes [x, y, width, height] of the 210x160 screen, frame by frame. */
export function massIn(map, steps, boxAt) {
  if (!map?.whole) return null;
  const shares = new Float32Array(steps);
  for (let t = 0; t < steps; t++) {
    const [x, y, width, height] = boxAt(t);
    shares[t] = share(map.onInput(t), (84 / 160) * x, (84 / 210) * y, (84 / 160) * width, (84 / 210) * height);
  }
  return shares;
}

/** Pixels at the box's edge count by the part of them that lies inside. */
function share(values, x, y, width, height) {
  if (Number.isNaN(x)) return NaN;
  let inside = 0, all = 0;
  for (let row = 0; row < 84; row++) {
    const down = covered(row, y, y + height);
    for (let column = 0; column < 84; column++) {
      const value = Math.abs(values[row * 84 + column]);
      all += value;
      if (down > 0) inside += value * down * covered(column, x, x + width);
    }
  }
  return all > 0 ? inside / all : NaN;
}

function covered(pixel, from, to) {
  return Math.max(0, Math.min(pixel + 1, to) - Math.max(pixel, from));
}

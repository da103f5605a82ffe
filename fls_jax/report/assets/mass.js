// How much of a map lies in boxes of the screen, over time.

const SIDE = 84, SCREEN_WIDTH = 160, SCREEN_HEIGHT = 210;
const KNOWN = new WeakMap(); // by map, then by what the boxes are

/**
 * Share of a map's absolute mass inside boxes [x, y, width, height] of the 210x160 screen, frame by frame: NaN where
 * there is no box. key: what the boxes are, so that nothing is computed twice.
 */
export function massIn(map, steps, key, boxesAt) {
  if (!map?.whole) return null;
  if (!KNOWN.has(map)) KNOWN.set(map, new Map());
  const known = KNOWN.get(map);
  if (!known.has(key)) known.set(key, Float32Array.from({ length: steps }, (_, t) => share(map.onInput(t), boxesAt(t))));
  return known.get(key);
}

/** The share of the picture inside boxes, frame by frame. */
export function shareOfArea(steps, boxesAt) {
  const picture = new Float32Array(SIDE * SIDE).fill(1);
  return Float32Array.from({ length: steps }, (_, t) => share(picture, boxesAt(t)));
}

function share(values, boxes) {
  if (!boxes.length) return NaN;
  let inside = 0, all = 0;
  const covered = coverage(boxes);
  for (let i = 0; i < values.length; i++) {
    const value = Math.abs(values[i]);
    all += value;
    inside += value * covered[i];
  }
  return all > 0 ? inside / all : NaN;
}

const COVERED = new Float32Array(SIDE * SIDE);

/** The part of every pixel of the agent's input that lies in one of the boxes. */
function coverage(boxes) {
  COVERED.fill(0);
  for (const [x, y, width, height] of boxes) {
    const left = (SIDE / SCREEN_WIDTH) * x, right = (SIDE / SCREEN_WIDTH) * (x + width);
    const top = (SIDE / SCREEN_HEIGHT) * y, bottom = (SIDE / SCREEN_HEIGHT) * (y + height);
    for (let row = Math.floor(top); row < Math.min(Math.ceil(bottom), SIDE); row++) {
      const down = within(row, top, bottom);
      for (let column = Math.floor(left); column < Math.min(Math.ceil(right), SIDE); column++) {
        const i = row * SIDE + column;
        COVERED[i] = Math.max(COVERED[i], down * within(column, left, right));
      }
    }
  }
  return COVERED;
}

function within(pixel, from, to) {
  return Math.max(0, Math.min(pixel + 1, to) - Math.max(pixel, from));
}

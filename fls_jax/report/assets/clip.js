// A recorded clip, unpacked: pictures, what happened, and what every agent made of the same frames.

import { Pictures, unpack } from "./data.js";
import { RecordedMap } from "./maps.js";

/** One clip of the document; load() first. */
export class Clip {
  constructor(record, agents) {
    this.record = record;
    this.steps = record.frames.shape[0];
    this.pictures = new Pictures(record.frames);
    this.palette = record.palette && Uint8Array.from(record.palette.flat());
    this.observers = new Map(record.observers.map((each) => [each.agent, new Observer(each, agents)]));
  }

  load() {
    this.loading ??= this.unpackAll();
    return this.loading;
  }

  async unpackAll() {
    const names = ["actions", "rewards", "returns", "games", "ends", "advantages"];
    await Promise.all([
      ...names.map(async (each) => (this[each] = await unpack(this.record[each]))),
      this.pictures.load(0),
      this.unpackMarks(),
      ...[...this.observers.values()].map((observer) => observer.load()),
    ]);
  }

  async unpackMarks() {
    const { gaze, boxes } = this.record;
    this.gaze = gaze && { offsets: await unpack(gaze.offsets), points: await unpack(gaze.points) };
    this.boxes = boxes && {
      names: boxes.names, kinds: [...new Set(boxes.names)], from: boxes.from,
      places: await new Pictures(boxes.places).all(),
    };
  }

  /** Fill rgba uint8 [4 n] with the screen at t; false where it is not loaded. */
  drawScreen(t, rgba) {
    const picture = this.pictures.at(t);
    if (!picture) return false;
    const n = rgba.length / 4;
    for (let i = 0; i < n; i++) {
      const from = this.palette ? 3 * picture[i] : 3 * i;
      const source = this.palette ?? picture;
      rgba[4 * i] = source[from];
      rgba[4 * i + 1] = source[from + 1];
      rgba[4 * i + 2] = source[from + 2];
    }
    return true;
  }

  /** Where people looked at t: [[x, y], ...] in pixels of the screen. */
  gazeAt(t) {
    if (!this.gaze) return [];
    const points = [];
    for (let i = this.gaze.offsets[t]; i < this.gaze.offsets[t + 1]; i++) {
      points.push([this.gaze.points[2 * i], this.gaze.points[2 * i + 1]]);
    }
    return points;
  }

  /** Objects of these kinds at t: [{name, box: [x, y, width, height]}] in pixels of the screen. */
  boxesAt(t, kinds) {
    if (!this.boxes || !kinds.length) return [];
    const { names, places } = this.boxes;
    const at = (i) => places.subarray(4 * (t * names.length + i), 4 * (t * names.length + i) + 4);
    return names.map((name, i) => ({ name, box: at(i) })).filter(({ name, box }) => box[2] && kinds.includes(name));
  }
}

/** What one agent made of a clip's frames. */
class Observer {
  constructor(record, agents) {
    this.record = record;
    this.agent = agents.get(record.agent);
    this.maps = new Map(record.maps.map((map) => [map.id, new RecordedMap(map)]));
    this.areas = new Map();
    this.replacements = new Map();
  }

  async load() {
    const { record } = this;
    this.probabilities = await unpack(record.probabilities);
    this.values = await unpack(record.values);
    this.entropies = await unpack(record.entropies);
    for (const map of record.maps) this.areas.set(map.id, await unpack(map.area));
    for (const each of record.replacements) {
      this.replacements.set(each.name, {
        ...each,
        probabilities: await unpack(each.probabilities),
        values: await unpack(each.values),
        change: await unpack(each.change),
      });
    }
  }

  /** The policy at t, float [A], as trained or under a replacement of the map. */
  policy(t, replacement = null) {
    const { probabilities } = replacement ? this.replacements.get(replacement) : this;
    const n = this.agent.actions.length;
    return probabilities.subarray(t * n, (t + 1) * n);
  }
}

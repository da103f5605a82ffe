// A recorded map: unpacked, painted through receptive fields, enlarged to the screen, less its mean.

import { Pictures } from "./data.js";

/** One agent's map by one method over a clip. Load before use. */
export class RecordedMap {
  constructor(record) {
    this.record = record;
    this.low = record.low;
    this.step = (record.high - record.low) / (record.values.dtype === "uint8" ? 255 : 65535);
    [this.length, this.height, this.width] = record.values.shape;
    this.whole = null;
    this.mean = null;
  }

  load() {
    this.loading ??= new Pictures(this.record.values).all().then((whole) => {
      this.whole = whole;
      this.mean = this.average();
    });
    return this.loading;
  }

  average() {
    const size = this.height * this.width;
    const mean = new Float64Array(size);
    for (let i = 0; i < this.whole.length; i++) mean[i % size] += this.whole[i];
    return Float32Array.from(mean, (sum) => this.low + (this.step * sum) / this.length);
  }

  /** The values at t, float [h w]; relative: less their mean over the clip. */
  values(t, relative = false) {
    const size = this.height * this.width;
    const out = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      out[i] = this.low + this.step * this.whole[t * size + i] - (relative ? this.mean[i] : 0);
    }
    return out;
  }

  /** The map on the agent's input, float [84 84]. */
  onInput(t, relative = false) {
    const values = this.values(t, relative);
    const fields = this.record.fields;
    return fields ? paint(values, this.height, this.width, fields) : values;
  }

  /** The map on the screen, float [210 160]. */
  onScreen(t, relative = false) {
    return enlarge(this.onInput(t, relative), 84, 84, 210, 160);
  }

  /** The value that the end of the colour scale stands for. */
  maximum(relative) {
    return relative ? this.record.relative_maximum : this.record.maximum;
  }

  signed(relative) {
    return relative || this.record.signed;
  }
}

/** Every value of a gate [h w], added to each pixel of the receptive field of the feature it multiplies. */
export function paint(values, height, width, { size, stride, padding }, side = 84) {
  const rows = new Float32Array(side * width);
  for (let i = 0; i < height; i++) {
    const start = i * stride - padding;
    for (let y = Math.max(start, 0); y < Math.min(start + size, side); y++) {
      for (let x = 0; x < width; x++) rows[y * width + x] += values[i * width + x];
    }
  }
  const out = new Float32Array(side * side);
  for (let j = 0; j < width; j++) {
    const start = j * stride - padding;
    const end = Math.min(start + size, side);
    for (let y = 0; y < side; y++) {
      const value = rows[y * width + j];
      for (let x = Math.max(start, 0); x < end; x++) out[y * side + x] += value;
    }
  }
  return out;
}

/** Linear interpolation along an axis, pixel centres at half integers, mirrored at the edges. */
function interpolation(size, newSize) {
  const below = new Int32Array(newSize), share = new Float32Array(newSize);
  for (let i = 0; i < newSize; i++) {
    let place = Math.abs(((i + 0.5) * size) / newSize - 0.5);
    if (place > size - 1) place = 2 * (size - 1) - place;
    below[i] = Math.min(Math.floor(place), size - 1);
    share[i] = place - below[i];
  }
  return { below, share };
}

const AXES = new Map();

function axis(size, newSize) {
  const key = `${size}-${newSize}`;
  if (!AXES.has(key)) AXES.set(key, interpolation(size, newSize));
  return AXES.get(key);
}

/** A map enlarged bilinearly, as the package's `to_screen` does it. */
export function enlarge(map, height, width, newHeight, newWidth) {
  const across = axis(width, newWidth), down = axis(height, newHeight);
  const rows = new Float32Array(height * newWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++) {
      const left = y * width + across.below[x];
      const right = y * width + Math.min(across.below[x] + 1, width - 1);
      rows[y * newWidth + x] = map[left] + across.share[x] * (map[right] - map[left]);
    }
  }
  const out = new Float32Array(newHeight * newWidth);
  for (let y = 0; y < newHeight; y++) {
    const upper = down.below[y] * newWidth, lower = Math.min(down.below[y] + 1, height - 1) * newWidth;
    const share = down.share[y];
    for (let x = 0; x < newWidth; x++) {
      out[y * newWidth + x] = rows[upper + x] + share * (rows[lower + x] - rows[upper + x]);
    }
  }
  return out;
}

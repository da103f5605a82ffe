// The document: JSON in the page, with packed arrays (base64 of zlib of little-endian numbers).

const KINDS = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };

/** The page's document. */
export function readDocument() {
  return JSON.parse(document.getElementById("report-data").textContent);
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function inflated(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A packed array's numbers, in the order of rows, as a typed array; null where there is none. */
export async function unpack(packed) {
  if (!packed) return null;
  return new KINDS[packed.dtype]((await inflated(packed.data)).buffer);
}

const MOST_BLOCKS = 40;

/**
 * Pictures over time, in blocks: within a block every picture is stored as its difference (XOR of bytes) from
 * the one before, so that any picture is at most one block away and nothing is lost.
 */
export class Pictures {
  constructor(stream) {
    [this.length, ...this.shape] = stream.shape;
    this.size = this.shape.reduce((product, n) => product * n, 1);
    this.kind = KINDS[stream.dtype];
    this.stream = stream;
    this.blocks = new Map(); // in the order of their last use
    this.pending = new Map();
  }

  /** The picture at t, or null where its block is not loaded. */
  at(t) {
    const index = Math.floor(t / this.stream.block);
    const block = this.blocks.get(index);
    if (!block) return null;
    this.blocks.delete(index);
    this.blocks.set(index, block);
    const start = (t % this.stream.block) * this.size;
    return block.subarray(start, start + this.size);
  }

  /** Load the block that holds t. */
  load(t) {
    const index = Math.floor(t / this.stream.block);
    if (index < 0 || index >= this.stream.data.length || this.blocks.has(index)) return Promise.resolve();
    if (!this.pending.has(index)) this.pending.set(index, this.decode(index));
    return this.pending.get(index);
  }

  async decode(index) {
    const bytes = await inflated(this.stream.data[index]);
    const step = this.size * this.kind.BYTES_PER_ELEMENT;
    for (let i = step; i < bytes.length; i++) bytes[i] ^= bytes[i - step];
    this.blocks.set(index, new this.kind(bytes.buffer));
    this.pending.delete(index);
    if (this.blocks.size > MOST_BLOCKS) this.blocks.delete(this.blocks.keys().next().value);
  }

  /** All pictures one after the other, as one typed array. */
  async all() {
    const whole = new this.kind(this.length * this.size);
    for (let index = 0; index < this.stream.data.length; index++) {
      const start = index * this.stream.block;
      await this.load(start);
      whole.set(this.blocks.get(index), start * this.size);
    }
    return whole;
  }
}

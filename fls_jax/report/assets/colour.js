// Colours of maps, and a map laid over a picture.

const SHADE_KEPT = 0.4; // the share of the game's own light and shade that stays where a map is largest
const RED = 0.299, GREEN = 0.587, BLUE = 0.114;

/** Viridis: evenly lighter, also to colour-blind eyes. Anchors, interpolated to 256 colours. */
const VIRIDIS = ramp([
  [68, 1, 84], [71, 19, 101], [72, 36, 117], [70, 52, 128], [65, 68, 135], [59, 82, 139], [53, 95, 141],
  [47, 108, 142], [42, 120, 142], [37, 132, 142], [33, 145, 140], [30, 156, 137], [34, 168, 132],
  [47, 180, 124], [68, 191, 112], [94, 201, 98], [122, 209, 81], [155, 217, 60], [189, 223, 38],
  [223, 227, 24], [253, 231, 37],
]);
/** Blue, grey, orange: below and above, told apart by colour-blind eyes too. */
const DIVERGING = ramp([
  [5, 100, 200], [64, 140, 214], [130, 170, 210], [128, 128, 128], [222, 170, 110], [232, 140, 50], [240, 110, 0],
]);

function ramp(anchors) {
  const table = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (anchors.length - 1);
    const below = Math.min(Math.floor(place), anchors.length - 2);
    for (let c = 0; c < 3; c++) {
      table[3 * i + c] = Math.round(anchors[below][c] + (place - below) * (anchors[below + 1][c] - anchors[below][c]));
    }
  }
  return table;
}

/** The table of colours for maps that are signed or not. */
export function colours(signed) {
  return signed ? DIVERGING : VIRIDIS;
}

/** The places of a map's values in the table, uint8 [n]: 0 ... 255, values beyond the ends at the ends. */
export function places(map, maximum, signed) {
  const found = new Uint8ClampedArray(map.length); // rounds and clamps by itself
  const scale = maximum > 0 ? (signed ? 127.5 : 255) / maximum : 0;
  const zero = signed ? 127.5 : 0;
  for (let i = 0; i < map.length; i++) found[i] = zero + scale * map[i];
  return found;
}

/** Draw a map alone: map float [n], pixels uint8 [4 n]. */
export function drawMap(pixels, map, maximum, signed) {
  const table = colours(signed), found = places(map, maximum, signed);
  for (let i = 0; i < map.length; i++) {
    const index = 3 * found[i];
    pixels[4 * i] = table[index];
    pixels[4 * i + 1] = table[index + 1];
    pixels[4 * i + 2] = table[index + 2];
  }
}

/**
 * Lay a map over the picture that is in `pixels`. A pixel of share s goes s of the way from the game's hue to
 * the map's and (1 - SHADE_KEPT) s of the way in lightness: hue tells the map, light and shade the game.
 */
export function overlayMap(pixels, map, maximum, signed, opacity) {
  const table = colours(signed), found = places(map, maximum, signed);
  const shares = Float32Array.from({ length: 256 }, (_, n) => opacity * (signed ? Math.abs(n - 127.5) / 127.5 : n / 255));
  for (let i = 0; i < map.length; i++) {
    const share = shares[found[i]];
    const index = 3 * (signed ? (found[i] < 128 ? 0 : 255) : found[i]);
    const p = 4 * i;
    const red = pixels[p], green = pixels[p + 1], blue = pixels[p + 2];
    const r = table[index] - red, g = table[index + 1] - green, b = table[index + 2] - blue;
    const kept = SHADE_KEPT * (RED * r + GREEN * g + BLUE * b);
    pixels[p] = red + share * (r - kept);
    pixels[p + 1] = green + share * (g - kept);
    pixels[p + 2] = blue + share * (b - kept);
  }
}

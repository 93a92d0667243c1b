// Masks of a result, in a layer of the picture's size.

import { classColor, shownOf } from "./draw.js";

const OPACITY = 0.4;
const RIM_OPACITY = 0.95;
/** Pixels of the picture's longer side for one of a rim's width: about two on the screen. */
const PER_RIM = 400;

/** All masks, or the chosen one: translucent, with a rim; null where there are none. */
export function maskLayer(result, chosen = -1) {
  const masked = shownOf(result, chosen).filter((found) => found.mask);
  if (masked.length === 0) {
    return null;
  }
  const [height, width] = result.image_size;
  const layer = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  const inside = new Uint8Array(width * height);
  for (const found of masked.toReversed()) {
    paint(words, inside, found.mask, classColor(found.class_id));
  }
  layer.getContext("2d").putImageData(pixels, 0, 0);
  return layer;
}

/** Paint COCO's run lengths: counts of 0s, 1s, 0s... down the columns. `inside` is room to work in. */
function paint(words, inside, { size: [height, width], counts }, color) {
  const [body, edge] = [pack(color, OPACITY), pack(color, RIM_OPACITY)];
  const rim = Math.max(1, Math.round(Math.max(height, width) / PER_RIM));
  const runs = runsOf(counts);
  inside.fill(0);
  runs.forEach(([start, end]) => inside.fill(1, start, end));
  for (const [start, end] of runs) {
    for (let place = start; place < end; place += 1) {
      const row = place % height;
      // Beside the first and the last column lies nothing, which is outside too.
      const deep = row >= rim && row + rim < height && inside[place - rim] && inside[place + rim]
        && inside[place - rim * height] && inside[place + rim * height];
      words[row * width + (place - row) / height] = deep ? body : edge;
    }
  }
}

/** Start and end of each run of 1s. */
function runsOf(counts) {
  let place = 0;
  const bounds = counts.map((count) => [place, (place += count)]);
  return bounds.filter((_, index) => index % 2);
}

function pack([red, green, blue], opacity) {
  return new Uint32Array(new Uint8Array([red, green, blue, 255 * opacity]).buffer)[0];
}

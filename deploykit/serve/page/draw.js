// A picture with what was found in it, on a canvas at the resolution of the screen.

const GOLDEN_RATIO = 0.618033988749895;
const OPACITY = 0.45;
// The 17 keypoints of COCO, joined as a body.
const LIMBS = [
  [15, 13], [13, 11], [16, 14], [14, 12], [11, 12], [5, 11], [6, 12], [5, 6], [5, 7], [6, 8],
  [7, 9], [8, 10], [1, 2], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6],
];

/** RGB of a class: the colours that `Result.plot` draws with. */
export function classColor(id) {
  const hue = (id * GOLDEN_RATIO + 0.02) % 1;
  const value = [1, 0.8, 0.6][Math.floor(id / 16) % 3];
  const channel = (n) => {
    const k = (n + hue * 6) % 6;
    return Math.round(255 * (value - value * 0.85 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** All masks of a result, or the chosen one, in a layer of the picture's size; null where there are none. */
export function maskLayer(result, chosen = -1) {
  const masked = shownOf(result, chosen).filter((found) => found.mask);
  if (masked.length === 0) {
    return null;
  }
  const [height, width] = result.image_size;
  const layer = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  for (const found of masked.toReversed()) {
    paintRuns(words, found.mask, classColor(found.class_id));
  }
  layer.getContext("2d").putImageData(pixels, 0, 0);
  return layer;
}

/** Paint COCO's run lengths: counts of 0s, 1s, 0s... down the columns. */
function paintRuns(words, { size: [height, width], counts }, [red, green, blue]) {
  const word = new Uint32Array(new Uint8Array([red, green, blue, 255 * OPACITY]).buffer)[0];
  let place = 0;
  counts.forEach((count, index) => {
    const end = place + count;
    for (; index % 2 && place < end; place += 1) {
      words[(place % height) * width + Math.floor(place / height)] = word;
    }
    place = end;
  });
}

/** Draw the picture as large as `room` allows, and over it what was found; `chosen` alone if it is not -1. */
export function drawPicture(canvas, { picture, result, masks, chosen = -1 }, room) {
  const scale = Math.min(room.width / picture.width, room.height / picture.height, 4);
  const density = window.devicePixelRatio || 1;
  const [width, height] = [picture.width * scale, picture.height * scale];
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (masks) {
    pen.drawImage(masks, 0, 0, canvas.width, canvas.height);
  }
  pen.scale(density, density);
  drawFound(pen, result, chosen, { width, height });
}

function shownOf(result, chosen) {
  return (result?.detections ?? []).filter((_, index) => chosen < 0 || chosen === index);
}

function drawFound(pen, result, chosen, area) {
  const shown = shownOf(result, chosen).toReversed();
  if (shown.length === 0) {
    return;
  }
  const [rows, columns] = result.image_size;
  const place = ([x, y]) => [(x * area.width) / columns, (y * area.height) / rows];
  pen.lineJoin = "round";
  for (const found of shown) {
    drawShape(pen, found, place);
  }
  for (const found of shown) {
    drawLabel(pen, found, place, area);
  }
}

function drawShape(pen, found, place) {
  const color = css(classColor(found.class_id));
  outline(pen, corners(found).map(place), color);
  if (found.keypoints) {
    drawKeypoints(pen, found.keypoints, place, color);
  }
}

function corners({ box: [left, top, right, bottom], corners: rotated }) {
  return rotated ?? [[left, top], [right, top], [right, bottom], [left, bottom]];
}

/** A line of the colour with a dark rim, so that it is seen on any background. */
function outline(pen, points, color) {
  pen.beginPath();
  points.forEach(([x, y]) => pen.lineTo(x, y));
  pen.closePath();
  pen.lineWidth = 4;
  pen.strokeStyle = "rgb(0 0 0 / 35%)";
  pen.stroke();
  pen.lineWidth = 2;
  pen.strokeStyle = color;
  pen.stroke();
}

function drawKeypoints(pen, keypoints, place, color) {
  const visible = keypoints.map((point) => point.length < 3 || point[2] >= 0.5);
  pen.strokeStyle = color;
  pen.lineWidth = 2;
  for (const [from, to] of keypoints.length === 17 ? LIMBS : []) {
    if (visible[from] && visible[to]) {
      pen.beginPath();
      pen.moveTo(...place(keypoints[from]));
      pen.lineTo(...place(keypoints[to]));
      pen.stroke();
    }
  }
  pen.fillStyle = color;
  pen.strokeStyle = "black";
  pen.lineWidth = 1;
  keypoints.filter((_, index) => visible[index]).forEach((point) => {
    pen.beginPath();
    pen.arc(...place(point), 3.5, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  });
}

function drawLabel(pen, found, place, area) {
  const color = classColor(found.class_id);
  const points = corners(found).map(place);
  const [left, top] = points.reduce((best, point) => (point[1] < best[1] ? point : best));
  const text = `${found.name} ${found.score.toFixed(2)}`;
  const size = area.width < 480 ? 9 : 12;
  const height = size + 5;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  const width = pen.measureText(text).width + 8;
  const x = Math.max(0, Math.min(left - 1, area.width - width));
  const y = top >= height ? top - height : Math.max(0, top);
  pen.fillStyle = css(color);
  pen.fillRect(x, y, width, height);
  pen.fillStyle = isBright(color) ? "black" : "white";
  pen.fillText(text, x + 4, y + height / 2 + 0.5);
}

function isBright([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

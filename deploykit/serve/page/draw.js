// A picture with what was found in it, on a canvas at the resolution of the screen.

import { drawKeypoints } from "./skeleton.js";

const GOLDEN_RATIO = 0.618033988749895;

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

/** The detections that are drawn. */
export function shownOf(result, chosen) {
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
  drawLabels(pen, shown.toReversed(), place, area);
}

function drawShape(pen, found, place) {
  const color = css(classColor(found.class_id));
  const points = corners(found).map(place);
  outline(pen, points, color);
  if (found.keypoints) {
    drawKeypoints(pen, found.keypoints, place, color, points[2][1] - points[0][1]);
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

/** Labels of `shown`, the best first: what comes later gives way, and lies below where there is no room. */
function drawLabels(pen, shown, place, area) {
  const size = area.width < 480 ? 11 : 12;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  const labels = [];
  for (const found of shown) {
    const text = `${found.name} ${found.score.toFixed(2)}`;
    const label = { width: pen.measureText(text).width + 8, height: size + 5 };
    const spots = spotsOf(corners(found).map(place), label, area);
    const spot = spots.find((one) => !labels.some((other) => overlap(one, other.spot))) ?? spots[0];
    labels.push({ text, spot, color: classColor(found.class_id) });
  }
  labels.reverse().forEach((one) => drawLabel(pen, one));
}

/** Where a label may lie, inside of the picture: on the topmost corner, under it, under the lowest. */
function spotsOf(points, { width, height }, area) {
  const [left, top] = points.reduce((best, point) => (point[1] < best[1] ? point : best));
  const [lowLeft, low] = points.reduce((best, point) => (point[1] > best[1] ? point : best));
  const inside = (value, most) => Math.max(0, Math.min(value, most));
  const spot = (x, y) => ({ x: inside(x - 1, area.width - width), y: inside(y, area.height - height), width, height });
  const above = top >= height ? [spot(left, top - height)] : [];
  return [...above, spot(left, top), spot(Math.min(left, lowLeft), low)];
}

function overlap(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width
    && one.y < other.y + other.height && other.y < one.y + one.height;
}

function drawLabel(pen, { text, spot: { x, y, width, height }, color }) {
  pen.fillStyle = css(color);
  pen.fillRect(x, y, width, height);
  pen.fillStyle = isBright(color) ? "black" : "white";
  pen.fillText(text, x + 4, y + height / 2 + 0.5);
}

/** Whether black is read better on it than white (WCAG's relative luminance). */
function isBright(color) {
  const [red, green, blue] = color.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179;
}

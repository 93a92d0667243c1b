// Keypoints of a pose.

/** The 17 keypoints of COCO, joined as a body. */
const LIMBS = [
  [15, 13], [13, 11], [16, 14], [14, 12], [11, 12], [5, 11], [6, 12], [5, 6], [5, 7], [6, 8],
  [7, 9], [8, 10], [1, 2], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6],
];
/** Of what joins both sides, of the person's left, of its right: unlike the box, whose edges lie close. */
const COLORS = ["rgb(255 255 255)", "rgb(64 200 255)", "rgb(255 190 40)"];
const VISIBLE = 0.5;

/** Draw the visible keypoints; they are joined where they are COCO's. `color` is that of other sets. */
export function drawKeypoints(pen, keypoints, place, color, tall) {
  const visible = keypoints.map((point) => point.length < 3 || point[2] >= VISIBLE);
  const isBody = keypoints.length === 17;
  const limbs = isBody ? LIMBS.filter(([from, to]) => visible[from] && visible[to]) : [];
  pen.lineCap = "round";
  for (const [from, to] of limbs) {
    drawLimb(pen, place(keypoints[from]), place(keypoints[to]), COLORS[side(from) === side(to) ? side(from) : 0]);
  }
  // Dots on a far person must not hide its face.
  const radius = Math.max(1.5, Math.min(tall / 60, 3.5));
  keypoints.forEach((point, index) => {
    if (visible[index]) {
      drawDot(pen, place(point), radius, isBody ? COLORS[side(index)] : color);
    }
  });
}

/** 0: the nose, 1: left, 2: right; COCO counts them in turn. */
function side(index) {
  return index === 0 ? 0 : 2 - (index % 2);
}

function drawLimb(pen, from, to, color) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.lineWidth = 4;
  pen.strokeStyle = "rgb(0 0 0 / 45%)";
  pen.stroke();
  pen.lineWidth = 2;
  pen.strokeStyle = color;
  pen.stroke();
}

function drawDot(pen, [x, y], radius, color) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = color;
  pen.fill();
  pen.lineWidth = 1;
  pen.strokeStyle = "black";
  pen.stroke();
}

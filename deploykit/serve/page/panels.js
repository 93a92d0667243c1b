// What stands beside the picture. Texts of the server are never read as HTML.

import { classColor, css } from "./draw.js";
import { readable } from "./chart.js";

const STAGES = ["decode", "preprocess", "queue", "infer", "postprocess"];
const MOST_ENTRIES = 200;

/** An element with properties and children; strings become text. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** The list of what was found; `onChoose(index)` is called with the detection to show alone, or with -1 for all. */
export function showFound(list, result, onChoose) {
  const entries = (result.detections ?? []).slice(0, MOST_ENTRIES).map((found, index) => {
    const button = element("button", { className: "entry" }, ...line(found));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => onChoose(press(list, button) ? index : -1));
    return element("li", {}, button);
  });
  const classes = (result.top ?? []).map((entry) =>
    element("li", {}, element("div", { className: "entry" }, ...line(entry), bar(entry))));
  const maps = (result.maps ?? []).map((map) => element("li", { className: "map" },
    element("span", {}, map.name), element("span", { className: "score" }, map.shape.join(" × ")),
    element("span", { className: "score" }, `mean ${compact(map.mean)}, deviation ${compact(map.std)}`)));
  list.replaceChildren(...entries, ...classes, ...maps);
}

/** Three digits that count, however small the number. */
function compact(value) {
  const size = Math.abs(value);
  return size > 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : value.toPrecision(3);
}

/** Toggle a button of a list in which at most one is pressed; whether it is now. */
function press(list, button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  for (const other of list.querySelectorAll("[aria-pressed]")) {
    other.setAttribute("aria-pressed", String(other === button && pressed));
  }
  return pressed;
}

function line({ class_id: id, name, score }) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.background = css(classColor(id));
  return [swatch, element("span", {}, name), element("span", { className: "score" }, score.toFixed(3))];
}

function bar({ class_id: id, score }) {
  const filled = element("span");
  filled.style.width = `${100 * Math.min(Math.max(score, 0), 1)}%`;
  filled.style.background = css(classColor(id));
  return element("div", { className: "bar" }, filled);
}

/** One sentence on a result. */
export function summary(result) {
  if (result.task === "classify") {
    const [best] = result.top;
    return best ? `${best.name}, ${(100 * best.score).toFixed(1)} %` : "No class.";
  }
  if (result.task === "features") {
    return `${result.maps.length} feature maps`;
  }
  const counts = new Map();
  for (const { name } of result.detections) {
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const parts = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([name, count]) => `${count} × ${name}`);
  const more = counts.size > 6 ? ` and ${counts.size - 6} further classes` : "";
  return parts.length ? parts.join(", ") + more : "Nothing above the threshold.";
}

/** A stacked bar and its numbers: the stages, what is between them, and the round trip as the page saw it. */
export function showTimes(stack, list, timing, roundTrip) {
  const stages = STAGES.map((name) => [name, timing[name] ?? 0]);
  const rest = Math.max(timing.total - stages.reduce((sum, [, time]) => sum + time, 0), 0);
  const parts = [...stages, ["other", rest]];
  stack.replaceChildren(...parts.map(([name, time]) => {
    const part = element("span", { className: name, title: `${name} ${readable(time)} ms` });
    part.style.flexGrow = time;
    return part;
  }));
  list.replaceChildren(
    ...parts.flatMap(([name, time]) => timeRow(name, time, element("span", { className: `swatch ${name}` }))),
    ...timeRow("total", timing.total, "", "total"),
    ...timeRow("with the way to the server", roundTrip, ""),
  );
}

function timeRow(name, time, swatch, className = "") {
  return [element("dt", { className }, swatch, name), element("dd", { className }, `${readable(time)} ms`)];
}

/** The model's card. */
export function showCard({ list, assumed, classes }, card) {
  const rows = Object.entries(facts(card)).filter(([, value]) => value);
  list.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  assumed.hidden = card.assumed.length === 0;
  assumed.textContent = `Assumed, because the file does not say: ${card.assumed.join(" ")}`;
  classes.hidden = card.classes.length === 0;
  classes.open = false;
  classes.querySelector("summary").textContent = `${card.classes.length} ${card.classes.length === 1 ? "class" : "classes"}`;
  classes.querySelector("ul").replaceChildren(...card.classes.map((name) => element("li", {}, name)));
}

function facts(card) {
  const { input, placement } = card;
  return {
    file: `${card.file}, version ${card.version}`,
    task: card.task,
    model: [card.family, card.variant, card.origin && `(${card.origin})`].filter(Boolean).join(" "),
    input: `${input.name}: ${input.dtype} ${input.layout} [${input.shape.map((n) => (n < 0 ? "any" : n)).join(", ")}]`,
    size: `${input.width} × ${input.height} pixels`,
    dynamic: Object.entries(input.dynamic).map(([axis, range]) => `${axis} ${range}`).join(", ") || "nothing, all axes are fixed",
    "in the graph": inGraph(card),
    parity: parity(card.parity),
    "runs on": `${placement.engine} ${placement.version} ${placement.device}, ${placement.precision}`,
    "self-test": selftest(card.selftest),
    nodes: Object.entries(placement.providers).map(([name, count]) => `${name}: ${count}`).join(", "),
    serving: `${card.instances} ${card.instances === 1 ? "instance" : "instances"}, ${batches(card)}`,
  };
}

function selftest(tested) {
  if (!tested) return "";
  const ran = tested.cases.filter(({ outputs }) => outputs.length).length;
  return `passed, ${ran} golden cases at ${tested.precision}, ${tested.seconds.toFixed(2)} s`;
}

function inGraph({ preprocess_in_graph: before, postprocess_in_graph: after }) {
  return [before && "preprocessing", after && "postprocessing"].filter(Boolean).join(" and ") || "the network only";
}

function batches({ shared_batch: shared, max_batch: most }) {
  if (shared > 1) return `batches of up to ${shared}`;
  return most > 1 ? `one request at a time each, of up to ${most} images` : "one request at a time each";
}

function parity(record) {
  if (record === null) {
    return "not recorded in the file";
  }
  const relative = `${record.max_rel.toExponential(1)} relative`;
  const allowed = `allowed ${record.tolerance.toExponential(0)}`;
  return `largest difference ${relative} (${allowed}) to ${record.reference}, proven on ${record.engine}`;
}

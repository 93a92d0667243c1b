// The page: a picture goes to the server, and what comes back is shown.

import { ServerError, curlLine, hasKey, listModels, predict, readCard, rememberKey } from "./api.js";
import { Camera } from "./camera.js";
import { LatencyChart } from "./chart.js";
import { drawPicture } from "./draw.js";
import { maskLayer } from "./masks.js";
import { element, showCard, showFound, showTimes, summary } from "./panels.js";

const $ = (id) => document.getElementById(id);
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

const camera = new Camera($("video"));
const chart = new LatencyChart($("chart"), $("latency"));

// `sent` is the picture as it goes to the server; `shown` what the canvas holds; `options` the moved sliders.
const state = { card: null, sent: null, shown: null, options: {}, abort: new AbortController() };

// Models

async function start() {
  const models = await listModels();
  $("key-form").hidden = true;
  $("model").replaceChildren(...models.map(({ name, state: condition, reason }) => {
    const ready = condition === "READY";
    const text = ready ? name : `${name} (${condition.toLowerCase()})`;
    return element("option", { value: name, disabled: !ready, title: reason }, text);
  }));
  const ready = models.find((model) => model.state === "READY");
  if (!ready) {
    showError(new ServerError("No model is ready yet.", 503));
    await pause(1);
    await attempt(start);
    return;
  }
  $("model").value = ready.name;
  await chooseModel();
}

async function chooseModel() {
  state.abort.abort();
  state.options = {};
  chart.clear();
  await loadCard();
  showSliders(state.card);
  showCurl();
  if (state.shown && !camera.isOn) {
    showUnanswered(state.shown.picture);
    await send(state.sent);
  }
}

async function loadCard() {
  const card = await readCard($("model").value);
  if (card.name !== $("model").value) {
    return;
  }
  state.card = card;
  document.title = `${state.card.name} · deploykit`;
  showCard({ list: $("card"), assumed: $("assumed"), classes: $("classes") }, state.card);
}

// Thresholds

function showSliders(card) {
  const rows = sliders(card).map(([name, text, range]) => slider(name, text, range));
  $("thresholds").hidden = rows.length === 0;
  $("thresholds").replaceChildren($("thresholds").querySelector("legend"), ...rows);
}

/** What the model lets one choose: name, label, and the attributes of its slider. */
function sliders(card) {
  const { task, defaults, num_classes: classes, uses_iou: overlaps } = card;
  const { postprocess_in_graph: finished, runtime_thresholds: free } = card;
  if (task === "features") {
    return [];
  }
  if (task === "classify") {
    const max = Math.min(classes || 20, 20);
    return [["top_k", "Classes shown", { min: 1, max, step: 1, value: Math.min(defaults.top_k, max) }]];
  }
  // Thresholds inside the graph have already dropped what lies below them.
  const fixed = finished && !free;
  const conf = ["conf", "Lowest score", { min: fixed ? defaults.conf : 0.01, max: 0.99, step: 0.01, value: defaults.conf }];
  const iou = ["iou", "Overlap (IoU) of one class", { min: 0.05, max: 0.95, step: 0.05, value: defaults.iou }];
  return fixed || !overlaps ? [conf] : [conf, iou];
}

function slider(name, text, range) {
  const digits = range.step < 1 ? 2 : 0;
  // The value comes last, as the browser clips it to the range that it has.
  const { value, ...limits } = range;
  const input = element("input", { type: "range", id: name, ...limits, value });
  const output = element("output", {}, Number(value).toFixed(digits));
  output.htmlFor = name;
  input.addEventListener("input", () => {
    output.textContent = Number(input.value).toFixed(digits);
  });
  input.addEventListener("change", () => {
    state.options = { ...state.options, [name]: input.value };
    showCurl();
    resend();
  });
  return element("div", { className: "slider" }, element("label", { htmlFor: name }, text), output, input);
}

function showCurl() {
  $("curl").textContent = curlLine($("model").value, state.options);
}

async function copyCurl() {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    $("copied").textContent = "Copied.";
  } catch {
    // Without https there is no clipboard.
    getSelection().selectAllChildren($("curl"));
    $("copied").textContent = "Selected: copy it with Ctrl+C.";
  }
}

// Pictures

function resend() {
  if (state.shown && !camera.isOn) {
    attempt(() => send(state.sent));
  }
}

/** Send a picture and show the answer; whatever was under way is given up. */
async function send(file) {
  state.abort.abort();
  const abort = new AbortController();
  state.abort = abort;
  $("stage").classList.add("busy");
  try {
    const picture = await decode(file);
    abort.signal.throwIfAborted();
    // What was found stays until the answer, but for another picture's.
    if (!isLive() && file !== state.sent) {
      showUnanswered(picture);
    }
    state.sent = file;
    const started = performance.now();
    const answer = await predict($("model").value, file, state.options, abort.signal);
    if (!abort.signal.aborted) {
      showAnswer(picture, answer, performance.now() - started);
    }
  } finally {
    if (state.abort === abort) {
      $("stage").classList.remove("busy");
    }
  }
}

async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch (error) {
    throw new Error(`The browser cannot read ${file.name || "this"} as a picture.`, { cause: error });
  }
}

/** The picture alone: what was found in another, or by another model, must not be taken for its own. */
function showUnanswered(picture) {
  show({ picture, result: null, masks: null });
  $("found").replaceChildren();
  $("summary").textContent = "Nothing yet.";
  $("canvas").setAttribute("aria-label", "Picture without an answer");
}

function showAnswer(picture, answer, roundTrip) {
  const [result] = answer.results;
  show({ picture, result, masks: maskLayer(result) });
  showFound($("found"), result, (chosen) => {
    state.shown = { ...state.shown, chosen, masks: maskLayer(result, chosen) };
    redraw();
    if (chosen >= 0) {
      $("stage").scrollIntoView({ block: "nearest" });
    }
  });
  // Announced once, not with each frame.
  $("summary").setAttribute("aria-live", isLive() ? "off" : "polite");
  $("summary").textContent = summary(result);
  $("canvas").setAttribute("aria-label", `Picture: ${summary(result)}`);
  showTimes($("time-bar"), $("times"), answer.timing_ms, roundTrip);
  chart.add(answer.timing_ms.total);
  if (answer.model_version !== state.card.version) {
    attempt(loadCard);
  }
}

function show(shown) {
  state.shown = shown;
  $("stage").classList.remove("empty");
  $("invitation").hidden = true;
  $("video").hidden = true;
  $("canvas").hidden = false;
  redraw();
}

function redraw() {
  if (state.shown && !$("canvas").hidden) {
    const room = { width: $("stage").clientWidth, height: Math.max(window.innerHeight * 0.7, 240) };
    drawPicture($("canvas"), state.shown, room);
  }
}

// Camera

const isLive = () => $("live").getAttribute("aria-pressed") === "true";

async function toggleCamera() {
  if (camera.isOn) {
    closeCamera();
    return;
  }
  await camera.start();
  $("camera").textContent = "Stop the camera";
  $("shoot").hidden = $("live").hidden = false;
  showViewfinder();
}

function showViewfinder() {
  $("stage").classList.remove("empty");
  $("invitation").hidden = $("canvas").hidden = true;
  $("video").hidden = false;
}

function closeCamera() {
  camera.stop();
  $("live").setAttribute("aria-pressed", "false");
  $("camera").textContent = "Camera";
  $("shoot").hidden = $("live").hidden = $("video").hidden = true;
  $("canvas").hidden = state.shown === null;
  $("invitation").hidden = state.shown !== null;
  $("stage").classList.toggle("empty", state.shown === null);
}

async function shoot() {
  const frame = await camera.frame();
  closeCamera();
  await send(frame);
}

/** Send a frame as soon as the last one is answered, until told to stop. */
async function toggleLive() {
  const on = !isLive();
  $("live").setAttribute("aria-pressed", String(on));
  if (!on) {
    state.abort.abort();
    showViewfinder();
    return;
  }
  while (isLive() && camera.isOn) {
    await sendFrame();
  }
}

async function sendFrame() {
  try {
    await send(await camera.frame());
    hideError();
  } catch (error) {
    if (error.status === 503) {
      showError(error);
      await pause(error.retryAfter || 1);
    } else if (error.name !== "AbortError") {
      $("live").setAttribute("aria-pressed", "false");
      throw error;
    }
  }
}

// Errors

/** Do something; its error is shown, and a missing key is asked for. */
async function attempt(work) {
  hideError();
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") {
      showError(error);
    }
  }
}

function showError(error) {
  if (error.status === 401) {
    $("key-form").hidden = false;
    $("key").focus();
  }
  if (error.status !== 401 || hasKey()) {
    $("error").textContent = error.status === 401 ? "The server does not accept this key." : error.message;
    $("error").hidden = false;
  }
}

function hideError() {
  $("error").hidden = true;
}

// Events

function takeFile(files) {
  const file = [...files].find((entry) => entry.type.startsWith("image/")) ?? files[0];
  if (file) {
    if (camera.isOn) {
      closeCamera();
    }
    attempt(() => send(file));
  }
}

function listen() {
  const clicks = { camera: toggleCamera, shoot, live: toggleLive, copy: copyCurl };
  for (const [id, work] of Object.entries(clicks)) {
    $(id).addEventListener("click", () => attempt(work));
  }
  $("choose").addEventListener("click", () => $("file").click());
  $("stage").addEventListener("click", () => $("stage").classList.contains("empty") && $("file").click());
  $("file").addEventListener("change", ({ target }) => {
    takeFile(target.files);
    target.value = "";
  });
  $("model").addEventListener("change", () => attempt(chooseModel));
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    rememberKey($("key").value);
    $("key").value = "";
    attempt(start);
  });
  addEventListener("paste", (event) => takeFile(event.clipboardData.files));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("stage").classList.add("over");
  });
  addEventListener("dragleave", () => $("stage").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("stage").classList.remove("over");
    takeFile(event.dataTransfer.files);
  });
  new ResizeObserver(redraw).observe($("stage"));
}

listen();
attempt(start);

// Latency of the last answers, as bars, with their median and 95th percentile.

const KEPT = 120;

export class LatencyChart {
  #canvas;
  #caption;
  #times = [];

  constructor(canvas, caption) {
    this.#canvas = canvas;
    this.#caption = caption;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  add(milliseconds) {
    this.#times = [...this.#times, milliseconds].slice(-KEPT);
    this.draw();
  }

  clear() {
    this.#times = [];
    this.draw();
  }

  draw() {
    this.#canvas.hidden = this.#times.length === 0;
    const density = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#canvas.width = Math.round(width * density);
    this.#canvas.height = Math.round(height * density);
    const pen = this.#canvas.getContext("2d");
    pen.scale(density, density);
    if (this.#times.length === 0) {
      this.#caption.textContent = "No answers yet.";
      return;
    }
    const median = percentile(this.#times, 50);
    const tail = percentile(this.#times, 95);
    // One hiccup must not squeeze the rest.
    const top = Math.max(Math.min(Math.max(...this.#times), 3 * tail), 1e-6) * 1.15;
    this.#drawBars(pen, { width, height, top });
    drawMark(pen, { width, y: height * (1 - median / top), text: "p50" });
    drawMark(pen, { width, y: height * (1 - tail / top), text: "p95", above: true });
    const count = `${this.#times.length} ${this.#times.length === 1 ? "answer" : "answers"}`;
    this.#caption.textContent = `p50 ${readable(median)} ms · p95 ${readable(tail)} ms · ${count}`;
  }

  #drawBars(pen, { width, height, top }) {
    const step = width / KEPT;
    pen.fillStyle = color("--accent");
    this.#times.forEach((time, index) => {
      const tall = Math.max((Math.min(time, top) / top) * height, 1);
      const x = width - (this.#times.length - index) * step;
      pen.fillRect(x, height - tall, Math.max(step - 1, 1), tall);
    });
    pen.fillStyle = color("--line");
    pen.fillRect(0, height - 1, width, 1);
  }
}

/** Three digits that count. */
export function readable(milliseconds) {
  return milliseconds.toFixed(milliseconds < 1 ? 2 : milliseconds < 100 ? 1 : 0);
}

function drawMark(pen, { width, y, text, above = false }) {
  pen.strokeStyle = pen.fillStyle = color("--mark");
  pen.setLineDash([4, 3]);
  pen.beginPath();
  pen.moveTo(0, y);
  pen.lineTo(width, y);
  pen.stroke();
  pen.setLineDash([]);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = above ? "bottom" : "top";
  pen.fillText(text, 2, above ? y - 2 : y + 2);
}

function percentile(values, percent) {
  const sorted = values.toSorted((a, b) => a - b);
  const place = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

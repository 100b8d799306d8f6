// Pictures: charts of the last minutes in SVG, and fields of boxes on a canvas.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 170;
const SLOTS_MIN = 61;
const EDGE = { left: 48, right: 6, top: 8, bottom: 20 };

/** Makes an element with attributes. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A chart of named series over time. `stacked` shows shares of their sum, `log` spreads small values. */
export class Chart {
  constructor(host, { title, series, format, tick = format, stacked = false, log = false, top = 1, empty }) {
    Object.assign(this, { title, series, format, tick, stacked, log, top, empty });
    this.rows = [];
    this.hovered = null;
    this.svg = shape("svg", { role: "img", "aria-label": title });
    this.values = series.map(() => element("b"));
    this.when = element("li", { class: "when" }, "now");
    const items = series.map((one, at) =>
      element("li", {}, element("span", { class: `swatch ${one.class}` }), one.name, this.values[at]));
    this.table = element("table");
    this.details = element("details", {}, element("summary", {}, "As a table"),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, last seconds` }, this.table));
    host.replaceChildren(this.svg, element("ul", { class: "legend" }, ...items, this.when), this.details);
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerleave", () => { this.hovered = null; this.draw(); });
    this.details.addEventListener("toggle", () => this.draw());
  }

  /** Takes the samples: for each an array of the values of the series. `slots` is how many fit the width. */
  show(rows, slots, everySeconds) {
    // A service that runs for a short time fills the width all the same, from a minute on.
    Object.assign(this, { rows, slots: Math.min(slots, Math.max(SLOTS_MIN, rows.length)), everySeconds });
    this.draw();
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect();
    const inside = (event.clientX - box.left - EDGE.left) / Math.max(1, box.width - EDGE.left - EDGE.right);
    const ago = Math.round((1 - inside) * (this.slots - 1));
    this.hovered = ago >= 0 && ago < this.rows.length ? ago : null;
    this.draw();
  }

  draw() {
    const width = Math.max(120, this.svg.clientWidth || 300);
    const plot = { x: EDGE.left, y: EDGE.top, width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    const shown = this.stacked ? this.rows.map(shares) : this.rows;
    const most = this.stacked ? 1 : niceTop(Math.max(this.top, ...shown.flat()), this.log);
    const least = this.log ? 1 : 0;
    const scale = (value) => {
      const part = this.log ? Math.log(Math.max(value, least)) / Math.log(most) : value / most;
      return plot.y + plot.height * (1 - Math.min(1, part));
    };
    const x = (at) => plot.x + plot.width * (1 - (this.rows.length - 1 - at) / Math.max(1, this.slots - 1));
    const parts = [];
    for (const tick of ticks(most, this.log)) {
      const y = scale(tick);
      parts.push(shape("line", { class: "rule", x1: plot.x, x2: plot.x + plot.width, y1: y, y2: y }));
      parts.push(shape("text", { class: "axis", x: plot.x - 6, y: y + 4, "text-anchor": "end" }, this.tick(tick)));
    }
    const span = Math.round((this.slots - 1) * this.everySeconds / 60);
    parts.push(shape("text", { class: "axis", x: plot.x, y: HEIGHT - 5 }, span > 1 ? `${span} min ago` : "1 min ago"));
    parts.push(shape("text", { class: "axis", x: plot.x + plot.width, y: HEIGHT - 5, "text-anchor": "end" }, "now"));
    if (this.stacked) {
      const below = shown.map(() => 0);
      this.series.forEach((one, column) => {
        const lower = below.map((sum, at) => `${x(at).toFixed(1)},${scale(sum).toFixed(1)}`);
        shown.forEach((row, at) => { below[at] += row[column]; });
        const upper = below.map((sum, at) => `${x(at).toFixed(1)},${scale(sum).toFixed(1)}`);
        parts.push(shape("polygon", { class: `area ${one.class}`, points: [...upper, ...lower.reverse()].join(" ") }));
      });
    } else {
      this.series.forEach((one, column) => {
        // A second without a measurement is a gap in the line.
        let path = "", pen = "M";
        shown.forEach((row, at) => {
          if (this.log && !row[column]) { pen = "M"; return; }
          path += `${pen}${x(at).toFixed(1)} ${scale(row[column]).toFixed(1)}`;
          pen = "L";
        });
        if (path) parts.push(shape("path", { class: `line ${one.class}`, d: path }));
      });
    }
    if (this.hovered !== null) {
      const at = x(this.rows.length - 1 - this.hovered);
      parts.push(shape("line", { class: "cursor", x1: at, x2: at, y1: plot.y, y2: plot.y + plot.height }));
    }
    if (this.rows.length === 0 || (this.empty && !this.rows.flat().some((value) => value > 0))) {
      parts.push(shape("text", { class: "axis", x: plot.x + plot.width / 2, y: plot.y + plot.height / 2, "text-anchor": "middle" }, this.empty ?? "no samples yet"));
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...parts);
    this.label(shown);
  }

  label(shown) {
    const row = shown.at(-1 - (this.hovered ?? 0));
    const text = (value) => this.stacked ? `${(value * 100).toFixed(1)} %` : this.log && !value ? "–" : this.format(value);
    const values = this.series.map((one, at) => row ? text(row[at]) : "–");
    values.forEach((value, at) => { this.values[at].textContent = value; });
    this.when.textContent = this.hovered ? `${Math.round(this.hovered * this.everySeconds)} s ago` : "now";
    const said = this.series.map((one, at) => `${one.name} ${values[at]}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title} now: ${said}`);
    if (this.details.open) {
      const rows = shown.slice(-15).reverse();
      fillTable(this.table, ["seconds ago", ...this.series.map((one) => one.name)],
        rows.map((values, at) => [at * this.everySeconds, ...values.map(text)]));
    }
  }
}

function shares(row) {
  const sum = row.reduce((sum, value) => sum + value, 0);
  return row.map((value) => sum ? value / sum : 0);
}

/** The end of an axis: 1, 2 or 5 times a power of ten; of a logarithmic one a power of ten. */
function niceTop(value, log) {
  const power = 10 ** Math.floor(Math.log10(value));
  if (log) return Math.max(10, power >= value ? power : power * 10);
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value);
}

function ticks(most, log) {
  if (!log) return [0, most / 2, most];
  const found = [];
  for (let tick = 1; tick <= most; tick *= 10) found.push(tick);
  return found.length > 5 ? found.filter((_, at) => at % 2 === 0) : found;
}

/** Fills a table with a heading and rows. */
export function fillTable(table, heading, rows) {
  const line = (cells, tag) => element("tr", {}, ...cells.map((cell) => element(tag, tag === "th" ? { scope: "col" } : {}, String(cell))));
  table.replaceChildren(element("thead", {}, line(heading, "th")), element("tbody", {}, ...rows.map((row) => line(row, "td"))));
}

/** Draws boxes in rows; `paint` fills one. They shrink until they fit the height. */
export function boxes(canvas, items, paint) {
  const width = canvas.clientWidth || 300;
  let size = 20, gap = 3, columns = 1, rows = 1;
  for (; size >= 3; size--) {
    gap = size > 8 ? 3 : 1;
    columns = Math.max(1, Math.floor((width + gap) / (size + gap)));
    rows = Math.max(1, Math.ceil(items.length / columns));
    if (rows * (size + gap) <= 240) break;
  }
  const height = rows * (size + gap) - gap;
  const dense = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  items.forEach((item, at) => {
    paint(pen, item, (at % columns) * (size + gap), Math.floor(at / columns) * (size + gap), size);
  });
}

/** The colours of the style sheet, as they are in light or dark. */
export function colours(...names) {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** A colour between two of the form #rrggbb. */
export function between(from, to, part) {
  const channel = (colour, at) => parseInt(colour.slice(1 + 2 * at, 3 + 2 * at), 16);
  const mixed = [0, 1, 2].map((at) => Math.round(channel(from, at) + (channel(to, at) - channel(from, at)) * part));
  return `rgb(${mixed.join(" ")})`;
}

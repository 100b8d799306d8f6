// Asks the service once a second, and shows what it says.

import { Chart, between, boxes, colours, element, fillTable } from "./draw.js";

const EVERY_MS = 1000;
const REPORTS_MAX = 8;
const get = (id) => document.getElementById(id);

let token = "";
let last = 0;
let samples = [];
let columns = [];
let slots = 300;
let everySeconds = 1;
let stats = null;

const count = (value) => value >= 1e6 ? `${trim(value / 1e6)} M` : value >= 1e3 ? `${trim(value / 1e3)} k` : String(Math.round(value * 10) / 10);
const trim = (value) => value >= 100 ? value.toFixed(0) : value.toFixed(1);
const bytes = (value) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at++) value /= 1024;
  return `${at ? trim(value) : value} ${units[at]}`;
};
const time = (us) => us >= 1e6 ? `${trim(us / 1e6)} s` : us >= 1e3 ? `${trim(us / 1e3)} ms` : `${us} µs`;
const whole = (part) => `${Math.round(part * 100)} %`;
const power = (us) => us >= 1e6 ? `${us / 1e6} s` : us >= 1e3 ? `${us / 1e3} ms` : `${us} µs`;
const percent = (part) => `${(part * 100).toFixed(1)}\u00a0%`;
const duration = (s) => s >= 86400 ? `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h` : s >= 3600 ? `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min` : s >= 60 ? `${Math.floor(s / 60)} min` : `${s} s`;

const chart = (name, options) => new Chart(document.querySelector(`[data-chart=${name}]`), options);
const charts = {
  hits: chart("hits", {
    title: "Hit rate by tier", stacked: true, format: percent, tick: whole, empty: "no reads yet",
    series: ["hot", "warm", "cold", "missed"].map((name) => ({ name, class: name })),
  }),
  operations: chart("operations", {
    title: "Operations per second", format: count, top: 10,
    series: [{ name: "gets", class: "one" }, { name: "sets", class: "two" }, { name: "removes", class: "three" }, { name: "others", class: "four" }],
  }),
  latency: chart("latency", {
    title: "Latency in the service", format: time, tick: power, log: true, top: 100, empty: "no requests yet",
    series: [{ name: "get median", class: "one" }, { name: "get 99 %", class: "one dashed" }, { name: "set median", class: "two" }, { name: "set 99 %", class: "two dashed" }],
  }),
  fragmentation: chart("fragmentation", {
    title: "Fragmentation", format: percent, tick: whole, top: 1,
    series: [{ name: "unused pool memory", class: "three" }, { name: "stale log bytes", class: "two" }],
  }),
};

async function ask(path, options = {}) {
  const used = token;
  const headers = used ? { Authorization: `Bearer ${used}` } : {};
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 401) {
    // An answer to a request without the token that was typed meanwhile says nothing of that one.
    if (used === token) askForToken();
    throw new DOMException("a token is asked for", "NotAllowedError");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
  return answer.json();
}

async function poll() {
  if (!document.hidden) {
    try {
      const [now, past] = await Promise.all([ask("stats"), ask(`history?since=${last}`)]);
      stats = now;
      take(past);
      show();
      say(`up ${duration(now.uptime_s)} · writes are ${now.durability} · ${now.connections.resp + now.connections.http} connections`);
    } catch (error) {
      if (error.name !== "NotAllowedError") say("No connection to the service: trying again.", true);
    }
  }
  setTimeout(poll, EVERY_MS);
}

function take(past) {
  columns = past.columns;
  slots = past.samples_max;
  everySeconds = past.every_ms / 1000;
  // A service that was restarted counts from one again.
  if (past.samples.length && past.samples[0][0] <= last) samples = [];
  samples = samples.concat(past.samples).slice(-slots);
  last = samples.length ? samples.at(-1)[0] : 0;
}

/** The last column of samples with these names. */
const pick = (...names) => {
  const at = names.map((name) => columns.indexOf(name));
  return samples.map((sample) => at.map((column) => sample[column]));
};

function show() {
  get("token-form").hidden = true;
  get("main").hidden = false;
  const perSecond = (rows) => rows.map((row) => row.map((value) => value / everySeconds));
  charts.hits.show(pick("hot", "warm", "cold", "missed"), slots, everySeconds);
  charts.operations.show(perSecond(pick("gets", "sets", "removes", "others")), slots, everySeconds);
  charts.latency.show(pick("get_p50_us", "get_p99_us", "set_p50_us", "set_p99_us"), slots, everySeconds);
  charts.fragmentation.show(pick("external_permille", "stale_permille").map((row) => row.map((value) => value / 1000)), slots, everySeconds);
  showTiles();
  showSegments();
  showPages();
  showTask();
  showExplanations();
}

function showTiles() {
  const { store } = stats;
  const [now] = pick("gets", "sets", "removes", "others", "get_p99_us", "set_p99_us").slice(-1);
  const hits = Object.entries(store.hits);
  const gets = hits.reduce((sum, [, value]) => sum + value, 0);
  const memory = store.hits.hot + store.hits.warm;
  const log = store.log;
  const tiles = [
    ["Operations", now ? `${count(now.slice(0, 4).reduce((sum, value) => sum + value, 0) / everySeconds)}/s` : "–", stats.writes_wait ? "writes wait for the log" : "writes do not wait"],
    ["Hit rate since start", gets ? percent(1 - store.hits.missed / gets) : "–", gets ? `${percent(memory / gets)} from memory` : "no reads yet"],
    ["Slow gets", now?.[4] ? time(now[4]) : "–", "99 % were faster"],
    ["Slow sets", now?.[5] ? time(now[5]) : "–", "99 % were faster"],
    ["Keys", count(stats.keys), `${bytes(log.index_bytes)} of index`],
    ["Log in use", percent(log.charge_bytes_max ? log.charged_bytes / log.charge_bytes_max : 0), `${bytes(log.live_bytes)} live, ${bytes(log.stale_bytes)} stale`],
    ["Memory", bytes(store.hot.bytes + store.pools.committed_bytes), `${bytes(store.hot.bytes)} hot, ${bytes(store.pools.committed_bytes)} warm`],
    ["Written per byte", (log.write_amplification_permille / 1000).toFixed(2), `${bytes(log.bytes_written)} written`],
  ];
  const list = get("tiles");
  if (list.children.length !== tiles.length) {
    list.replaceChildren(...tiles.map(([name]) => element("div", {}, element("dt", {}, name), element("dd", {}, element("span"), element("small")))));
  }
  tiles.forEach(([, value, note], at) => {
    list.children[at].querySelector("span").textContent = value;
    list.children[at].querySelector("small").textContent = note;
  });
}

function showSegments() {
  const rows = stats.store.segments.map(([partition, segment, state, live, stale, capacity, age, erases]) => ({ partition, segment, state, live, stale, capacity, age, erases }));
  const used = rows.filter((row) => row.state !== "free");
  const oldest = Math.max(1, ...used.map((row) => row.age));
  const { young, old, stale, empty, line, accent, bad } = colours("young", "old", "stale", "empty", "line", "accent", "bad");
  boxes(get("segments"), rows, (pen, row, x, y, size) => {
    pen.fillStyle = empty;
    pen.fillRect(x, y, size, size);
    if (row.state === "free") {
      pen.strokeStyle = line;
      pen.strokeRect(x + .5, y + .5, size - 1, size - 1);
      return;
    }
    const live = size * Math.min(1, row.live / row.capacity), dead = size * Math.min(1, row.stale / row.capacity);
    pen.fillStyle = stale;
    pen.fillRect(x, y + size - live - dead, size, dead);
    pen.fillStyle = between(young, old, row.age / oldest);
    pen.fillRect(x, y + size - live, size, live);
    const mark = row.state === "open" ? accent : row.state === "sealed" ? null : row.state.startsWith("quarantin") ? bad : line;
    if (mark) {
      pen.strokeStyle = mark;
      pen.lineWidth = 2;
      pen.strokeRect(x + 1, y + 1, size - 2, size - 2);
      pen.lineWidth = 1;
    }
  });
  const states = new Map();
  for (const row of rows) {
    const sum = states.get(row.state) ?? { count: 0, live: 0, stale: 0, erases: 0 };
    states.set(row.state, { count: sum.count + 1, live: sum.live + row.live, stale: sum.stale + row.stale, erases: sum.erases + row.erases });
  }
  const said = [...states].map(([state, sum]) => `${sum.count} ${state}`).join(", ");
  get("segments").setAttribute("aria-label", `${rows.length} segments: ${said}; ${bytes(stats.store.log.live_bytes)} live, ${bytes(stats.store.log.stale_bytes)} stale`);
  fillTable(get("segments-table"), ["state", "segments", "live", "stale", "erases"],
    [...states].map(([state, sum]) => [state, sum.count, bytes(sum.live), bytes(sum.stale), count(sum.erases)]));
}

function showPages() {
  const rows = stats.store.pages.map(([partition, slotBytes, used, all]) => ({ partition, slotBytes, used, all }))
    .sort((a, b) => a.slotBytes - b.slotBytes || a.used / a.all - b.used / b.all);
  get("pages-none").hidden = rows.length > 0;
  const shade = colours("page-low", "page-high", "empty", "line");
  boxes(get("pages"), rows, (pen, row, x, y, size) => {
    pen.fillStyle = row.slotBytes ? between(shade["page-low"], shade["page-high"], row.all ? row.used / row.all : 0) : shade.empty;
    pen.fillRect(x, y, size, size);
    if (!row.slotBytes) {
      pen.strokeStyle = shade.line;
      pen.strokeRect(x + .5, y + .5, size - 1, size - 1);
    }
  });
  const classes = new Map();
  for (const row of rows) {
    const sum = classes.get(row.slotBytes) ?? { pages: 0, used: 0, all: 0 };
    classes.set(row.slotBytes, { pages: sum.pages + 1, used: sum.used + row.used, all: sum.all + row.all });
  }
  const pools = stats.store.pools;
  get("pages").setAttribute("aria-label", rows.length ? `${rows.length} pages of ${bytes(pools.committed_bytes)} in all; ${percent(1 - pools.external_permille / 1000)} of it in use` : "The pools have no pages");
  fillTable(get("pages-table"), ["slot", "pages", "slots in use", "slots"],
    [...classes].map(([slot, sum]) => [slot ? bytes(slot) : "spare", sum.pages, count(sum.used), count(sum.all)]));
}

function showTask() {
  const { running } = stats.store;
  get("progress").value = running ? running.permille : 0;
  get("progress-label").textContent = running ? `${running.task}: ${percent(running.permille / 1000)}` : "No task is running";
}

let explained = "";
function showExplanations() {
  const lines = stats.store.explanations;
  const said = JSON.stringify(lines);
  if (lines.length === 0 || said === explained) return;
  explained = said;
  get("explanations").replaceChildren(...lines.map(({ at_s, text }) => {
    const when = element("span", { class: "when" }, new Date(at_s * 1000).toLocaleTimeString());
    return element("li", {}, when, text);
  }));
}

async function start(button) {
  const task = button.dataset.task;
  if (button.getAttribute("aria-disabled") === "true") return;
  // Disabled in name only, so that the keyboard's place is not lost.
  button.setAttribute("aria-disabled", "true");
  try {
    const done = await ask(`maintenance/${task}`, { method: "POST" });
    report(button.textContent, done.report);
  } catch (error) {
    if (error.name !== "NotAllowedError") report(button.textContent, `not done: ${error.message}`, true);
  }
  button.removeAttribute("aria-disabled");
}

function report(name, text, isBad = false) {
  const list = get("reports");
  list.querySelector(".note")?.remove();
  const when = new Date().toLocaleTimeString();
  list.prepend(element("li", isBad ? { class: "bad" } : {}, element("span", { class: "when" }, when), element("b", {}, name), text));
  while (list.children.length > REPORTS_MAX) list.lastElementChild.remove();
}

function say(text, isBad = false) {
  const status = get("status");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("bad", isBad);
  // Trouble is read aloud; the time that passes is not.
  if (isBad) status.setAttribute("role", "alert");
  else status.removeAttribute("role");
}

function askForToken() {
  const form = get("token-form");
  if (token) get("token-wrong").textContent = "The service did not take this token.";
  if (form.hidden) {
    form.hidden = false;
    get("main").hidden = true;
    get("token").focus();
  }
  token = "";
  say("Waiting for a token.");
}

get("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = get("token").value;
  get("token").value = "";
  get("token-wrong").textContent = "";
});
get("tasks").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) start(button);
});
let width = 0;
new ResizeObserver(() => {
  if (!stats || document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  show();
}).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (stats) show(); });
poll();

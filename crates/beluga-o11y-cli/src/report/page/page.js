"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const place = (id) => document.getElementById(id);

// ---- Text. Whatever comes from the data gets into the page as text nodes and attribute values, never as markup.

// What would act on the text around it, or not be seen at all: control and format characters, lone surrogates and
// separators. Left alone are line feed, tab, soft hyphen, and the joiners that emoji and Persian are written with.
const INVISIBLE = /((?:(?![\n\t\u00ad\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}])+)/u;
const escaped = (text) => Array.from(text, (one) => `\\u{${one.codePointAt(0).toString(16)}}`).join("");
const parts = (text) => String(text).replaceAll("\r\n", "\n").split(INVISIBLE);

/** The text with what is invisible written out, where there can be no elements. */
const plain = (text) => parts(text).map((part, i) => (i % 2 ? escaped(part) : part)).join("");

/** Puts text into an element, with what is invisible written out and marked. */
function put(element, text) {
  parts(text).forEach((part, i) => {
    if (i % 2) {
      const mark = document.createElement("span");
      mark.className = "escape";
      mark.textContent = escaped(part);
      element.append(mark);
    } else if (part) {
      element.append(part);
    }
  });
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, plain(value));
  }
  for (const child of children.flat()) {
    if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined) put(element, child);
  }
  return element;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function button(text, click, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", click);
  return made;
}

/** The beginning of a text that must fit into a line; a cell with 30,000 characters is slow, and nobody reads it. */
const brief = (text, most = 160) => (text.length > most ? `${text.slice(0, most).replace(HALF, "")}…` : text);
/** The first half of a character whose other half was cut. */
const HALF = /[\ud800-\udbff]$/;
const NONE = "(none)";
function shownName(value) {
  if (value === null || value === undefined || value === "") return NONE;
  // A name of blanks only would look like none.
  return String(value).trim() ? brief(String(value)) : JSON.stringify(brief(value));
}
const named = (value) => (value ? shownName(value) : el("span", { class: "none" }, NONE));

// ---- Numbers. Unknown is a dash, never 0.

const known = (value) => typeof value === "number" && Number.isFinite(value);
const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const formatted = (format) => (value) => (known(value) ? format(value) : "–");
const count = formatted((value) => whole.format(value));
const short = formatted((value) => (Math.abs(value) < 10000 ? whole.format(value) : compact.format(value)));

const money = formatted((value) => {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size === 0) return "$0";
  if (size < 1e-6) return `${sign}$${size.toExponential(1)}`;
  if (size < 0.001) return `${sign}$${size.toLocaleString("en", { maximumSignificantDigits: 2 })}`;
  const digits = size < 0.0995 ? 4 : 2;
  return `${sign}$${size.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
});

// A unit does not go to the next line without its number.
const duration = formatted((ms) => {
  if (ms < 9.995) return `${ms.toFixed(ms < 0.0005 ? 0 : 2)}\u00a0ms`;
  if (ms < 999.5) return `${ms.toFixed(0)}\u00a0ms`;
  if (ms < 9995) return `${(ms / 1000).toFixed(2)}\u00a0s`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)}\u00a0s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0min ${seconds % 60}\u00a0s`;
  return `${whole.format(Math.floor(seconds / 3600))}\u00a0h ${Math.floor((seconds % 3600) / 60)}\u00a0min`;
});

/** A share that is not rounded to none or to all. */
function percent(part, all) {
  if (!known(part) || !known(all) || all <= 0) return "–";
  const share = (100 * part) / all;
  if (part > 0 && share < 0.1) return "<0.1%";
  if (part < all && share > 99.9) return ">99.9%";
  return `${share.toFixed(share < 10 && share % 1 ? 1 : 0)}%`;
}

const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
/** Largest of numbers of which some are unknown; arguments of Math.max would be too many for the stack. */
const largest = (numbers) => numbers.reduce((most, one) => (known(one) && one > most ? one : most), 0);
const uncached = (row) => (known(row.input_tokens) ? Math.max(0, row.input_tokens - (row.cache_read_tokens ?? 0)) : null);
const quantile = (row, which, of = "duration_ms") => row[of]?.[which] ?? null;

// ---- Times, in the reader's zone.

const dates = (options) => new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...options });
const DAY = { day: "numeric", month: "short" };
const MINUTE = { hour: "2-digit", minute: "2-digit" };
const SECOND = { ...MINUTE, second: "2-digit" };
const fullTime = dates({ ...DAY, year: "numeric", ...SECOND });
const zone = dates({ timeZoneName: "longOffset" });

/** A time the browser cannot read, such as one of the year 30000, stays as it is written. */
function when(text) {
  if (!text) return "–";
  const time = Date.parse(text);
  return Number.isNaN(time) ? text : fullTime.format(time);
}

function zoneName() {
  const { timeZone } = zone.resolvedOptions();
  const at = Date.parse(data.last ?? data.generated) || Date.now();
  const offset = zone.formatToParts(at).find((part) => part.type === "timeZoneName")?.value;
  return offset && offset !== timeZone ? `${timeZone} (${offset})` : timeZone;
}

const SECONDS = 1000;
const HOURS = 3600 * SECONDS;
const DAYS = 24 * HOURS;
const STEPS = [
  ...[1, 5, 15, 30, 60, 300, 600, 900, 1800].map((seconds) => ({ size: seconds * SECONDS })),
  ...[1, 3, 6, 12].map((hours) => ({ size: hours * HOURS })),
  ...[1, 2, 3, 7, 14].map((days) => ({ size: days * DAYS, days })),
  ...[1, 3, 6].map((months) => ({ size: months * 30.4 * DAYS, months })),
  ...[1, 2, 5, 10, 20, 50, 100, 500, 1000, 5000, 20000, 100000].map((y) => ({ size: y * 365 * DAYS, months: 12 * y })),
];

/** Round local times between two times, at most so many, each with its label. */
function timeTicks(from, to, most) {
  const step = STEPS.find(({ size }) => (to - from) / size <= most) ?? STEPS.at(-1);
  const start = new Date(from);
  const [year, month, day] = [start.getFullYear(), start.getMonth(), start.getDate()];
  // Each tick is made from calendar fields, so that days of 23 and 25 hours move none.
  const at = (i) => {
    if (step.months) {
      const first = Math.floor((12 * year + month) / step.months) * step.months + i * step.months;
      const made = new Date(2000, first % 12, 1);
      made.setFullYear(Math.floor(first / 12));
      return made;
    }
    if (step.days) return new Date(year, month, day - (step.days >= 7 ? (start.getDay() + 6) % 7 : 0) + i * step.days);
    const begin = Math.floor((from - new Date(year, month, day)) / step.size) + i;
    return new Date(year, month, day, 0, 0, (begin * step.size) / SECONDS);
  };
  const label = (time) => {
    if (step.months >= 12) return dates({ year: "numeric" }).format(time);
    if (step.months) return dates({ month: "short", year: "numeric" }).format(time);
    if (step.days || time.getHours() + time.getMinutes() + time.getSeconds() === 0) return dates(DAY).format(time);
    return dates(step.size < 60 * SECONDS ? SECOND : MINUTE).format(time);
  };
  const ticks = [];
  for (let i = 0; i < 4 * most; i++) {
    const time = at(i);
    if (time > to) break;
    if (time >= from) ticks.push({ time: Number(time), label: label(time) });
  }
  return ticks;
}

// ---- Tooltips.

function showTip(x, y, title, rows) {
  const tip = place("tip");
  tip.replaceChildren(
    el("div", { class: "when" }, title),
    ...rows.map(([name, value, color]) =>
      el("div", { class: "row" }, swatch(color), el("span", {}, name), el("span", {}, value))),
  );
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 14 + box.width > innerWidth - 8 ? x - 14 - box.width : x + 14;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - 8 - box.width))}px`;
  tip.style.top = `${Math.max(8, Math.min(y + 12, innerHeight - 8 - box.height))}px`;
}

function swatch(color) {
  const made = el("span", { class: "swatch" });
  if (color) made.style.background = color;
  return made;
}

/**
 * Lets somebody walk over the parts of a picture: by mouse, by tap, and with the arrow keys once it has the focus.
 * `at(event)` finds the part, `show(i)` marks it and returns where its tooltip goes and what it says; `show(null)` ends.
 */
function explore(target, length, at, show) {
  let current = null;
  const go = (i, event) => {
    current = i;
    const tip = show(i);
    if (tip) showTip(event?.clientX ?? tip.x, event?.clientY ?? tip.y, tip.title, tip.rows);
    else place("tip").hidden = true;
  };
  const byPointer = (event) => {
    const i = at(event);
    if (i !== null) go(i, event);
  };
  target.addEventListener("pointermove", byPointer);
  target.addEventListener("pointerdown", byPointer);
  target.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && go(null));
  target.addEventListener("blur", () => go(null));
  target.addEventListener("focus", () => target.matches(":focus-visible") && current === null && go(length() - 1));
  target.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (event.key === "Escape") go(null);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(length() - 1);
    else if (by) go(current === null ? 0 : Math.max(0, Math.min(length() - 1, current + by)));
    else return;
    event.preventDefault();
  });
}

// ---- Charts over time.

const buckets = (data.time?.rows ?? [])
  .map((row, i) => ({ row, from: Date.parse(row.start), models: data.models?.rows?.[i] ?? [] }))
  .filter(({ from }) => !Number.isNaN(from));
const every = Math.max(1, data.time?.every_seconds ?? 1) * SECONDS;
const OTHERS = 8;
const color = (i) => `var(--c${i})`;
const modelNames = data.models?.names ?? [];
/** A model has its color wherever it is; those that have none of their own share one. Calls without a model are "". */
const modelColor = (name) => {
  const i = name === null ? -1 : modelNames.indexOf(name);
  return color(i < 0 ? OTHERS : Math.min(i, OTHERS));
};

/** One series for each model; if they are not known by model, one for all. */
function byModel(field, total) {
  const series = modelNames.map((name, i) => ({
    name: name === null ? "other models" : shownName(name),
    color: modelColor(name),
    values: buckets.map(({ models }) => models[i]?.[field] ?? null),
  }));
  return series.length ? series : [{ name: "all", color: color(0), values: buckets.map(({ row }) => row[total]) }];
}

/** Round steps of an axis from 0 to at least `most`: `unit` is what is round, such as a second for milliseconds. */
function valueTicks(most, unit, integers) {
  const raw = (most > 0 ? most : 1) / unit / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  if (integers) step = Math.max(1, Math.ceil(step));
  const ticks = [];
  for (let i = 0; i <= 8; i++) {
    ticks.push(i * step * unit);
    if (i * step * unit >= most && i) break;
  }
  return ticks;
}

/** As many digits as the step between the ticks has. */
function axisMoney(value, step) {
  const digits = step >= 1 ? 0 : Math.min(10, Math.max(2, Math.ceil(-Math.log10(step)) + 1));
  return `$${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

function axisDuration(ms) {
  if (ms >= 120 * SECONDS) return `${count(Math.round(ms / 6000) / 10)} min`;
  return ms >= SECONDS ? `${count(Math.round(ms / 10) / 100)} s` : `${count(Math.round(ms * 100) / 100)} ms`;
}

const HEIGHT = 210;
const TOP = 8;
const BOTTOM = HEIGHT - 22;
const LEFT = 54;

/**
 * A chart over time. `series` have a name, a color and a value (or null) for each bucket, and are stacked from the
 * ground, unless `lines`. `extra(row)` are more lines of the tooltip.
 */
function timeChart({ id, title, sum, gist, series, lines, format, axis = format, integers, unit = () => 1, extra, none }) {
  const used = series.filter(({ values }) => values.some((value) => known(value) && value > 0));
  const figure = el("figure", { id: `chart-${id}` },
    el("div", { class: "head" }, el("h3", {}, title), el("span", { class: "sum" }, sum)));
  if (!used.length) {
    figure.append(el("div", { class: "nothing" }, none));
    return figure;
  }
  const tops = buckets.map((_, i) =>
    lines ? largest(used.map(({ values }) => values[i])) : used.reduce((all, { values }) => all + (values[i] ?? 0), 0));
  const most = largest(tops);
  const plot = el("div", { class: "plot", role: "img", tabindex: 0,
    "aria-label": `${gist} Highest: ${format(most)}, ${bucketTime(tops.indexOf(most))}. Arrow keys read the values.` });
  figure.append(...[legend(used, lines), plot].filter(Boolean));

  const from = buckets[0].from;
  const to = buckets.at(-1).from + every;
  const ticks = valueTicks(most, unit(most), integers);
  const y = (value) => BOTTOM - ((BOTTOM - TOP) * value) / ticks.at(-1);
  let x;
  let cursor;
  const draw = (width) => {
    const right = Math.max(LEFT + 40, width - 6);
    x = (time) => LEFT + ((right - LEFT) * (time - from)) / (to - from);
    cursor = svg("rect", { class: "cursor", y: TOP, height: BOTTOM - TOP, width: 0 });
    // The size is in the viewBox too, so that paper, which has another width, gets the same picture.
    plot.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" },
      ticks.map((value) => svg("line", { class: value ? "grid" : "axis", x1: LEFT, x2: right, y1: y(value), y2: y(value) })),
      ticks.map((value) => svg("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, axis(value, ticks[1]))),
      timeTicks(from, to, Math.max(2, Math.floor((right - LEFT) / 64))).map(({ time, label }) => [
        svg("line", { class: "axis", x1: x(time), x2: x(time), y1: BOTTOM, y2: BOTTOM + 4 }),
        svg("text", { x: Math.min(x(time), right - 16), y: HEIGHT - 5, "text-anchor": "middle" }, label),
      ]).flat(),
      cursor,
      // The median on top of what may lie on it.
      lines ? used.toReversed().map((one) => linePaths(one, x, y)).flat() : barPaths(used, x, y)));
  };
  onWidth(plot, draw);

  const at = (event) => {
    const box = plot.getBoundingClientRect();
    const middle = (i) => x(buckets[i].from + every / 2);
    const px = event.clientX - box.left;
    if (!x || px < LEFT - 12) return null;
    return buckets.reduce((best, _, i) => (Math.abs(middle(i) - px) < Math.abs(middle(best) - px) ? i : best), 0);
  };
  explore(plot, () => buckets.length, at, (i) => {
    if (i === null) {
      cursor?.setAttribute("width", 0);
      return null;
    }
    const { row, from: start } = buckets[i];
    const width = Math.max(2, x(start + every) - x(start));
    cursor.setAttribute("x", x(start + every / 2) - width / 2);
    cursor.setAttribute("width", width);
    const box = plot.getBoundingClientRect();
    const rows = used.map(({ name, color, values }) => [name, format(values[i]), color]);
    // Stacks read from top to bottom, as they stand.
    if (!lines) rows.reverse();
    const said = lines ? rows : rows.filter((_, n) => known(used[used.length - 1 - n].values[i]));
    return { x: box.left + x(start + every), y: box.top + 20, title: bucketTime(i), rows: [...said, ...extra(row)] };
  });
  return figure;
}

function legend(series, lines) {
  if (series.length < 2 && !lines) return null;
  return el("ul", { class: "legend" },
    series.map(({ name, color }) => el("li", { title: brief(name, 1000) }, swatch(color), el("span", {}, brief(name)))));
}

/** From when to when a bucket is. */
function bucketTime(i) {
  const start = buckets[i].from;
  const end = new Date(start + every);
  const days = every >= DAYS;
  const format = dates(days ? { weekday: "short", ...DAY, ...MINUTE } : { ...DAY, ...(every < 60 * SECONDS ? SECOND : MINUTE) });
  const sameDay = new Date(start).toDateString() === end.toDateString();
  return `${format.format(start)} – ${sameDay ? dates(every < 60 * SECONDS ? SECOND : MINUTE).format(end) : format.format(end)}`;
}

/** One path for each series: thousands of bars are then a handful of elements. */
function barPaths(series, x, y) {
  const ground = buckets.map(() => 0);
  return series.map(({ color, values }) => {
    let path = "";
    buckets.forEach(({ from }, i) => {
      const value = values[i];
      if (!known(value) || value <= 0) return;
      const slot = x(from + every) - x(from);
      const width = Math.max(1, Math.min(28, slot > 4 ? slot - 1.5 : slot));
      const [bottom, top] = [y(ground[i]), y(ground[i] + value)];
      ground[i] += value;
      // A hair of the surface between two of a stack; what is there at all can be seen.
      const height = Math.max(0.6, bottom - top - (bottom - top > 3 ? 0.8 : 0));
      path += `M${(x(from) + (slot - width) / 2).toFixed(2)} ${(bottom - height).toFixed(2)}h${width.toFixed(2)}v${height.toFixed(2)}h${-width.toFixed(2)}z`;
    });
    const mark = svg("path", { class: "mark", d: path });
    mark.style.fill = color;
    return mark;
  });
}

/** A line is broken where buckets are missing, and one that stands alone is a point. */
function linePaths({ color, values }, x, y) {
  const runs = [];
  let before = -Infinity;
  buckets.forEach(({ from }, i) => {
    if (!known(values[i])) return;
    if (from - before > every * 1.5) runs.push([]);
    runs.at(-1).push(`${x(from + every / 2).toFixed(2)} ${y(values[i]).toFixed(2)}`);
    before = from;
  });
  const path = svg("path", { class: "mark line", d: runs.filter((run) => run.length > 1).map((run) => `M${run.join("L")}`).join("") });
  path.style.stroke = color;
  const points = runs.filter((run) => run.length === 1).map(([point]) => {
    const [cx, cy] = point.split(" ");
    const dot = svg("circle", { class: "mark", cx, cy, r: 2.2 });
    dot.style.fill = color;
    return dot;
  });
  return [path, ...points];
}

/** Draws now and whenever the width is another. */
function onWidth(element, draw) {
  let drawn = 0;
  const watch = new ResizeObserver(() => {
    const width = Math.round(element.clientWidth);
    if (width && width !== drawn) {
      drawn = width;
      requestAnimationFrame(() => draw(width));
    }
  });
  watch.observe(element);
}

/** Why there is nothing to show of something: nobody says what it was, or what is known of it is 0. */
function nothing(total) {
  const allOf = (calls, all, some) => (calls < total.calls ? some : all);
  return {
    cost: known(total.cost) ? allOf(total.calls_with_cost, "All calls cost $0.", "Every cost that is known is $0.") : "No call says what it cost.",
    dearest: known(total.cost) ? allOf(total.calls_with_cost, "No call cost anything.", "No call says that it cost anything.") : "No call says what it cost.",
    tokens: known(total.input_tokens) || known(total.output_tokens)
      ? allOf(total.calls_with_tokens, "All calls took 0 tokens.", "Every number of tokens that is known is 0.") : "No call says how many tokens it took.",
    duration: total.duration_ms ? "p50, p95 and p99 are 0\u00a0ms at all times." : "No call says how long it took.",
  };
}

function timeCharts(total) {
  const none = nothing(total);
  const calls = (row) => [["calls", count(row.calls), null]];
  return [
    timeChart({
      id: "cost", title: "Cost", sum: money(total.cost), gist: `Cost over time by model, ${money(total.cost)} in all.`,
      series: byModel("cost", "cost"), format: money, axis: axisMoney, none: none.cost,
      extra: (row) => [["total", money(row.cost), null], ...calls(row)],
    }),
    timeChart({
      id: "tokens", title: "Tokens", sum: `${short(total.input_tokens)} in, ${short(total.output_tokens)} out`,
      gist: `Tokens over time: ${count(total.input_tokens)} in, ${count(total.output_tokens)} out.`,
      series: [
        { name: "input, not cached", color: "var(--input)", values: buckets.map(({ row }) => uncached(row)) },
        { name: "input, cached", color: "var(--cached)", values: buckets.map(({ row }) => row.cache_read_tokens) },
        { name: "output", color: "var(--output)", values: buckets.map(({ row }) => row.output_tokens) },
      ],
      format: count, axis: (value) => compact.format(value), integers: true, none: none.tokens, extra: calls,
    }),
    timeChart({
      id: "latency", title: "Latency", sum: `p50 ${duration(quantile(total, "p50"))}, p95 ${duration(quantile(total, "p95"))}`,
      gist: `Duration of calls over time: half take less than ${duration(quantile(total, "p50"))}, 95% less than ${duration(quantile(total, "p95"))}.`,
      series: ["p50", "p95", "p99"].map((name) => ({ name, color: `var(--${name})`, values: buckets.map(({ row }) => quantile(row, name)) })),
      lines: true, format: duration, axis: axisDuration, unit: (most) => (most >= 120000 ? 60000 : most >= 1000 ? 1000 : 1),
      none: none.duration, extra: (row) => [["longest", duration(quantile(row, "max")), null], ...calls(row)],
    }),
    timeChart({
      id: "errors", title: "Errors", sum: `${count(total.errors)} (${percent(total.errors, total.calls)} of calls)`,
      gist: `Failed calls over time by model, ${count(total.errors)} in all.`,
      series: byModel("errors", "errors"), format: count, integers: true, none: "No call failed.",
      extra: (row) => [["total", `${count(row.errors)} of ${count(row.calls)} (${percent(row.errors, row.calls)})`, null]],
    }),
  ];
}

// ---- Bars that compare models.

/** What is counted up to here if there are too many values to count. */
const COUNTED = 10000;
/** The values of some rows; calls that have none are no value. */
const valuesIn = (rows) => rows.filter(({ value }) => value !== null && value !== undefined).length;

const BARS = 8;
const TOKENS = [["not cached", uncached, "var(--input)"], ["cached", (row) => row.cache_read_tokens, "var(--cached)"],
  ["output", (row) => row.output_tokens, "var(--output)"]];

function barCharts(table) {
  // The dearest, as in the charts over time; where no cost is known, in the order of the table.
  const rows = table.rows.toSorted((a, b) => (b.cost ?? -1) - (a.cost ?? -1)).slice(0, BARS);
  const left = unseen(table, valuesIn(rows));
  const colorOf = (row, i) => (table.by === "model" ? modelColor(row.value ?? "") : color(i));
  const all = (row) => (known(row.input_tokens) || known(row.output_tokens) ? (row.input_tokens ?? 0) + (row.output_tokens ?? 0) : null);
  const latency = (row) => ["p50", "p95", "p99"].map((which) => quantile(row, which));
  return [
    barChart({ id: "cost", title: "Cost", rows, left, size: (row) => row.cost, figure: (row) => money(row.cost),
      segments: (row, i) => [[0, row.cost, colorOf(row, i)]] }),
    barChart({ id: "tokens", title: "Tokens", rows, left, size: all, figure: (row) => short(all(row)),
      keys: TOKENS.map(([name, , color]) => ({ name, color })),
      segments: (row) => {
        let from = 0;
        return TOKENS.map(([, of, color]) => {
          const segment = [from, from + (of(row) ?? 0), color];
          from = segment[1];
          return segment;
        });
      } }),
    barChart({ id: "latency", title: "Latency", rows, left, size: (row) => quantile(row, "p99"),
      figure: (row) => (row.duration_ms ? latency(row).map(duration).join(" · ") : "–"),
      keys: ["p50", "p95", "p99"].map((name) => ({ name, color: `var(--${name})` })),
      segments: (row) => latency(row).map((value, i, values) => [i ? values[i - 1] : 0, value, `var(--p${[50, 95, 99][i]})`]) }),
    barChart({ id: "errors", title: "Errors", rows, left, size: (row) => row.errors,
      figure: (row) => (row.errors ? `${count(row.errors)} (${percent(row.errors, row.calls)})` : "0"),
      segments: (row, i) => [[0, row.errors, colorOf(row, i)]] }),
  ];
}

/** What is said of the values that have no bar. */
function unseen(table, bars) {
  const inTable = valuesIn(table.rows);
  const left = (table.approximate ? COUNTED : table.values) - bars;
  if (left <= 0) return null;
  if (!table.approximate && inTable >= table.values) return `and ${count(left)} more, in the table below`;
  return `and ${table.approximate ? "more than " : ""}${count(left)} more; the table below has the ${count(inTable)} largest`;
}

function barChart({ id, title, rows, left, size, figure, segments, keys }) {
  const most = largest(rows.map(size)) || 1;
  const share = (value) => `${((100 * value) / most).toFixed(3)}%`;
  const bars = rows.map((row, i) => el("div", { class: "bar" },
    el("div", { class: "label" }, el("span", { class: "name" }, named(row.value)), el("span", { class: "figure" }, figure(row))),
    svg("svg", { "aria-hidden": "true" }, segments(row, i).filter(([from, to]) => known(to) && to > from).map(([from, to, color]) => {
      const mark = svg("rect", { class: "mark", x: share(from), width: share(to - from), height: 8 });
      mark.style.fill = color;
      return mark;
    }))));
  const list = el("div", { class: "list", role: "img", tabindex: 0,
    "aria-label": `${title}: ${rows.map((row) => `${brief(shownName(row.value), 60)} ${figure(row)}`).join("; ")}.` }, bars);
  explore(list, () => bars.length, (event) => {
    const i = bars.indexOf(event.target.closest(".bar"));
    return i < 0 ? null : i;
  }, (i) => {
    bars.forEach((bar, n) => bar.classList.toggle("on", n === i));
    if (i === null) return null;
    const box = bars[i].getBoundingClientRect();
    return { x: box.left + 40, y: box.bottom - 10, title: shownName(rows[i].value), rows: summary(rows[i]) };
  });
  return el("figure", { id: `bars-${id}` }, el("div", { class: "head" }, el("h3", {}, title)), list, keys ? legend(keys) : null,
    left ? el("p", { class: "note" }, left) : null);
}

/** All figures of a row, for its tooltip. */
const summary = (row) => [
  ["calls", count(row.calls)],
  ["errors", row.errors ? `${count(row.errors)} (${percent(row.errors, row.calls)})` : "0"],
  ["cost", money(row.cost)],
  ["tokens in", count(row.input_tokens)],
  ["of them cached", count(row.cache_read_tokens)],
  ["tokens out", count(row.output_tokens)],
  ["p50 · p95 · p99", ["p50", "p95", "p99"].map((which) => duration(quantile(row, which))).join(" · ")],
];

// ---- Tables.

/**
 * A table that sorts by each column. Columns have a title, the value to sort by and, unless it is text as it is, what to
 * show. Unknown values come last whichever way it is sorted, and so does `last`. `opens(rows, i)` makes the first cell
 * open something; it gets all rows as they are sorted now.
 */
function sortable({ label, columns, rows, last, limit, filter, notes = [], opens, empty }) {
  const state = { by: null, descending: false, all: rows.length <= limit, query: "" };
  const body = el("tbody");
  const shown = el("span", { "aria-live": "polite" });
  const more = button("", () => {
    state.all = true;
    draw();
  }, { class: "more" });

  const heads = columns.map((column) => {
    const head = el("th", { scope: "col", class: column.text ? "text" : null, title: column.hint });
    head.append(button(column.title, () => {
      // Numbers begin with the largest, which is what is looked for.
      state.descending = state.by === column ? !state.descending : !column.text;
      state.by = column;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      draw();
    }));
    return head;
  });

  const line = (row, kind, open) => {
    const made = el("tr", { class: kind }, columns.map((column, i) => {
      const said = column.show ? column.show(row) : column.value(row) ?? "–";
      if (i) return el("td", { class: column.text ? "text" : said === "–" ? "unknown" : null, title: column.whole?.(row) }, said);
      const content = open ? button(said, (event) => (event.stopPropagation(), open()), { class: "link" }) : said;
      return el("th", { scope: "row", class: "text", title: column.whole?.(row) }, content);
    }));
    if (open) {
      made.addEventListener("click", () => {
        // Words of a row can be marked and copied without it opening.
        if (!String(getSelection())) made.querySelector("button").click();
      });
    }
    return made;
  };

  const draw = () => {
    const { by, descending, query } = state;
    let found = query ? rows.filter((row) => filter(row).toLowerCase().includes(query)) : [...rows];
    if (by) {
      const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
      found.sort((a, b) => {
        const [one, two] = [by.value(a), by.value(b)];
        const [lacks, lacksToo] = [one === null || one === undefined, two === null || two === undefined];
        if (lacks || lacksToo) return lacks - lacksToo;
        return descending ? order(two, one) : order(one, two);
      });
    }
    shown.textContent = query ? `${count(found.length)} of ${count(rows.length)}` : "";
    const part = state.all ? found : found.slice(0, limit);
    more.hidden = part.length === found.length;
    more.textContent = `Show all ${count(found.length)}`;
    body.replaceChildren(...part.map((row, i) => (opens ? line(row, "opens", () => opens(found, i)) : line(row, null))));
    if (!found.length) body.append(el("tr", {}, el("td", { class: "text muted", colspan: columns.length }, rows.length ? "Nothing matches." : empty)));
    if (last && !query) body.append(line(last, "last"));
  };

  const tools = el("div", { class: "tools" }, el("b", { hidden: "" }, label));
  if (filter && rows.length > 1) {
    const input = el("input", { type: "search", placeholder: "Filter", "aria-label": `Filter ${label}`, spellcheck: "false" });
    input.addEventListener("input", () => {
      state.query = input.value.trim().toLowerCase();
      draw();
    });
    tools.append(input, shown);
  }
  tools.append(...notes.map((note) => el("p", {}, note)));
  draw();
  const panel = el("div", { class: "panel" }, tools,
    el("div", { class: "scroll first" }, el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, heads)), body)), more);
  tools.hidden = tools.children.length === 1;
  return panel;
}

/** Panels of which one is seen, chosen with a click or the arrow keys. */
function tabs(label, panels) {
  const select = (chosen, focus) => {
    buttons.forEach((made, i) => {
      made.setAttribute("aria-selected", i === chosen);
      made.tabIndex = i === chosen ? 0 : -1;
      panels[i].panel.hidden = i !== chosen;
    });
    if (focus) buttons[chosen].focus();
  };
  const id = (i) => `${label.toLowerCase()}-${i}`;
  const buttons = panels.map(({ name, panel }, i) => {
    const made = button(brief(name, 60), () => select(i), { role: "tab", id: `${id(i)}-tab`, "aria-controls": id(i) });
    made.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) select((i + by + panels.length) % panels.length, true);
    });
    fill(panel, { role: "tabpanel", id: id(i), "aria-labelledby": `${id(i)}-tab` }, []);
    return made;
  });
  select(0);
  return [el("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons), ...panels.map(({ panel }) => panel)];
}

const OTHER = Symbol("other");

function breakdown(table) {
  const number = (title, value, show = count, hint = null) => ({ title, value, show: (row) => show(value(row)), hint });
  const columns = [
    { title: table.by, text: true, value: (row) => row.value || null, whole: (row) => (row.value ? brief(String(row.value), 2000) : null),
      show: (row) => (row[OTHER] ? "other" : named(row.value)) },
    number("calls", (row) => row.calls),
    { title: "errors", value: (row) => row.errors, show: (row) => (row.errors ? el("span", { class: "bad" }, count(row.errors)) : "0") },
    { title: "error rate", value: (row) => (row.calls ? row.errors / row.calls : null), show: (row) => percent(row.errors, row.calls) },
    { title: "cost", value: (row) => row.cost, show: (row) => costOf(row), hint: "USD" },
    number("tokens in", (row) => row.input_tokens, count, "cached ones included"),
    number("cached", (row) => row.cache_read_tokens, count, "input tokens that were read from the provider's cache"),
    number("tokens out", (row) => row.output_tokens),
    ...["p50", "p95", "p99"].map((which) => number(which, (row) => quantile(row, which), duration, `duration: ${which.slice(1)}% of calls take less`)),
    number("first token", (row) => quantile(row, "p50", "time_to_first_token_ms"), duration, "time to the first token, median"),
  ];
  const notes = [];
  const others = table.other ? { ...table.other, [OTHER]: true } : null;
  if (others) {
    const values = table.approximate ? `more than ${count(COUNTED)}` : count(table.values);
    notes.push(`The ${count(valuesIn(table.rows))} largest of ${values} values; all others are in the last row, “other”.`);
  }
  if (table.approximate) notes.push("Approximate: there are too many values to count each one, so a row may lack some of its calls, which are in “other” then.");
  if (table.rows.some(partlyPriced)) notes.push("* The cost of some of these calls is not known.");
  return sortable({ label: `By ${table.by}`, columns, rows: table.rows, last: others, limit: 50, notes,
    filter: (row) => row.value || NONE, empty: "No calls." });
}

/** A cost, with a star if some calls do not say theirs. */
const partlyPriced = (row) => known(row.cost) && row.calls_with_cost < row.calls;
const costOf = (row) => (partlyPriced(row) ? el("span", { class: "partly" }, money(row.cost)) : money(row.cost));

const firstLine = (text) => text.trim().split("\n", 1)[0];
function errorLine(error) {
  const message = firstLine(error.message ?? "");
  return [error.kind, message].filter(Boolean).join(": ") || "failed, without a message";
}

function callList(label, indices, empty) {
  const columns = [
    { title: "time", text: true, value: (call) => Date.parse(call.start_time) || null, show: (call) => when(call.start_time) },
    { title: "model", text: true, value: (call) => call.model || null, show: (call) => named(call.model) },
    { title: "name", text: true, value: (call) => call.name || null, show: (call) => brief(call.name || "–") },
    { title: "duration", value: (call) => call.duration_ms, show: (call) => duration(call.duration_ms) },
    { title: "tokens in", value: (call) => call.input_tokens, show: (call) => count(call.input_tokens) },
    { title: "tokens out", value: (call) => call.output_tokens, show: (call) => count(call.output_tokens) },
    { title: "cost", value: (call) => call.cost, show: (call) => money(call.cost) },
    { title: "error", text: true, value: (call) => (call.error ? errorLine(call.error) : null),
      show: (call) => (call.error ? el("span", { class: "bad" }, brief(errorLine(call.error))) : "") },
  ];
  const calls = (indices ?? []).map((i) => data.calls[i]).filter(Boolean);
  return { name: `${label} (${count(calls.length)})`,
    panel: sortable({ label: `${label} calls`, columns, rows: calls, limit: 20, opens: openCall, empty }) };
}

// ---- One call.

function openCall(calls, i) {
  const call = calls[i];
  const dialog = place("call");
  const step = (by, text) => {
    const made = button(text, () => {
      openCall(calls, i + by);
      // The button that was pressed is gone; its successor takes the focus, so that Enter goes on.
      const next = [...dialog.querySelectorAll(".tools button")].find((one) => one.textContent === text && !one.disabled);
      (next ?? dialog.querySelector(".close")).focus();
    });
    made.disabled = !calls[i + by];
    return made;
  };
  dialog.replaceChildren(
    el("div", { class: "tools" }, el("h2", { id: "call-heading" }, brief(call.name || [call.provider, call.model].filter(Boolean).join("/") || "Call")),
      step(-1, "Previous"), step(1, "Next"), button("Close", () => dialog.close(), { class: "close" })),
    el("div", { class: "body" }, facts(call), failure(call.error), conversation(call),
      json("Parameters", call.parameters), json("Metadata", call.metadata)));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  dialog.querySelectorAll(".text-body").forEach(fold);
}

function facts(call) {
  const of = (part, all) => (known(part) ? `${all}, of which ${count(part)}` : all);
  const input = of(call.cache_read_tokens, count(call.input_tokens)) + (known(call.cache_read_tokens) ? " cached" : "");
  const output = of(call.reasoning_tokens, count(call.output_tokens)) + (known(call.reasoning_tokens) ? " reasoning" : "");
  const pairs = [
    ["started", when(call.start_time)], ["duration", duration(call.duration_ms)], ["first token after", duration(call.time_to_first_token_ms)],
    ["cost", money(call.cost)], ["tokens in", input], ["tokens out", output],
    ["written to the cache", known(call.cache_write_tokens) ? count(call.cache_write_tokens) : null],
    ["provider", call.provider], ["model", call.model], ["name", call.name], ["session", call.session_id], ["user", call.user_id],
    ["tags", call.tags?.join(", ")], ["environment", call.environment], ["release", call.release], ["trace", call.trace_id],
    ["id", call.id], ["read from", call.line ? `${call.source}:${call.line}` : call.source],
  ];
  return el("dl", {}, pairs.filter(([, value]) => value && value !== "–").map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function failure(error) {
  if (!error) return null;
  return [el("h3", {}, "Error"), el("div", { class: "block error" }, el("p", { class: "role" }, error.kind || "failed"),
    el("pre", { class: "text-body" }, error.message || "without a message"),
    error.trace ? el("h3", {}, "Trace") : null, error.trace ? el("pre", { class: "text-body code" }, error.trace) : null)];
}

function conversation(call) {
  const messages = call.conversation ?? [];
  const heading = el("h3", {}, "Conversation");
  const earlier = call.messages_left_out
    ? el("p", { class: "note" }, `${plural(call.messages_left_out, "earlier message is", "earlier messages are")} not here.`) : null;
  if (!messages.length) return [heading, earlier ?? el("p", { class: "note" }, "Neither messages nor an answer were recorded.")];
  return [heading, earlier, messages.map(({ role, text, left_out: leftOut }) => {
    const known = ["user", "assistant", "system", "tool"].includes(role) ? role : "";
    return el("div", { class: `block ${known}` }, el("p", { class: "role" }, brief(role || "message")),
      text ? el("pre", { class: "text-body" }, text) : el("p", { class: "none" }, "empty"),
      leftOut ? el("p", { class: "note" }, `${plural(leftOut, "character", "characters")} of this text ${leftOut === 1 ? "is" : "are"} not in this report.`) : null);
  })].flat();
}

/** JSON, which comes as text on several lines. */
const json = (title, text) => (text ? [el("h3", {}, title), el("div", { class: "block" }, el("pre", { class: "text-body code" }, text))] : null);

/** Long texts show their beginning, and all of it on demand. */
function fold(text) {
  if (text.scrollHeight < 420) return;
  text.classList.add("folded");
  const unfold = button(`Show all of it (${plural(text.textContent.length, "character", "characters")})`, () => {
    text.classList.remove("folded");
    unfold.remove();
  }, { class: "more" });
  text.after(unfold);
}

// ---- The page.

function about() {
  const sources = data.sources ?? [];
  const some = sources.slice(0, 3).map((source) => brief(source, 80)).join(", ");
  const asked = [data.since ? `since ${when(data.since)}` : null, data.until ? `until ${when(data.until)}` : null].filter(Boolean);
  return [
    el("span", { title: brief(sources.join(", "), 1000) }, sources.length > 3 ? `${some} and ${count(sources.length - 3)} more` : some),
    data.first ? el("span", { class: "covers" }, `${when(data.first)} – ${when(data.last)}`) : null,
    asked.length ? el("span", {}, `asked for: calls ${asked.join(", ")}`) : null,
    el("span", {}, `times in ${zoneName()}`),
    data.unreadable ? el("span", { class: "bad" }, `${plural(data.unreadable, "line", "lines")} could not be read and ${data.unreadable === 1 ? "is" : "are"} not in the figures`) : null,
  ].filter(Boolean);
}

/** How many calls there are in a day or an hour, if there were enough of these. */
function pace(calls) {
  const span = Date.parse(data.last) - Date.parse(data.first);
  if (span >= 2 * DAYS) return `${count(Math.round((calls * DAYS) / span))} a day`;
  return span >= 2 * HOURS ? `${count(Math.round((calls * HOURS) / span))} an hour` : null;
}

function cards(total) {
  const card = (id, title, value, ...subs) => el("div", { class: "card", "data-card": id }, el("h3", {}, title),
    el("div", { class: `value${id === "errors" && total.errors ? " bad" : ""}` }, value), subs.filter(Boolean).map((sub) => el("div", { class: "sub" }, sub)));
  const rest = (of, which) => (total[of] ? which.map((name) => `${name}\u00a0${duration(quantile(total, name, of))}`) : []);
  const partly = total.calls_with_cost < total.calls && known(total.cost);
  return [
    card("calls", "Calls", count(total.calls), pace(total.calls)),
    card("errors", "Errors", count(total.errors), total.calls ? `${percent(total.errors, total.calls)} of calls` : null),
    card("cost", "Cost", money(total.cost), partly ? `known for ${count(total.calls_with_cost)} of ${plural(total.calls, "call", "calls")}`
      : known(total.cost) && total.calls ? `${money(total.cost / total.calls)} per call` : null),
    card("input", "Tokens in", el("span", { title: count(total.input_tokens) }, short(total.input_tokens)),
      known(total.cache_read_tokens) ? `${short(total.cache_read_tokens)} cached (${percent(total.cache_read_tokens, total.input_tokens)})` : null),
    card("output", "Tokens out", el("span", { title: count(total.output_tokens) }, short(total.output_tokens)),
      known(total.reasoning_tokens) ? `${short(total.reasoning_tokens)} reasoning` : null),
    card("latency", "Latency p50", duration(quantile(total, "p50")), ...rest("duration_ms", ["p95", "p99"])),
    card("first-token", "First token p50", duration(quantile(total, "p50", "time_to_first_token_ms")),
      ...rest("time_to_first_token_ms", ["p95"])),
  ];
}

function page() {
  const total = data.total;
  place("about").append(...about());
  place("cards").append(...cards(total));
  const stored = (data.calls ?? []).filter((call) => call.conversation?.length).length;
  place("footer").append(el("p", {}, `Made by beluga-o11y ${data.version}, ${when(data.generated)}. This file loads nothing from anywhere.`
    + (stored ? ` It holds the messages and answers of ${plural(stored, "call", "calls")}: give it only to those who may read them.` : "")));
  if (!total.calls) {
    place("cards").after(el("p", { class: "empty", style: "margin-top: 16px" }, "There are no calls in this report."));
    return;
  }
  if (buckets.length) {
    place("over-time").hidden = false;
    place("time-charts").append(...timeCharts(total));
  }
  const by = data.by ?? [];
  const compared = by.find((table) => table.by === "model") ?? by[0];
  if (compared?.rows.length) {
    place("compared").hidden = false;
    put(place("compared-heading"), `By ${compared.by}`);
    place("bar-charts").append(...barCharts(compared));
  }
  if (by.length) {
    place("tables").hidden = false;
    place("tables").append(...tabs("Breakdown", by.map((table) => ({ name: `${table.by} (${table.approximate ? `${count(COUNTED)}+` : count(table.values)})`, panel: breakdown(table) }))));
  }
  place("calls").hidden = false;
  place("calls").append(...tabs("Calls", [
    callList("Slowest", data.slowest, nothing(total).duration),
    callList("Most expensive", data.dearest, nothing(total).dearest),
    callList("Failed", data.failed, "No call failed."),
  ]));
  // A click beside the dialog is a click on the dialog itself, its body covers the rest.
  place("call").addEventListener("click", (event) => event.target === place("call") && place("call").close());
}

page();

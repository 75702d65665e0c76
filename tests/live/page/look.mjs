// Opens pages of `report --html` in Chromium and looks at what is there: `look.mjs CHROMIUM DIRECTORY KIND...`. The
// directory has KIND.html and KIND.json, which says what must be shown. Exits with 1 if anything is not as it should be.
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, directory, ...kinds] = process.argv.slice(2);
const screenshots = process.env.BELUGA_O11Y_SCREENSHOTS;
if (screenshots) mkdirSync(screenshots, { recursive: true });

let where = "";
let failures = 0;
let checks = 0;
function check(good, what) {
  checks += 1;
  if (good) return;
  failures += 1;
  console.error(`   ${where}: ${what}`);
}
function same(is, should, what) {
  const [one, two] = [JSON.stringify(is), JSON.stringify(should)];
  const brief = (text) => (text && text.length > 300 ? `${text.slice(0, 300)}…` : text);
  check(one === two, `${what}: ${brief(one)}, not ${brief(two)}`);
}

const grouped = (value) => value.toLocaleString("en");
const number = (text) => Number(text.replace(/[^0-9.-]/g, ""));

// How a page writes what cannot be seen. Not the page's own way to find it: a list of what the hostile calls have.
const ACTING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;
const visible = (text) =>
  text.replaceAll("\r\n", "\n").replace(ACTING, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

/** What is in the page that only content could have brought there. */
const strangers = () => {
  const names = [...document.querySelectorAll("*")].flatMap((element) => {
    const on = element.getAttributeNames().filter((name) => name.startsWith("on") || name === "href" && element.tagName !== "LINK");
    return on.map((name) => `${element.tagName} ${name}`);
  });
  const tags = document.querySelectorAll("img, image, iframe, object, embed, base, form, a, link:not([rel=icon]), textarea, use");
  return { hacked: String(window.hacked), scripts: document.querySelectorAll("script").length, names, tags: [...tags].map((tag) => tag.tagName) };
};

/** All text that somebody sees, and all that is said in attributes. */
const said = () => {
  const attributes = [...document.querySelectorAll("[title], [aria-label]")];
  return [...document.querySelectorAll("title, header, main, footer, dialog, #tip")].map((part) => part.textContent)
    .concat(attributes.map((element) => `${element.getAttribute("title")} ${element.getAttribute("aria-label")}`)).join(" ");
};

/** Texts with less contrast to what is behind them than 4.5. */
const pale = () => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("script")) continue;
    let behind = element;
    while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const style = getComputedStyle(element);
    const front = light(rgba(element.closest("svg") ? style.fill : style.color));
    const back = light(rgba(behind ? getComputedStyle(behind).backgroundColor : "#fff"));
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (contrast < 4.5) found.set(`${element.tagName}.${element.getAttribute("class")}`, contrast.toFixed(2));
  }
  return [...found].map((one) => one.join(" "));
};

/** The columns of the table that is seen in a section, as texts. */
const rows = (page, section) =>
  page.$$eval(`${section} .panel:not([hidden]) tbody tr`, (lines) => lines.map((line) => [...line.children].map((cell) => cell.textContent)));

const UNKNOWN = { cost: "No call says what it cost.", tokens: "No call says how many tokens it took.", errors: "No call failed." };

async function cards(page, expected) {
  const value = (id) => page.textContent(`[data-card=${id}] .value`);
  same(await value("calls"), grouped(expected.calls), "calls");
  same(await value("errors"), grouped(expected.errors), "errors");
  const cost = expected.calls_with_cost ? `$${expected.cost.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}` : "–";
  same(await value("cost"), cost, "cost");
  const text = await page.textContent("[data-card=cost]");
  const partly = expected.calls_with_cost > 0 && expected.calls_with_cost < expected.calls;
  same(text.includes(`known for ${grouped(expected.calls_with_cost)} of ${grouped(expected.calls)} calls`), partly, "the cost is known for some");
  for (const id of ["input", "output"]) {
    same(await page.getAttribute(`[data-card=${id}] .value span`, "title"), expected[id] ? grouped(expected[id]) : "–", `tokens ${id}`);
  }
}

/** What all tooltips of a chart say together, by the name of the line, and how far that may be off, since it is rounded. */
async function told(page, id) {
  await page.locator(`#${id} .plot`).focus();
  await page.keyboard.press("Home");
  const sums = await page.evaluate((id) => {
    const plot = document.querySelector(`#${id} .plot`);
    const titles = new Set();
    const sums = {};
    for (;;) {
      const tip = document.getElementById("tip");
      const title = tip.querySelector(".when").textContent;
      if (titles.has(title)) return sums;
      titles.add(title);
      for (const row of tip.querySelectorAll(".row")) {
        const value = Number(row.children[2].textContent.replace(/ .*/, "").replaceAll(/[,$]/g, ""));
        const sum = sums[row.children[1].textContent] ??= { is: 0, off: 0.0001 };
        sum.is += value;
        sum.off += value < 0.1 ? 0.00005 : 0.005;
      }
      plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    }
  }, id);
  check(await page.locator("#tip").isVisible(), `a tooltip of ${id}`);
  return sums;
}

/** The dearest seven models have their own part of the charts over time, and all others share one. */
async function overTime(page, expected) {
  const ranked = Object.entries(expected.models).sort(([, a], [, b]) => b.cost - a.cost);
  const parts = ranked.slice(0, 7).map(([name, model]) => ({ name, ...model }));
  const others = ranked.slice(7).map(([, model]) => model);
  const sum = (of, field) => of.reduce((all, one) => all + (one?.[field] ?? 0), 0);
  if (others.length) parts.push({ name: "other models", ...Object.fromEntries(["calls", "errors", "tokens", "cost"].map((field) => [field, sum(others, field)])) });
  const close = (is, should, off, what) => check(Math.abs((is ?? 0) - should) <= off, `${what} over time: ${is}, not ${should}`);

  const { names, rows } = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).models);
  same(names.map((name) => name ?? "other models"), parts.map(({ name }) => name), "models over time");
  for (const [i, part] of parts.entries()) {
    for (const field of ["calls", "errors", "tokens", "cost"]) {
      close(sum(rows.map((row) => row[i]), field), part[field], 1e-6, `${field} of ${part.name}`);
    }
  }
  for (const field of ["cost", "errors"]) {
    const seen = parts.filter((part) => part[field] > 0);
    if (!seen.length) continue;
    const sums = await told(page, `chart-${field}`);
    for (const part of seen) close(sums[part.name]?.is, part[field], field === "errors" ? 0 : sums[part.name]?.off, `${field} of ${part.name} in tooltips`);
    close(sums.total.is, sum(seen, field), field === "errors" ? 0 : sums.total.off, `${field} in tooltips`);
    if (seen.length > 1) same(await page.$$eval(`#chart-${field} .legend li`, (all) => all.map((one) => one.textContent)), seen.map(({ name }) => name), `legend of ${field}`);
  }
  await page.keyboard.press("Escape");
}

async function charts(page, expected, width) {
  const marks = (id) => page.$$eval(`#${id} .mark`, (all) => all.filter((mark) => mark.getBBox().height + mark.getBBox().width > 0).length);
  const has = { cost: expected.calls_with_cost > 0, tokens: expected.input > 0, latency: true, errors: expected.errors > 0 };
  for (const [id, any] of Object.entries(has)) {
    same((await marks(`chart-${id}`)) > 0, any, `the chart of ${id} has something`);
    same((await marks(`bars-${id}`)) > 0, any, `the bars of ${id} have something`);
    if (!any) same(await page.textContent(`#chart-${id} .nothing`), UNKNOWN[id], `the chart of ${id} says that there is nothing`);
  }

  // Every bucket is read with the keyboard. Together they have all calls.
  const plot = page.locator("#chart-latency .plot");
  const read = async () => page.textContent("#tip");
  same((await told(page, "chart-latency")).calls.is, expected.calls, "calls in all tooltips");
  await page.keyboard.press("Escape");
  check(await page.locator("#tip").isHidden(), "Escape hides the tooltip");
  const box = await plot.boundingBox();
  await plot.hover({ position: { x: box.width * 0.6, y: box.height / 2 } });
  check(/p50.+calls/.test(await read()), "a tooltip for the mouse");
  const tip = await page.locator("#tip").boundingBox();
  check(tip.x >= 0 && tip.x + tip.width <= width, `the tooltip is inside: ${JSON.stringify(tip)}`);
  await page.mouse.move(1, 1);

  // The lengths of bars are as the costs of the models.
  if (has.cost && !expected.hostilePage) {
    const bars = await page.$$eval("#bars-cost .bar", (all) =>
      all.map((bar) => [bar.querySelector(".name").textContent, bar.querySelector(".mark").getBoundingClientRect().width]));
    const longest = Math.max(...Object.values(expected.models).map(({ cost }) => cost));
    const full = Math.max(...bars.map(([, length]) => length));
    for (const [name, length] of bars) {
      const should = expected.models[name].cost / longest;
      check(Math.abs(length / full - should) < 0.01, `the bar of ${name} is ${length / full}, not ${should}`);
    }
  }
}

async function gaps(page) {
  const { broken, widest, usual } = await page.evaluate(() => {
    const starts = [...document.querySelectorAll("#chart-cost .mark")].flatMap((mark) => [...mark.getAttribute("d").matchAll(/M([\d.]+) /g)].map((one) => Number(one[1])));
    const places = [...new Set(starts)].sort((a, b) => a - b);
    const steps = places.slice(1).map((place, i) => place - places[i]).sort((a, b) => a - b);
    const lines = document.querySelectorAll("#chart-latency path.mark");
    return { broken: Math.min(...[...lines].map((line) => line.getAttribute("d").split("M").length - 1)), widest: steps.at(-1), usual: steps[Math.floor(steps.length / 2)] };
  });
  check(broken >= 4, `lines of ${broken} pieces, not 4`);
  check(widest > 3 * usual, `the widest gap is ${widest}, where ${usual} is usual`);
}

async function tables(page, expected) {
  const names = ["model", "user", "session", "tag"];
  same((await page.locator("#tables [role=tab]").allTextContents()).map((text) => text.split(" ")[0]), names, "tables");
  for (const [i, name] of names.entries()) {
    const tab = page.locator("#tables [role=tab]").nth(i);
    if (i) await page.keyboard.press("ArrowRight");
    else await tab.click();
    same(await tab.getAttribute("aria-selected"), "true", `the tab ${name} is chosen`);
    for (const more of await page.locator("#tables .panel:not([hidden]) > .more:visible").all()) await more.click();
    const before = await rows(page, "#tables");
    if (name === "model" && !expected.hostilePage) {
      const are = Object.fromEntries(before.map(([model, calls, errors]) => [model, [number(calls), number(errors)]]));
      const should = Object.fromEntries(before.map(([model]) => [model, [expected.models[model]?.calls, expected.models[model]?.errors]]));
      same(are, should, "calls and errors by model");
      same(before.length, Object.keys(expected.models).length, "models");
    }
    const last = before.at(-1)[0] === "other";
    if (!expected.hostilePage) {
      // Calls that have none are in a row, but no value.
      const many = expected.values[name] > 10_000 ? "10,000" : grouped(expected.values[name]);
      const more = expected.values[name] > 10_000;
      same(await tab.textContent(), `${name} (${many}${more ? "+" : ""})`, "the tab says how many values there are");
      const notes = await page.textContent("#tables .panel:not([hidden]) .tools");
      same(/The .* values;/.exec(notes)?.[0], last ? `The 1,000 largest of ${more ? "more than " : ""}${many} values;` : undefined, `values by ${name}`);
      same(last, expected.values[name] > 1000, `there are others by ${name}`);
    }
    if (expected.calls > 50_000 && ["user", "session"].includes(name)) {
      const none = before.filter(([value]) => value === "(none)").length;
      same([before.length, none], [1001 + none, name === "user" ? 1 : 0], `rows by ${name}, and the others`);
      same(before.reduce((all, row) => all + number(row[1]), 0), expected.calls, `calls by ${name} and of the others`);
    }
    const order = async (title, column, descending) => {
      await page.click(`#tables .panel:not([hidden]) thead th:nth-child(${column + 1}) button`);
      const found = await rows(page, "#tables");
      same(await page.$$eval("#tables .panel:not([hidden]) [aria-sort]", (all) => all.map((head) => [head.textContent, head.getAttribute("aria-sort")])),
        [[title, descending ? "descending" : "ascending"]], "aria-sort");
      same(found.length, before.length, "rows after sorting");
      if (last) same(found.pop()[0], "other", "the last row");
      const values = found.map((row) => row[column]);
      const unknown = values.findIndex((value) => value === "–" || value === "(none)");
      const cut = unknown < 0 ? values.length : unknown;
      check(values.slice(cut).every((value) => value === "–" || value === "(none)"), `unknown ones are last by ${title}`);
      const sorted = values.slice(0, cut);
      const compare = column ? (a, b) => number(a) - number(b) : (a, b) => a.localeCompare(b, "en", { numeric: true });
      if (!column && expected.hostilePage) return;
      same(sorted, [...sorted].sort((a, b) => (descending ? compare(b, a) : compare(a, b))), `${name} by ${title}`);
    };
    await order("calls", 1, true);
    await order("calls", 1, false);
    await order("tokens out", 7, true);
    await order(name, 0, false);
    await order(name, 0, true);
    const filter = page.locator("#tables .panel:not([hidden]) input");
    if (await filter.count()) {
      await filter.fill("R-12");
      const found = await rows(page, "#tables");
      check(found.every(([value]) => value.toLowerCase().includes("r-12") || value === "Nothing matches."), "the filter leaves what has its text");
      if (expected.calls > 50_000 && name === "user") check(found.length > 1, "the filter leaves something");
      await filter.fill("");
    }
    await tab.focus();
  }
}

/** The texts of a call, against those that were written: whole, or the beginning of them and how much is missing. */
async function shows(page, written, what) {
  const blocks = await page.$$eval("#call .block:has(> pre:not(.code)):not(.error)", (all) =>
    all.map((block) => [block.querySelector("pre").textContent, block.querySelector(".note")?.textContent ?? ""]));
  // Of long conversations the end is there.
  const notes = (await page.locator("#call .body > .note").allTextContents()).filter((note) => note.includes("earlier"));
  const earlier = written.length - blocks.length;
  same(notes, written.length > 50 ? [`${earlier} earlier messages are not here.`] : [], `earlier messages of ${what}`);
  same(earlier > 0, written.length > 50, `messages of ${what} are left out`);
  blocks.forEach(([text, note], i) => {
    const whole = visible(written[earlier + i]);
    if (!note) return same(text, whole, `message ${i} of ${what}`);
    check((text.length > 1000 || earlier && !i) && whole.startsWith(text), `the beginning of message ${i} of ${what}: ${text.slice(0, 100)}`);
    same(number(note), Array.from(written[earlier + i]).length - Array.from(text).length, `characters that are missing of message ${i} of ${what}`);
  });
}

async function calls(page, expected) {
  const dialog = page.locator("#call");
  const first = page.locator("#calls .panel:not([hidden]) .link").first();
  await page.locator("#calls .panel:not([hidden]) tbody td").nth(2).click();
  check(await dialog.isVisible(), "a click on the row opens the call");
  await shows(page, expected.slowest, "the slowest call");
  if (expected.hostilePage) {
    // All of them, from the slowest, which is the last one.
    for (let i = expected.calls - 1; i >= 0; i--) {
      const text = expected.hostile[i % expected.hostile.length];
      await shows(page, [text, `${text}\n${text}`, text].filter(Boolean), `call ${i}`);
      if (i % 2) {
        same((await page.textContent("#call .block.error pre")).slice(0, 1000), visible(text).slice(0, 1000) || "without a message", `error of call ${i}`);
      }
      if (i) await page.getByRole("button", { name: "Next" }).click();
    }
    check(await page.getByRole("button", { name: "Next" }).isDisabled(), "there is no call after the last");
  }
  same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing is too wide beside a call");
  same(await dialog.evaluate((element) => element.scrollWidth <= element.clientWidth), true, "nothing in a call is too wide");
  same(await page.evaluate(pale), [], "contrast in a call");
  await page.keyboard.press("Escape");
  check(await dialog.isHidden(), "Escape closes the call");

  // From one call to the next as the table has them, however it is sorted.
  await page.locator("#calls .panel:not([hidden]) thead button").first().click();
  const times = (await rows(page, "#calls")).slice(0, 4).map(([time]) => time);
  const opened = [];
  await first.click();
  while (opened.length < times.length) {
    if (opened.length) await page.getByRole("button", { name: "Next" }).click();
    opened.push(await page.textContent("#call dl dd"));
  }
  same(opened, times, "calls, one after the other");
  check(await page.getByRole("button", { name: "Previous" }).isEnabled(), "there is a call before");
  await page.keyboard.press("Escape");

  // From the tab to the first call with the keyboard alone.
  await page.locator("#calls [role=tab][aria-selected=true]").focus();
  for (let i = 0; i < 30 && !(await first.evaluate((link) => link === document.activeElement)); i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  check(await dialog.isVisible(), "Enter opens the call");
  await page.keyboard.press("Escape");
  check(await first.evaluate((link) => link === document.activeElement), "the focus is back where it was");

  await page.locator("#calls [role=tab]").nth(2).click();
  const failed = page.locator("#calls .panel:not([hidden]) .link");
  if (expected.errors) {
    await failed.first().click();
    check(await page.locator("#call .block.error").isVisible(), "a failed call shows its error");
    await page.getByRole("button", { name: "Close" }).click();
    check(await dialog.isHidden(), "the button closes the call");
  } else {
    check((await page.textContent("#calls .panel:not([hidden])")).includes("No call failed."), "no call failed");
  }
  if (!expected.calls_with_cost) same(await page.textContent("#calls-1 tbody"), UNKNOWN.cost, "no dearest call");
}

/** Charts are drawn once their width is known. */
const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

async function look(page, kind, width) {
  const expected = JSON.parse(readFileSync(join(directory, `${kind}.json`)));
  expected.hostilePage = kind === "hostile";
  const url = String(pathToFileURL(join(directory, `${kind}.html`)));
  page.on("console", (message) => check(false, `console: ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => check(false, `error: ${error.stack}`));
  await page.route(() => true, (route) => {
    const is = route.request().url();
    check(is === url, `a request for ${is.slice(0, 200)}`);
    return is === url ? route.continue() : route.abort();
  });
  await page.goto(url);
  await drawn(page);
  const took = await page.evaluate(() => performance.now());
  check(took < 5000, `open after ${Math.round(took)} ms`);

  same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing is too wide");
  const dark = await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches);
  const [red] = (await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).match(/\d+/g);
  same(Number(red) < 128, dark, "dark");
  same(await page.evaluate(pale), [], "contrast");
  await cards(page, expected);
  if (expected.calls) {
    await charts(page, expected, width);
    if (kind !== "hostile") await overTime(page, expected);
    if (kind === "many") await gaps(page);
    await tables(page, expected);
    await calls(page, expected);
  } else {
    check((await page.textContent("main")).includes("There are no calls in this report."), "it says that there are none");
  }
  same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing is too wide at the end");
  same(await page.evaluate(strangers), { hacked: "undefined", scripts: 2, names: [], tags: [] }, "only what belongs there");
  const acting = (await page.evaluate(said)).match(ACTING);
  const half = (await page.evaluate(said)).match(/\\u\{d[89a-f]..\}/);
  check(!half, `half a character: ${half?.[0]}`);
  check(!acting, `characters that act: ${acting?.map((one) => one.codePointAt(0).toString(16))}`);
  await page.emulateMedia({ media: "print" });
  same(await page.$$eval(".panel", (all) => all.every((panel) => panel.checkVisibility())), true, "all tables are on paper");
  await page.emulateMedia({ media: null });
  return took;
}

/** A page with other data than was written. */
async function edited(page, kind, name, edit) {
  const html = readFileSync(join(directory, `${kind}.html`), "utf8");
  const [before, rest] = html.split('<script type="application/json" id="data">');
  const end = rest.indexOf("</script>");
  const path = join(directory, `${kind}-${name}.html`);
  const data = JSON.stringify(edit(JSON.parse(rest.slice(0, end)))).replaceAll("<", "\\u003c");
  writeFileSync(path, `${before}<script type="application/json" id="data">${data}${rest.slice(end)}`);
  await page.goto(String(pathToFileURL(path)));
  await drawn(page);
  if (screenshots) await page.screenshot({ path: join(screenshots, `${kind}-${name}.png`), fullPage: true });
}

/** Calls that cost nothing are not calls of which nobody knows what they cost. */
async function free(page) {
  const zero = (unknown) => (data) => JSON.parse(JSON.stringify(data), function (key, value) {
    if (["p50", "p95", "p99", "max"].includes(key) || typeof value === "number" && key === "duration_ms") return 0;
    if (["cost", "tokens", "input_tokens", "output_tokens"].includes(key)) return 0;
    return ["calls_with_cost", "calls_with_tokens"].includes(key) ? this.calls - unknown : value;
  });
  const duration = "p50, p95 and p99 are 0\u00a0ms at all times.";
  for (const [unknown, ...texts] of [
    [0, "All calls cost $0.", "All calls took 0 tokens.", duration, "No call cost anything."],
    [1, "Every cost that is known is $0.", "Every number of tokens that is known is 0.", duration, "No call says that it cost anything."],
  ]) {
    await edited(page, "few", `free-${unknown}`, zero(unknown));
    same(await page.textContent("[data-card=cost] .value"), "$0", "cost of free calls");
    const said = await page.$$eval("#chart-cost .nothing, #chart-tokens .nothing, #chart-latency .nothing, #calls-1 tbody", (all) => all.map((one) => one.textContent));
    same(said, texts, "what is said of free calls");
    same(await page.locator("#bars-cost .figure").allTextContents(), ["$0"], "bars of free calls");
  }
}

/** Values of which there are more than bars, or more than rows. */
async function rest(page, expected) {
  const { user } = expected.values;
  for (const [by, said] of [
    ["model", "and 2 more, in the table below"],
    ["user", (bars) => `and ${grouped(user - bars)} more; the table below has the 1,000 largest`],
    ["session", (bars) => `and more than ${grouped(10_000 - bars)} more; the table below has the 1,000 largest`],
  ]) {
    await edited(page, "many", by, (data) => ({ ...data, by: data.by.filter((table) => table.by === by) }));
    const bars = (await page.locator("#bars-cost .name").allTextContents()).filter((name) => name !== "(none)").length;
    same(await page.textContent("#bars-cost .note"), said instanceof Function ? said(bars) : said, `bars that are not there, by ${by}`);
  }
}

async function picture(page, kind, name) {
  await page.goto(String(pathToFileURL(join(directory, `${kind}.html`))));
  await drawn(page);
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  if (name === "november-light-1280") {
    // That of the README: from the top to the first table.
    const height = await page.$eval("#calls", (calls) => calls.getBoundingClientRect().top);
    await page.screenshot({ path: join(screenshots, "report.png"), fullPage: true, clip: { x: 0, y: 0, width: 1280, height: Math.round(height) } });
  }
  const call = page.locator("#calls .link").first();
  if (!(await call.count())) return;
  await call.click();
  await page.screenshot({ path: join(screenshots, `${name}-call.png`) });
}

const browser = await chromium.launchPersistentContext(mkdtempSync(join(directory, "profile-")), {
  executablePath,
  // A zone that is not that of the data, and has two offsets in a year.
  timezoneId: "Europe/Berlin",
  offline: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
for (const kind of kinds) {
  const times = [];
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      where = `${kind}, ${colorScheme}, ${width} wide`;
      const page = await browser.newPage();
      page.setDefaultTimeout(10_000);
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      try {
        times.push(Math.round(await look(page, kind, width)));
      } catch (error) {
        check(false, error.message);
      }
      if (screenshots) await picture(page, kind, `${kind}-${colorScheme}-${width}`);
      await page.close();
    }
  }
  if (kind === "few" || kind === "many") {
    where = `${kind}, with other data`;
    const page = await browser.newPage();
    try {
      if (kind === "few") await free(page);
      else await rest(page, JSON.parse(readFileSync(join(directory, `${kind}.json`))));
    } catch (error) {
      check(false, error.message);
    }
    await page.close();
  }
  console.log(`   ${kind}: open after ${times.join(", ")} ms`);
}
await browser.close();
console.log(`   ${checks} checks, ${failures} failed`);
process.exit(failures ? 1 : 0);

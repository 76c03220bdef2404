// Drives the page in a browser: node page.mjs URL CHROMIUM FOLDER-FOR-SCREENSHOTS. Prints what it saw as JSON.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, folder] = process.argv.slice(2);
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const seen = { console: [], elsewhere: [], widgets: {}, violations: [] };
const origin = new URL(url).origin;

function watch(page) {
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) seen.console.push(message.text()); });
  page.on("pageerror", (error) => seen.console.push(String(error)));
  page.on("request", (request) => {
    const to = request.url();
    if (!to.startsWith(origin) && !to.startsWith("data:")) seen.elsewhere.push(to);
  });
}

const TYPED = {
  "fill-mask": { text: "He closed the [MASK] and slept." },
  "text-classification": { text: "What a lovely day, I am so happy!" },
  "token-classification": { text: "🙂 King Henry lived in London." },
  "question-answering": { text: "Who built the bridge?", context: "The bridge was built in 1503 by King Henry of France." },
  "zero-shot-classification": { text: "Two men are playing guitars on a stage.", candidate_labels: "music, sleeping, swimming" },
  "summarization": { text: "We propose a simple network architecture, the Transformer, based solely on attention mechanisms. Experiments on two translation tasks show these models to be superior in quality." },
  "translation": { text: "My brother has a small house." },
  "text-generation": { text: "The captain of the ship" },
  "feature-extraction": { text: "The cat sleeps." },
};
const RESULT = {
  "fill-mask": ".bar", "text-classification": ".bar", "token-classification": "mark", "question-answering": ".answer",
  "zero-shot-classification": ".bar", "summarization": ".text p", "translation": ".text p", "text-generation": ".new",
  "feature-extraction": "td",
};

const browser = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "page-")), {
  executablePath, headless: true, args: flags, viewport: { width: 1100, height: 900 },
});
const page = browser.pages()[0] || await browser.newPage();
watch(page);

async function done() {
  await page.waitForFunction(() => !document.querySelector("#compute").disabled
    && (/Computation time/.test(document.querySelector("#status").textContent) || !document.querySelector("#error").hidden), null, { timeout: 60000 });
}

for (const [task, values] of Object.entries(TYPED)) {
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(`${url}/?task=${task}${task === "translation" ? "&model=minitransformer/marian-en-de" : ""}`);
  await page.waitForSelector("#compute");
  for (const [name, value] of Object.entries(values)) await page.fill(`#field-${name}`, value);
  const last = Object.keys(values).at(-1);
  await page.focus(`#field-${last}`);
  await page.keyboard.press("Control+Enter");
  await done();
  const widget = {
    status: await page.textContent("#status"),
    error: await page.$eval("#error", (e) => (e.hidden ? null : e.textContent)),
    results: await page.$$eval(RESULT[task], (nodes) => nodes.slice(0, 40).map((n) => n.textContent)),
    json: await page.textContent("#json"),
    address: page.url(),
    output: await page.textContent("#output"),
  };
  await page.click("#show-code");
  widget.curl = await page.textContent("#snippet");
  await page.focus("[role=tab][aria-selected=true]");
  await page.keyboard.press("ArrowRight");
  widget.python = await page.textContent("#snippet");
  await page.keyboard.press("ArrowRight");
  widget.javascript = await page.textContent("#snippet");
  await page.click("#show-json");
  widget.jsonShown = await page.isVisible("#json");
  if (folder) {
    await page.click("#show-json");
    await page.screenshot({ path: join(folder, `${task}-light.png`) });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.screenshot({ path: join(folder, `${task}-dark.png`) });
  }
  await page.reload();
  await page.waitForSelector("#compute");
  widget.kept = await page.inputValue("#field-text");
  seen.widgets[task] = widget;
}

// nothing typed; markup that is typed; an error of the server; an example; a narrow screen
await page.goto(`${url}/?task=text-classification`);
await page.waitForSelector("#compute");
await page.fill("#field-text", "");
await page.click("#compute");
seen.empty = await page.textContent("#error");
await page.fill("#field-text", "<img src=x onerror=alert(1)> <b>Paris</b>");
await page.click("#compute");
await done();
await page.goto(`${url}/?task=token-classification&text=${encodeURIComponent("<b>Sarah Miller</b> lives in <i>London</i>")}`);
await page.waitForSelector("#compute");
await page.click("#compute");
await done();
seen.markup = await page.$$eval("#output b, #output i, #output img", (nodes) => nodes.length);
await page.goto(`${url}/?task=fill-mask&text=${encodeURIComponent("there is none here")}`);
await page.waitForSelector("#compute");
const before = seen.console.length;
await page.click("#compute");
await done();
seen.refused = await page.textContent("#error");
seen.console.splice(before, seen.console.length, ...seen.console.slice(before).filter((line) => !line.includes("400")));
await page.selectOption("#examples", "1");
await done();
seen.example = await page.textContent("#output");
await page.keyboard.press("Tab");
seen.focusVisible = await page.evaluate(() => document.activeElement !== document.body);
await page.click("#maximize");
seen.maximized = await page.$eval(".card", (card) => card.getBoundingClientRect().width === innerWidth);
await page.keyboard.press("Escape");
for (const task of Object.keys(TYPED)) {
  await page.setViewportSize({ width: 400, height: 800 });
  await page.goto(`${url}/?task=${task}`);
  await page.waitForSelector("#compute");
  await page.click("#compute");
  await done();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > 400) seen.violations.push(`${task}: ${wide} px wide`);
  if (folder) await page.screenshot({ path: join(folder, `${task}-narrow.png`) });
}
seen.unlabelled = await page.evaluate(() => [...document.querySelectorAll("input,textarea,select,button,a")].filter((node) => {
  const named = node.textContent.trim() || node.getAttribute("aria-label") || (node.labels && node.labels.length);
  return !named;
}).map((node) => node.outerHTML));
await browser.close();
console.log(JSON.stringify(seen));

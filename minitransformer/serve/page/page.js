"use strict";
// One widget for each task, after those that the Hub's model pages once had. What is typed goes to this server only.

const $ = (id) => document.getElementById(id);
const NAMES = {
  "fill-mask": "Fill-Mask", "text-classification": "Text Classification", "token-classification": "Token Classification",
  "question-answering": "Question Answering", "zero-shot-classification": "Zero-Shot Classification",
  "summarization": "Summarization", "translation": "Translation", "text-generation": "Text Generation",
  "feature-extraction": "Feature Extraction", "text2text-generation": "Text2Text Generation",
};
const FIELDS = {
  "question-answering": [["text", "Question", "line"], ["context", "Context", "area"]],
  "zero-shot-classification": [["text", "Text", "area"], ["candidate_labels", "Possible class names (comma-separated)", "line"],
    ["multi_label", "Allow multiple true classes", "flag"]],
};
const PLAIN = [["text", "Text", "area"]];
const CLIENT = {
  "fill-mask": ["fill_mask", "fillMask"], "text-classification": ["text_classification", "textClassification"],
  "token-classification": ["token_classification", "tokenClassification"], "question-answering": ["question_answering", "questionAnswering"],
  "zero-shot-classification": ["zero_shot_classification", "zeroShotClassification"], "summarization": ["summarization", "summarization"],
  "translation": ["translation", "translation"], "text-generation": ["text_generation", "textGeneration"],
  "feature-extraction": ["feature_extraction", "featureExtraction"], "text2text-generation": [null, null],
};

let served = { models: [], examples: {}, inside: false };
let task, model, running = null, token = sessionStorage.getItem("token") || "", language = "curl", result = null;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// --- what is chosen -------------------------------------------------------------------------------------------------

const fieldsOf = (name) => FIELDS[name] || PLAIN;
const modelsFor = (name) => served.models.filter((m) => m.tasks.includes(name)).sort((a, b) => (b.task === name) - (a.task === name));
const examplesFor = () => (model.task === task && model.examples) || served.examples[task] || [];

function read() {
  const values = {};
  for (const [name, , kind] of fieldsOf(task)) {
    const input = $("field-" + name);
    values[name] = kind === "flag" ? input.checked : input.value;
  }
  return values;
}

function fill(values) {
  for (const [name, , kind] of fieldsOf(task)) {
    const input = $("field-" + name);
    if (kind === "flag") input.checked = values[name] === true || values[name] === "true";
    else input.value = values[name] || "";
  }
  if (model.mask && values.text) $("field-text").value = values.text.replaceAll("[MASK]", model.mask);
  changed();
}

function changed() {
  const query = new URLSearchParams({ task, model: model.id });
  for (const [name, value] of Object.entries(read())) if (value) query.set(name, value);
  const address = "?" + query;
  if (address.length < 4000) history.replaceState(null, "", address);
  const text = read().text;
  $("inside").hidden = !served.inside || !text;
  $("inside").href = "inside?" + new URLSearchParams({ model: model.id, text });
  snippet();
}

function choose(newTask, newModel, values) {
  if (running) running.abort();
  task = newTask;
  const able = modelsFor(task);
  model = able.find((m) => m.id === newModel) || able[0];
  for (const button of $("tasks").querySelectorAll("button")) {
    if (button.dataset.task === task) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  $("task-name").textContent = NAMES[task] || task;
  document.title = `${NAMES[task] || task} · minitransformer`;
  $("model").replaceChildren(...able.map((m) => el("option", { value: m.id, selected: m === model }, m.id)));
  $("form").replaceChildren(...form());
  const examples = examplesFor();
  $("examples").replaceChildren(el("option", { value: "" }, "choose one"),
    ...examples.map((e, i) => el("option", { value: i }, `${i + 1}. ${e.text.slice(0, 48)}${e.text.length > 48 ? "…" : ""}`)));
  clear();
  fill(values || examples[0] || {});
}

function form() {
  const parts = fieldsOf(task).map(([name, label, kind]) => {
    const id = "field-" + name;
    if (kind === "flag") return el("label", {}, el("input", { type: "checkbox", id, onchange: changed }), " " + label);
    const input = kind === "area" ? el("textarea", { id, rows: 4, spellcheck: "false" }) : el("input", { type: "text", id, autocomplete: "off" });
    input.addEventListener("input", changed);
    return el("label", { class: "field", for: id }, label, input);
  });
  if (model.mask && task === "fill-mask") parts.push(el("div", { class: "hint" }, "Mask token: ", el("code", {}, model.mask)));
  const row = el("div", { class: "row" }, el("button", { type: "submit", class: "compute", id: "compute" }, "Compute"),
    el("button", { type: "button", class: "plain", id: "stop", hidden: true, onclick: () => running && running.abort() }, "Stop"),
    el("span", { class: "hint" }, "Ctrl+Enter"));
  return [...parts, row];
}

// --- the call -------------------------------------------------------------------------------------------------------

const route = () => `models/${model.id}` + (task === model.task ? "" : `/pipeline/${task}`);

function body(values, stream) {
  switch (task) {
    case "question-answering":
      return { inputs: { question: values.text, context: values.context } };
    case "zero-shot-classification": {
      const labels = values.candidate_labels.split(",").map((label) => label.trim()).filter(Boolean);
      return { inputs: values.text, parameters: { candidate_labels: labels, multi_label: values.multi_label } };
    }
    case "token-classification":
      return { inputs: values.text, parameters: { aggregation_strategy: "first" } }; // whole words
    case "text-generation":
      return { inputs: values.text, ...(stream ? { stream: true } : {}), parameters: { max_new_tokens: 60 } };
    default:
      return { inputs: values.text };
  }
}

async function ask(address, options) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(address, { ...options, headers: { ...headers, ...options.headers } });
  if (response.status === 401) return askForToken();
  if (!response.ok) {
    const said = await response.json().catch(() => ({ error: `status ${response.status}` }));
    throw new Error(said.error);
  }
  return response;
}

async function post(content, signal) {
  const state = await (await ask(`status/${model.id}`, { signal })).json();
  const stop = state.loaded ? () => {} : showLoading(state.estimated_time);
  const headers = { "content-type": "application/json", "x-wait-for-model": "true" };
  try { return await ask(route(), { method: "POST", headers, body: JSON.stringify(content), signal }); } finally { stop(); }
}

function askForToken() {
  const input = el("input", { type: "password", id: "token", autocomplete: "off" });
  const keep = (event) => { event.preventDefault(); token = input.value; sessionStorage.setItem("token", token); compute(); };
  $("output").replaceChildren(el("form", { onsubmit: keep }, el("label", { class: "field" }, "This server wants a token", input),
    el("div", { class: "row" }, el("button", { class: "compute" }, "Use it"))));
  throw new Error("Authorization is needed");
}

function showLoading(seconds) {
  const bar = $("loading"), began = performance.now();
  bar.hidden = false;
  $("status").textContent = "Model is loading";
  const move = () => { const part = Math.min(1, (performance.now() - began) / 1000 / seconds); bar.firstElementChild.style.width = `${100 * part}%`; };
  const timer = setInterval(move, 50);
  return () => { clearInterval(timer); bar.hidden = true; };
}

function clear() {
  result = null;
  $("error").hidden = true;
  $("status").textContent = "";
  $("output").replaceChildren();
  $("json").textContent = "";
}

async function compute() {
  const values = read();
  clear();
  const missing = fieldsOf(task).find(([name, , kind]) => kind !== "flag" && !values[name].trim());
  if (missing) {
    fail(missing[0] === "text" ? "You need to input some text" : `You need to input some ${missing[0] === "context" ? "context" : "class names"}`);
    return $("field-" + missing[0]).focus();
  }
  if (running) running.abort();
  const controller = running = new AbortController();
  $("compute").disabled = true;
  const began = performance.now();
  const clock = setInterval(() => { if ($("loading").hidden) $("status").textContent = `Computing ${((performance.now() - began) / 1000).toFixed(1)} s`; }, 100);
  try {
    const stream = task === "text-generation";
    const response = await post(body(values, stream), controller.signal);
    if (stream) await write(response, values.text, began);
    else {
      result = await response.json();
      SHOW[task](result, values);
    }
    const seconds = Number(response.headers.get("x-compute-time"));
    const kind = response.headers.get("x-compute-type");
    clearInterval(clock);
    $("status").textContent = stream ? `Computation time on ${kind}: ${((performance.now() - began) / 1000).toFixed(3)} s`
      : `Computation time on ${kind}: ${seconds.toFixed(3)} s`;
    $("json").textContent = JSON.stringify(result, null, 2);
  } catch (error) {
    clearInterval(clock);
    $("status").textContent = "";
    if (error.name === "AbortError") $("status").textContent = "Stopped";
    else fail(error.message);
  } finally {
    clearInterval(clock);
    if (running === controller) running = null;
    const button = $("compute");
    if (button) { button.disabled = false; $("stop").hidden = true; }
  }
}

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = false;
}

async function write(response, prompt) {
  const added = el("span", { class: "new", id: "new-text" });
  $("output").replaceChildren(el("div", { class: "text" }, prompt, added));
  $("stop").hidden = false;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new Error(event.error);
      added.append(event.token.text);
      if (event.details) result = [{ generated_text: prompt + event.generated_text, details: event.details }];
    }
  }
  if (!added.textContent) added.append("(the model ended at once)");
}

// --- what comes back ------------------------------------------------------------------------------------------------

function bars(rows) {
  const most = Math.max(...rows.map((row) => row.score), 1e-9);
  return el("ul", { class: "bars" }, ...rows.map((row) => {
    const fill = el("div", { class: "fill" });
    fill.style.width = `${Math.max(0, 80 * row.score / most)}%`;
    return el("li", { class: "bar" }, el("span", { class: "name" }, row.label), el("span", { class: "number" }, row.score.toFixed(3)), fill);
  }));
}

const show = (...nodes) => $("output").replaceChildren(...nodes);

function tint(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return `tint-${hash % 8}`;
}

function entities(found, text) {
  // offsets count characters of Python, where one may be two of JavaScript's
  const letters = Array.from(text);
  const cut = (from, to) => letters.slice(from, to).join("");
  const sorted = found.slice().sort((a, b) => a.start - b.start || b.end - a.end);
  const part = (from, to, list) => {
    const nodes = [];
    let at = from;
    while (list.length && list[0].start < to) {
      const entity = list.shift();
      if (entity.start < at) continue;
      nodes.push(cut(at, entity.start));
      const name = entity.entity_group || entity.entity;
      nodes.push(el("mark", { class: tint(name), title: entity.score.toFixed(3) }, ...part(entity.start, entity.end, list), el("small", {}, name)));
      at = entity.end;
    }
    nodes.push(cut(at, to));
    return nodes;
  };
  const nodes = part(0, letters.length, sorted);
  return el("div", { class: "text" }, ...nodes);
}

function numbers(vectors) {
  const rows = Array.isArray(vectors[0]) ? vectors : [vectors];
  const most = Math.max(...rows.flat().map(Math.abs), 1e-9);
  const columns = Math.min(64, rows[0].length);
  const table = el("table", {}, ...rows.slice(0, 64).map((row, i) => el("tr", {}, el("th", { scope: "row" }, String(i)), ...row.slice(0, columns).map((x) => {
    const cell = el("td", {}, x.toFixed(3));
    const part = Math.abs(x) / most;
    cell.style.backgroundColor = x < 0 ? `rgba(220, 60, 50, ${0.75 * part})` : `rgba(30, 160, 80, ${0.75 * part})`;
    return cell;
  }))));
  const size = `${rows.length} × ${rows[0].length}` + (columns < rows[0].length ? `, the first ${columns} columns` : "");
  return [el("p", { class: "hint" }, size), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Vectors" }, table)];
}

const sentence = (key) => (answers) => show(el("div", { class: "text" }, ...answers.map((a) => el("p", {}, a[key]))));

const SHOW = {
  "fill-mask": (found) => {
    const lists = Array.isArray(found[0]) ? found : [found];
    show(...lists.map((list) => bars(list.map((f) => ({ label: f.token_str, score: f.score })))));
  },
  "text-classification": (found) => show(bars(found[0])),
  "zero-shot-classification": (found) => show(bars(found)),
  "token-classification": (found, values) => show(entities(found, values.text)),
  "question-answering": (found) => {
    const best = Array.isArray(found) ? found[0] : found;
    show(el("div", { class: "answer" }, el("span", {}, best.answer || "(no answer)"), el("span", { class: "mono" }, best.score.toFixed(3))));
  },
  "summarization": sentence("summary_text"),
  "translation": sentence("translation_text"),
  "text2text-generation": sentence("generated_text"),
  "feature-extraction": (found) => show(...numbers(Array.isArray(found[0]) && Array.isArray(found[0][0]) ? found[0] : found)),
};

// --- the same call elsewhere ----------------------------------------------------------------------------------------

const quoted = (text) => JSON.stringify(text);
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function snippet() {
  const values = read(), url = new URL(route(), document.baseURI).href, content = body(values, false);
  const [python, javascript] = CLIENT[task] || [null, null];
  const labels = content.parameters && content.parameters.candidate_labels;
  const secret = token ? ' \\\n  -H "Authorization: Bearer $MINITRANSFORMER_TOKEN"' : "";
  const texts = {
    curl: `curl ${url} \\\n  -H "Content-Type: application/json"${secret} \\\n  -d ${shell(JSON.stringify(content))}`,
    Python: python === null ? `import requests\n\nprint(requests.post(${quoted(url)}, json=${quoted(content)}).json())`
      : `from huggingface_hub import InferenceClient\n\nclient = InferenceClient(${quoted(url)}${token ? ", token=..." : ""})\n` + `print(client.${python}(${{
        "question-answering": `question=${quoted(values.text)}, context=${quoted(values.context || "")}`,
        "zero-shot-classification": `${quoted(values.text)}, ${quoted(labels)}${values.multi_label ? ", multi_label=True" : ""}`,
        "token-classification": `${quoted(values.text)}, aggregation_strategy="first"`,
        "text-generation": `${quoted(values.text)}, max_new_tokens=60`,
      }[task] || quoted(values.text)}))`,
    JavaScript: javascript === null ? `console.log(await (await fetch(${quoted(url)}, {\n  method: "POST",\n  headers: { "Content-Type": "application/json" },\n  body: JSON.stringify(${JSON.stringify(content)}),\n})).json());`
      : `import { InferenceClient } from "@huggingface/inference";\n\nconst client = new InferenceClient(${token ? "process.env.MINITRANSFORMER_TOKEN" : ""}).endpoint(${quoted(url)});\n` +
        `console.log(await client.${javascript}(${JSON.stringify(content, null, 2)}));`,
  };
  $("snippet").textContent = texts[language];
}

function languages() {
  const tabs = ["curl", "Python", "JavaScript"].map((name) => el("button", {
    type: "button", class: "plain", role: "tab", "aria-selected": String(name === language), "aria-controls": "snippet",
    tabindex: name === language ? "0" : "-1",
    onclick: () => { language = name; languages(); snippet(); },
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      language = ["curl", "Python", "JavaScript"][(["curl", "Python", "JavaScript"].indexOf(language) + step + 3) % 3];
      languages(); snippet();
      $("languages").querySelector("[aria-selected=true]").focus();
    },
  }, name));
  $("languages").replaceChildren(...tabs);
}

function toggle(button, target) {
  const open = $(target).hidden;
  $(target).hidden = !open;
  $(button).setAttribute("aria-expanded", String(open));
}

// --- the beginning --------------------------------------------------------------------------------------------------

async function start() {
  served = await (await fetch("page/models.json")).json();
  const own = new Set(served.models.map((m) => m.task));
  const tasks = Object.keys(NAMES).filter((name) => own.has(name) || (name === "feature-extraction" && modelsFor(name).length));
  $("tasks").replaceChildren(...tasks.map((name) => el("li", {}, el("button", { type: "button", "data-task": name, onclick: () => choose(name) }, NAMES[name]))));
  $("form").addEventListener("submit", (event) => { event.preventDefault(); compute(); });
  $("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); compute(); }
  });
  $("model").addEventListener("change", () => choose(task, $("model").value));
  $("examples").addEventListener("change", () => {
    const example = examplesFor()[$("examples").value];
    if (example) { clear(); fill(example); compute(); }
  });
  $("maximize").addEventListener("click", () => {
    const on = document.querySelector(".card").classList.toggle("maximized");
    $("maximize").setAttribute("aria-pressed", String(on));
    $("maximize").textContent = on ? "Minimize" : "Maximize";
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.querySelector(".maximized")) $("maximize").click();
  });
  $("show-json").addEventListener("click", () => toggle("show-json", "json"));
  $("show-code").addEventListener("click", () => toggle("show-code", "code"));
  $("copy").addEventListener("click", () => navigator.clipboard && navigator.clipboard.writeText($("snippet").textContent));
  languages();
  const query = Object.fromEntries(new URLSearchParams(location.search));
  const known = tasks.includes(query.task);
  choose(known ? query.task : served.models[0] && tasks.includes(served.models[0].task) && served.models.length === 1 ? served.models[0].task : tasks[0],
    query.model, query.text ? query : undefined);
}

start().catch((error) => fail(`The server does not answer: ${error.message}`));

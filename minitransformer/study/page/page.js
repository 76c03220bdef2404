"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const state = { text: 0, tab: 0, map: 0, head: 0, row: 0, column: 0, units: "tokens", word: 0, foil: -1 };
let bytes = new Uint8Array(0);

// ------------------------------------------------------------------------------------------------- small things

function make(tag, settings = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "role" && name !== "style") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const readable = (token) => String(token).replace(/^##/, "·").replace(/[▁Ġ]/g, " ").replace(/<\/w>$/, "").replace(/\n|Ċ/g, "⏎").trim() || "␣";
const facts = () => data.texts[state.text];
const say = (text) => { $("spoken").textContent = text; };
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const shade = (value) => `rgba(${variable(value < 0 ? "--down" : "--up")}, ${Math.min(1, Math.abs(value))})`;
const whole = (value) => Number(value).toLocaleString("en", { maximumFractionDigits: 4, minimumFractionDigits: 0 });

function tip(node, text) {
  const show = (event) => {
    const told = typeof text === "function" ? text(event) : text;
    $("tip").hidden = !told;
    $("tip").textContent = told || "";
    const box = $("tip").getBoundingClientRect();
    $("tip").style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 4)) + "px";
    $("tip").style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4)) + "px";
  };
  node.addEventListener("mousemove", show);
  node.addEventListener("mouseleave", () => { $("tip").hidden = true; });
}

// ---------------------------------------------------------------------------------------------------- the weights

async function unpack(text) {
  const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  if (!packed.length) return packed;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function names(side, units = state.units) {
  const tokens = facts().tokens[side].map(readable);
  if (units === "tokens") return tokens;
  const words = [];
  facts().words[side].forEach((word, i) => { words[word] = (words[word] || "") + tokens[i].replace(/^·/, ""); });
  return words;
}

// What one head's rows give to its columns: tokens as they are; of words the sum over keys, the mean over queries.
function weights(map, head, units = state.units) {
  const [, rows, columns] = map.shape;
  const from = map.at + head * rows * columns;
  const raw = bytes.subarray(from, from + rows * columns);
  if (units === "tokens") return { rows, columns, at: (i, j) => raw[i * columns + j] / 255 };
  const of = facts().words, R = of[map.rows], C = of[map.columns];
  const n = Math.max(...R) + 1, m = Math.max(...C) + 1;
  const sums = new Float64Array(n * m), counts = new Float64Array(n);
  R.forEach((word) => { counts[word] += 1; });
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) sums[R[i] * m + C[j]] += raw[i * columns + j] / 255 / counts[R[i]];
  return { rows: n, columns: m, at: (i, j) => sums[i * m + j] };
}

function paint(canvas, map, head) {
  const w = weights(map, head);
  canvas.width = w.columns;
  canvas.height = w.rows;
  const image = new ImageData(w.columns, w.rows);
  const [r, g, b] = variable("--up").split(",").map(Number);
  for (let i = 0; i < w.rows; i++) for (let j = 0; j < w.columns; j++) {
    const k = 4 * (i * w.columns + j);
    image.data[k] = r; image.data[k + 1] = g; image.data[k + 2] = b;
    image.data[k + 3] = Math.round(255 * w.at(i, j));
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// ------------------------------------------------------------------------------------------------------ attention

function attention(panel) {
  const maps = facts().maps;
  if (!maps.length) { panel.append(make("p", {}, "This model has no attention whose weights can be seen.")); return; }
  state.map = Math.min(state.map, maps.length - 1);
  const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    watch.unobserve(entry.target);
    paint(entry.target, maps[entry.target.dataset.map], Number(entry.target.dataset.head));
  }), { rootMargin: "200px" });
  const large = make("div", { id: "large" });
  panel.append(large, make("h2", {}, "All heads"), make("p", { className: "note" }, "A row is a token that asks, a column one that is asked; the darker the more. Choose a head to see it large."));
  const titles = { encoder: "Encoder: the source looks at itself", decoder: "Decoder: the target looks at its past", cross: "Cross: the target looks at the source", self: "The text looks at itself" };
  for (const kind of ["encoder", "cross", "decoder", "self"]) {
    const chosen = maps.map((map, i) => [map, i]).filter(([map]) => map.kind === kind);
    if (!chosen.length) continue;
    panel.append(make("h3", {}, titles[kind]));
    const grid = make("div", { className: "grid" });
    for (const [map, i] of chosen) for (let head = 0; head < map.shape[0]; head++) {
      const canvas = make("canvas", { width: 1, height: 1 });
      canvas.dataset.map = i;
      canvas.dataset.head = head;
      const label = `${map.name} head ${head}`;
      grid.append(make("button", { className: "head", type: "button", "aria-label": label, "aria-pressed": String(i === state.map && head === state.head),
        onclick: (event) => {
          Object.assign(state, { map: i, head, row: 0, column: 0 });
          panel.querySelectorAll(".head").forEach((one) => one.setAttribute("aria-pressed", String(one === event.currentTarget)));
          drawHead(large);
          say(`${label} is shown large`);
          large.scrollIntoView({ block: "nearest" });
        } }, canvas, `${map.name.match(/\d+/g)?.join(".") ?? i} · ${head}`));
      watch.observe(canvas);
    }
    panel.append(grid);
  }
  drawHead(large);
}

function drawHead(place) {
  const map = facts().maps[state.map];
  const w = weights(map, state.head), rows = names(map.rows), columns = names(map.columns);
  state.row = Math.min(state.row, w.rows - 1);
  state.column = Math.min(state.column, w.columns - 1);
  const cell = Math.max(7, Math.min(34, Math.floor(620 / Math.max(w.rows, w.columns))));
  const left = 96, top = 84, ratio = devicePixelRatio || 1;
  const width = left + cell * w.columns + 8, height = top + cell * w.rows + 8;
  const canvas = make("canvas", { width: width * ratio, height: height * ratio, tabIndex: 0, role: "img",
    "aria-label": `${map.name} head ${state.head}: ${w.rows} rows, ${w.columns} columns; arrow keys move from weight to weight` });
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const list = make("div", { className: "bars" });
  const told = (i, j) => `${rows[i]} → ${columns[j]}: ${whole(w.at(i, j))}`;
  const draw = () => {
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `${Math.min(12, cell + 2)}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    pen.fillStyle = variable("--fg");
    pen.textAlign = "right";
    const cut = (name) => name.length > 13 ? name.slice(0, 12) + "…" : name;
    for (let i = 0; i < w.rows; i++) pen.fillText(cut(rows[i]), left - 5, top + cell * (i + 0.5));
    pen.textAlign = "left";
    for (let j = 0; j < w.columns; j++) {
      pen.save();
      pen.translate(left + cell * (j + 0.5), top - 5);
      pen.rotate(-Math.PI / 2);
      pen.fillText(cut(columns[j]), 0, 0);
      pen.restore();
    }
    for (let i = 0; i < w.rows; i++) for (let j = 0; j < w.columns; j++) {
      pen.fillStyle = shade(w.at(i, j));
      pen.fillRect(left + cell * j, top + cell * i, cell, cell);
    }
    pen.strokeStyle = variable("--line");
    pen.strokeRect(left - 0.5, top - 0.5, cell * w.columns + 1, cell * w.rows + 1);
    pen.strokeStyle = variable("--mark");
    pen.strokeRect(left + cell * state.column + 0.5, top + cell * state.row + 0.5, cell - 1, cell - 1);
    bars(list, columns.map((name, j) => [name, w.at(state.row, j)]).sort((a, b) => b[1] - a[1]).slice(0, 8), 1);
    $("of").textContent = `What “${rows[state.row]}” looks at`;
  };
  const find = (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - left) / cell), i = Math.floor((event.clientY - box.top - top) / cell);
    return i >= 0 && j >= 0 && i < w.rows && j < w.columns ? [i, j] : null;
  };
  tip(canvas, (event) => { const found = find(event); return found && told(...found); });
  canvas.addEventListener("click", (event) => {
    const found = find(event);
    if (found) { [state.row, state.column] = found; draw(); say(told(...found)); }
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    state.row = Math.max(0, Math.min(w.rows - 1, state.row + step[0]));
    state.column = Math.max(0, Math.min(w.columns - 1, state.column + step[1]));
    draw();
    say(told(state.row, state.column));
  });
  canvas.addEventListener("mouseenter", () => explain("pattern", map));
  canvas.addEventListener("focus", () => explain("pattern", map));
  place.replaceChildren(make("h2", {}, `${map.name} · head ${state.head}`), make("div", { className: "scroll" }, canvas), make("h3", { id: "of" }), list);
  draw();
}

function bars(place, pairs, limit) {
  const most = limit || Math.max(1e-12, ...pairs.map(([, value]) => Math.abs(value)));
  const signed = pairs.some(([, value]) => value < 0);
  place.replaceChildren(...pairs.flatMap(([name, value]) => {
    const bar = make("i");
    const share = 100 * Math.min(1, Math.abs(value) / most) / (signed ? 2 : 1);
    bar.style.width = share + "%";
    bar.style.left = (signed ? (value < 0 ? 50 - share : 50) : 0) + "%";
    bar.style.background = `rgb(${variable(value < 0 ? "--down" : "--up")})`;
    return [make("span", { className: "name" }, name), make("span", { className: "track" }, bar), make("span", {}, whole(value))];
  }));
}

// --------------------------------------------------------------------------------------------------------- stream

function field(rowNames, columnNames, value, text, told, onfocus) {
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...columnNames.map((name) => make("th", { scope: "col" }, name)))));
  const body = make("tbody");
  rowNames.forEach((name, i) => {
    const row = make("tr", {}, make("th", { scope: "row" }, name));
    columnNames.forEach((_, j) => {
      const cell = make("td", {}, text(i, j));
      cell.style.background = shade(value(i, j) * 0.6);
      tip(cell, () => told(i, j));
      row.append(cell);
    });
    body.append(row);
  });
  table.append(body);
  table.addEventListener("mouseenter", onfocus);
  return make("div", { className: "scroll", tabIndex: 0, onfocus }, table);
}

function stream(panel) {
  if (facts().lens) {
    const side = Object.keys(facts().tokens).at(-1), lens = facts().lens;
    const columns = lens[0].length === 1 && facts().tokens[side].length > 1 ? ["answer"] : names(side, "tokens");
    panel.append(make("h2", {}, "What the head would say at each layer"), make("p", { className: "note" }, "The logit lens: the head reads the stream behind each block. Darker: surer. The last row is the model’s answer."));
    panel.append(field(lens.map((_, i) => (i ? `behind block ${i - 1}` : "embeddings")), columns, (i, j) => lens[i][j][1], (i, j) => readable(lens[i][j][0]),
      (i, j) => `${columns[j]}, ${i ? "behind block " + (i - 1) : "embeddings"}: “${readable(lens[i][j][0])}” with ${whole(lens[i][j][1])}`, () => explain("lens")));
  }
  for (const [name, one] of Object.entries(facts().streams)) {
    const most = Math.max(...one.lengths.flat()), columns = names(one.side, "tokens");
    panel.append(make("h2", {}, `Length of the residual stream: ${name}`));
    panel.append(field(one.lengths.map((_, i) => (i ? `behind block ${i - 1}` : "embeddings")), columns, (i, j) => one.lengths[i][j] / most, (i, j) => one.lengths[i][j].toPrecision(3),
      (i, j) => `${columns[j]}: ${whole(one.lengths[i][j])}`, () => explain("stream")));
  }
}

// ---------------------------------------------------------------------------------------------------- attribution

function attribution(panel) {
  const told = facts().outputs;
  if (!told || !told.words.length) { panel.append(make("p", {}, "This model has no head, so it writes no word whose making could be shown.")); return; }
  state.word = Math.min(state.word, told.words.length - 1);
  const side = Object.keys(facts().tokens).at(-1), tokens = names(side, "tokens");
  const label = (one) => (one.position < 0 ? readable(one.class) : `${one.position} “${tokens[one.position]}” → ${readable(one.class)}`) + `  (${whole(one.logit)})`;
  const choose = make("select", { id: "word", onchange: (event) => { state.word = Number(event.target.value); state.foil = -1; show(); } },
    ...told.words.map((one, i) => make("option", { value: i }, label(one))));
  choose.value = state.word;
  const body = make("div");
  panel.append(make("h2", {}, "What wrote this word?"), make("div", { className: "bar" }, make("label", {}, "Output ", choose), make("label", {}, "less ", make("select", { id: "foil", onchange: (event) => { state.foil = Number(event.target.value); rest(); } }))), body);
  const rest = () => {
    const one = told.words[state.word], foil = told.words[state.foil];
    const parts = told.parts.map((name, i) => [name, one.parts[i] - (foil ? foil.parts[i] : 0)]);
    const sum = parts.reduce((total, [, value]) => total + value, 0);
    const largest = parts.slice().sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])), kept = largest.slice(0, 24);
    const others = largest.slice(24).reduce((total, [, value]) => total + value, 0);
    const list = make("div", { className: "bars", tabIndex: 0, onmouseenter: () => explain("parts"), onfocus: () => explain("parts") });
    bars(list, others ? [...kept, [`${largest.length - 24} others together`, others]] : kept);
    const nodes = [make("p", { className: "note" }, `${parts.length} parts add up to ${whole(sum)}; the largest first.`), list];
    for (const [name, values] of Object.entries(one.inputs || {})) {
      const moved = values.map((value, j) => value - (foil?.inputs ? foil.inputs[name][j] : 0)), most = Math.max(1e-12, ...moved.map(Math.abs));
      const row = make("div", { className: "tokens" });
      names(name, "tokens").forEach((token, j) => {
        const span = make("span", { tabIndex: -1 }, token);
        span.style.background = shade((moved[j] / most) * 0.75);
        tip(span, () => `${token}: ${whole(moved[j])}`);
        row.append(span);
      });
      nodes.push(make("h3", {}, `Input × gradient, ${name} (blue for, red against)`), row);
    }
    body.replaceChildren(...nodes);
  };
  const show = () => {
    const one = told.words[state.word];
    const others = told.words.map((other, i) => [other, i]).filter(([other, i]) => i !== state.word && other.position === one.position);
    $("foil").replaceChildren(make("option", { value: -1 }, "nothing"), ...others.map(([other, i]) => make("option", { value: i }, readable(other.class))));
    rest();
  };
  show();
}

// ----------------------------------------------------------------------------------------------------- comparison

function comparison(panel) {
  const told = data.comparison;
  panel.append(make("h2", {}, "Two texts"));
  data.texts.forEach((one, i) => {
    const side = Object.keys(one.tokens)[0], other = data.texts[1 - i].tokens[side];
    const row = make("div", { className: "tokens" });
    one.tokens[side].forEach((token, j) => {
      const span = make("span", {}, readable(token));
      if (other[j] !== token) span.style.borderColor = variable("--mark");
      row.append(span);
    });
    panel.append(make("h3", {}, `${i ? "Second" : "First"} text`), row);
  });
  if (told.why_not) { panel.append(make("p", { className: "note" }, told.why_not)); return; }
  panel.append(make("p", {}, `${told.metric.replace(/[▁Ġ]/g, "")}: ${whole(told.first)} for the first, ${whole(told.second)} for the second.`),
    make("p", { className: "note" }, "The second text’s run gets the first one’s value at one place. 1: the whole answer comes with it; 0: nothing; below 0: the other way."));
  for (const sweep of told.sweeps) {
    const side = sweep.rows[0]?.startsWith("decoder") && data.texts[0].tokens.target ? "target" : Object.keys(data.texts[0].tokens)[0];
    const count = sweep.values[0]?.length || 0, tokens = data.texts[0].tokens[side].map(readable);
    const columns = sweep.axis === "head" ? [...Array(count).keys()].map((i) => `head ${i}`) : tokens.slice(0, count);
    panel.append(make("h3", {}, sweep.axis === "head" ? `By head: ${sweep.what}` : `By layer and token: ${sweep.what}, ${side}`));
    panel.append(field(sweep.rows, columns, (i, j) => sweep.values[i][j], (i, j) => (sweep.values[i][j] + 0).toFixed(2).replace("-0.00", "0.00"),
      (i, j) => `${sweep.rows[i]}, ${columns[j]}: ${whole(sweep.values[i][j])}`, () => explain("patch")));
  }
}

// ------------------------------------------------------------------------------------------------------ explained

function explain(name, map) {
  const told = data.explained[name];
  if (!told || $("explained").dataset.name === name + (map?.name || "")) return;
  $("explained").dataset.name = name + (map?.name || "");
  const shape = map ? `${told.shape}: 1, ${map.shape.join(", ")}` : told.shape;
  const nodes = [make("h2", {}, "How it is computed"), make("code", { className: "formula" }, told.formula), make("p", { className: "note" }, `Shape (${shape})`)];
  if (told.code) {
    const code = make("pre");
    told.code.split("\n").forEach((line, i) => code.append(i === told.line ? make("b", {}, line) : line, "\n"));
    nodes.push(make("p", { className: "note" }, told.place), code);
  }
  $("explained").replaceChildren(...nodes);
}

// --------------------------------------------------------------------------------------------------------- frame

const tabs = [["Attention", attention, "pattern"], ["Residual stream", stream, "lens"], ["What wrote the word", attribution, "parts"]];
if (data.comparison) tabs.push(["Two texts", comparison, "patch"]);

function show() {
  const panel = $("panel");
  panel.replaceChildren();
  panel.setAttribute("aria-label", tabs[state.tab][0]);
  [...$("tabs").children].forEach((tab, i) => {
    tab.setAttribute("aria-selected", String(i === state.tab));
    tab.tabIndex = i === state.tab ? 0 : -1;
  });
  $("units").parentElement.hidden = state.tab !== 0;
  $("text").parentElement.hidden = data.texts.length < 2 || tabs[state.tab][1] === comparison;
  explain(tabs[state.tab][2]);
  tabs[state.tab][1](panel);
}

function start() {
  const { model } = data;
  $("title").textContent = model.class;
  $("about").textContent = `${model.type}, ${model.parameters} parameters. “${facts().text}”`;
  data.texts.forEach((one, i) => $("text").append(make("option", { value: i }, `${i + 1}: ${one.text.slice(0, 40)}`)));
  $("text").addEventListener("change", (event) => { state.text = Number(event.target.value); show(); });
  $("units").addEventListener("change", (event) => { state.units = event.target.value; show(); });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => { document.documentElement.dataset.theme = name; show(); };
  tabs.forEach(([name], i) => $("tabs").append(make("button", { role: "tab", type: "button", "aria-controls": "panel", onclick: () => { state.tab = i; show(); } }, name)));
  $("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    state.tab = (state.tab + step + tabs.length) % tabs.length;
    show();
    $("tabs").children[state.tab].focus();
  });
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  const wanted = location.hash.match(/tab=(\d)/);
  if (wanted) state.tab = Math.min(tabs.length - 1, Number(wanted[1]));
  theme(dark.matches ? "dark" : "light");
  document.body.dataset.drawn = "yes";
}

unpack($("weights").textContent).then((unpacked) => { bytes = unpacked; start(); });

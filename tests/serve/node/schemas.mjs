// Checks answers against @huggingface/tasks: {cases, root} as JSON on standard input; prints what does not fit.
import { readFileSync } from "node:fs";
const { cases, root } = JSON.parse(readFileSync(0));
// as much of JSON Schema (draft 6) as these files use
const load = (name) => JSON.parse(readFileSync(`${root}/${name}`));
const common = load("common-definitions.json");
function check(value, schema, doc, path) {
  if (schema.nullable && value === null) return [];
  if (schema.$ref) {
    const [file, pointer] = schema.$ref.split("#");
    const from = file ? common : doc;
    return check(value, pointer.split("/").slice(1).reduce((node, key) => node[key], from), from, path);
  }
  if (schema.allOf) return schema.allOf.flatMap((each) => check(value, each, doc, path));
  const bad = (why) => [`${path}: ${why}`];
  const kind = Array.isArray(value) ? "array" : value === null ? "null" : typeof value === "object" ? "object" : typeof value;
  if (schema.enum && !schema.enum.includes(value)) return bad(`${value} is none of ${schema.enum}`);
  if (schema.type === "integer" ? !Number.isInteger(value) : schema.type && schema.type !== kind) return bad(`${kind}, not ${schema.type}`);
  if (schema.minimum !== undefined && value < schema.minimum) return bad("too small");
  let found = [];
  if (kind === "array" && schema.items) found = value.flatMap((each, i) => check(each, schema.items, doc, `${path}[${i}]`));
  if (kind === "object") {
    for (const name of schema.required || []) if (!(name in value)) found.push(`${path}: no ${name}`);
    for (const [name, inner] of Object.entries(schema.properties || {})) if (name in value) found.push(...check(value[name], inner, doc, `${path}.${name}`));
  }
  return found;
}
const problems = [];
for (const [task, value, name] of cases) {
  const doc = load(`${task}/spec/${name || "output.json"}`);
  if (task === "fill-mask") doc.items.required = doc.items.required.map((each) => each === "tokenStr" ? "token_str" : each); // its own slip
  problems.push(...check(value, doc, doc, task));
}
console.log(JSON.stringify(problems));

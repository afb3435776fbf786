// A small viewer of the API's own OpenAPI document: reads, explains, tries operations. No dependency, no network.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
let spec = null;
let token = null;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function resolve(value) {
  let found = value;
  for (let hops = 0; found && found.$ref && hops < 20; hops += 1) {
    found = found.$ref.slice(2).split("/").reduce((node, key) => node[key.replace(/~1/g, "/").replace(/~0/g, "~")], spec);
  }
  return found || {};
}

// An example body: required members first, a plain value for each type.
function example(schema, depth = 0) {
  const found = resolve(schema);
  if (depth > 6) return null;
  if (found.default !== undefined) return found.default;
  if (found.enum) return found.enum[0];
  if (found.const !== undefined) return found.const;
  const type = Array.isArray(found.type) ? found.type[0] : found.type;
  if (type === "object" || found.properties) {
    const body = {};
    for (const name of found.required || []) body[name] = example((found.properties || {})[name], depth + 1);
    return body;
  }
  if (type === "array") return found.minItems ? [example(found.items, depth + 1)] : [];
  return { integer: found.minimum || 1, number: 1, boolean: false, null: null }[type] ?? (type === "string" ? "" : {});
}

function parameterRows(parameters) {
  return parameters.map((parameter) => {
    const schema = resolve(parameter.schema);
    const input = make("input", { name: parameter.name, "data-in": parameter.in, placeholder: schema.type || "" });
    const label = parameter.name + (parameter.required ? " *" : "");
    return make("tr", {}, make("td", {}, label), make("td", {}, parameter.in), make("td", {}, input),
      make("td", { class: "brief" }, parameter.description || schema.description || ""));
  });
}

function responseRows(responses) {
  return Object.entries(responses).map(([status, response]) =>
    make("tr", {}, make("td", {}, status), make("td", {}, resolve(response).description || "")));
}

async function send(method, path, panel, body) {
  let url = path;
  const query = new URLSearchParams();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  for (const input of panel.querySelectorAll("input[data-in]")) {
    const place = input.dataset.in;
    if (place === "path") url = url.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value && place === "query") query.set(input.name, input.value);
    else if (input.value && place === "header") headers[input.name] = input.value;
  }
  if (body !== null) headers["Content-Type"] = "application/json";
  const asked = query.size ? `${url}?${query}` : url;
  const answer = await fetch(asked, { method: method.toUpperCase(), headers, body });
  const text = await answer.text();
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it came */ }
  const kept = ["etag", "location", "x-request-id", "retry-after"].filter((name) => answer.headers.has(name));
  const lines = kept.map((name) => `${name}: ${answer.headers.get(name)}`);
  return [`${method.toUpperCase()} ${asked}`, `${answer.status} ${answer.statusText}`, ...lines, "", shown].join("\n");
}

function operationPanel(method, path, operation, shared) {
  const parameters = [...shared, ...(operation.parameters || [])].map(resolve);
  const content = resolve(operation.requestBody).content || {};
  const schema = (content["application/json"] || {}).schema;
  const panel = make("div", {});
  if (operation.description) panel.append(make("p", {}, operation.description));
  if (parameters.length) panel.append(make("table", {}, ...parameterRows(parameters)));
  let body = null;
  if (schema) {
    body = make("textarea", { rows: 8, spellcheck: "false", "aria-label": "request body" });
    body.value = JSON.stringify(example(schema), null, 2);
    const full = make("details", {}, make("summary", {}, "body schema"), make("pre", {}, JSON.stringify(resolve(schema), null, 2)));
    panel.append(body, full);
  }
  const output = make("pre", { hidden: "" });
  const button = make("button", { type: "button" }, "Send");
  button.addEventListener("click", async () => {
    output.hidden = false;
    output.textContent = "…";
    try {
      output.textContent = await send(method, path, panel, body && body.value.trim() ? body.value : null);
    } catch (error) {
      output.textContent = `no answer: ${error.message}`;
    }
  });
  const statuses = make("details", {}, make("summary", {}, "statuses"), make("div", {}, make("table", {}, ...responseRows(operation.responses))));
  panel.append(button, output, statuses);
  return panel;
}

function operationNode(method, path, operation, shared) {
  const node = make("details", {}, make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("span", { class: "path" }, path), make("span", { class: "brief" }, operation.summary || "")));
  node.addEventListener("toggle", () => {
    if (node.open && node.children.length === 1) node.append(operationPanel(method, path, operation, shared));
  });
  return node;
}

function show() {
  document.getElementById("about").textContent = `${spec.info.description} OpenAPI ${spec.openapi}, version ${spec.info.version}.`;
  const sections = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!sections.has(tag)) sections.set(tag, make("section", {}, make("h2", {}, tag)));
      sections.get(tag).append(operationNode(method, path, item[method], item.parameters || []));
    }
  }
  document.getElementById("operations").replaceChildren(...sections.values());
}

document.getElementById("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = document.getElementById("who");
  const body = JSON.stringify(Object.fromEntries(new FormData(event.target)));
  const answer = await fetch("auth/token", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const document_ = await answer.json();
  token = answer.ok ? document_.access_token : null;
  who.textContent = answer.ok ? "signed in" : document_.detail;
});

fetch("openapi.json").then((answer) => answer.json()).then((found) => { spec = found; show(); });

// The addresses of the server as a page, made from its OpenAPI description.

import * as api from "./api.js";
import { askForToken } from "./ask.js";
import { element, find } from "./format.js";

// Descriptions are text, in which code stands between backquotes.
function prose(text) {
  return (text ?? "").split("`").map((part, k) => (k % 2 ? element("code", { textContent: part }) : part));
}

function table(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, text]) =>
    element("tr", {}, element("td", {}, element("code", { textContent: name })), element("td", {}, ...prose(text))))));
}

function parameter({ name, in: place, description, schema }) {
  const assumed = schema?.default === undefined ? "" : ` (${schema.default})`;
  return [`${name}${place === "query" ? assumed : ""}`, description];
}

function address(path, method, operation) {
  const parts = [
    element("h2", {}, element("b", { textContent: method.toUpperCase() }), path),
    element("p", {}, ...prose(`${operation.summary}.`)),
  ];
  if (operation.description) parts.push(element("p", { className: "note" }, ...prose(operation.description)));
  for (const { source } of operation["x-codeSamples"] ?? []) {
    const here = new URL(".", location).href.replace(/\/$/, "");
    parts.push(element("pre", { textContent: source.replaceAll("$ADDRESS", here), tabIndex: 0 }));
  }
  if (operation.parameters?.length) parts.push(table(operation.parameters.map(parameter)));
  const answers = Object.entries(operation.responses).map(([code, { description }]) => [code, description]);
  parts.push(element("details", {}, element("summary", { textContent: "Answers" }), table(answers)));
  return element("section", { className: "address" }, ...parts);
}

async function start() {
  await api.enter(askForToken);
  const { info, paths } = await api.get("openapi.json");
  find("about").textContent = info.description;
  find("addresses").replaceChildren(...Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => address(path, method, operation))));
}

start().catch((error) => {
  find("about").textContent = `The server does not answer: ${error.message}`;
});

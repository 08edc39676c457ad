/** Makes elements: attributes by name, listeners by `onclick`, children as nodes or text. */

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Makes a table whose first column names the rows; `label` names its cells on a phone. */
export function table(caption, headings, rows, className = "") {
  const head = headings.map((heading) => element("th", { scope: "col" }, heading));
  const body = rows.map((cells) =>
    element(
      "tr",
      {},
      cells.map((cell, at) =>
        at
          ? element("td", { "data-label": headings[at] }, cell)
          : element("th", { scope: "row" }, cell),
      ),
    ),
  );
  return element(
    "table",
    { class: className },
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, body),
  );
}

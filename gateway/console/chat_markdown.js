/** Shows the Markdown that models write: a small, safe part of it, without HTML and images. */

import { externalLink, h } from "./chat_dom.js";

const MAX_DEPTH = 8; // of lists in quotes in lists …: beyond, markup stays text

const MAX_EMPHASIS = 2000; // characters: or asterisks without end would be compared with each other

/** Around the number of a citation in a text; where the model writes them itself they are lost. */
const MARK = "\uF8F0";
const MARK_END = "\uF8F1";
const ANY_MARK = /[\uF8F0\uF8F1]/g;

/** What each block that is shown was made of, so that one that has not changed stays. */
const sources = new WeakMap();

/**
 * Shows a text in an element, and changes only what is different from what is there: a text that
 * grows is drawn at its end alone, and what somebody has selected in it stays selected.
 *
 * @param {HTMLElement} container
 * @param {string} text
 * @param {{ at: number, number: number }[]} citations in their order; `at` counts code points
 * @param {(number: number) => Node} cite makes the mark of a source
 */
export function showMarkdown(
  container,
  text,
  citations = [],
  cite = () => document.createTextNode(""),
) {
  const blocks = blocksOf(marked(text, citations).split(/\r\n?|\n/));
  blocks.forEach((block, index) => {
    const source = `${block.kind}\n${block.lines.join("\n")}`;
    const shown = container.children[index];
    if (shown && sources.get(shown) === source) return;
    const made = DRAW[block.kind](block.lines, cite, 0);
    sources.set(made, source);
    if (shown) shown.replaceWith(made);
    else container.append(made);
  });
  while (container.children.length > blocks.length) container.lastElementChild.remove();
}

/** Returns a text with the numbers of its citations in their places. */
function marked(text, citations) {
  const plain = text.replace(ANY_MARK, "\uFFFD");
  if (!citations.length) return plain;
  const characters = Array.from(plain);
  let from = 0;
  let result = "";
  for (const { at, number } of citations) {
    result += characters.slice(from, at).join("") + MARK + number + MARK_END;
    from = Math.max(from, at);
  }
  return result + characters.slice(from).join("");
}

// --- blocks ---

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+)(.*)$/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_RULE = /^[\s|:-]*-[\s|:-]*$/;

function blocksOf(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const kind = kindAt(lines, at);
    let end = at + 1;
    while (end < lines.length && GOES_ON[kind](lines, at, end)) end += 1;
    blocks.push({ kind, lines: lines.slice(at, end) });
    at = end;
  }
  return blocks;
}

function kindAt(lines, at) {
  const line = lines[at];
  if (FENCE.test(line)) return "code";
  if (HEADING.test(line)) return "heading";
  if (isRule(line)) return "rule";
  if (QUOTE.test(line)) return "quote";
  if (ITEM.test(line)) return "list";
  if (isTable(lines, at)) return "table";
  return "paragraph";
}

/** By kind: whether the line at `end` belongs to the block that begins at `at`. */
const GOES_ON = {
  code: (lines, at, end) => end === at + 1 || !closes(lines[at], lines[end - 1]),
  heading: () => false,
  rule: () => false,
  quote: (lines, at, end) => QUOTE.test(lines[end]),
  table: (lines, at, end) => lines[end].includes("|"),
  paragraph: (lines, at, end) => !isBlank(lines[end]) && kindAt(lines, end) === "paragraph",
  list(lines, at, end) {
    const line = lines[isBlank(lines[end]) ? end + 1 : end] ?? "";
    if (isBlank(line) || isRule(line)) return false;
    const isNested = indentOf(line) > indentOf(lines[at]);
    if (ITEM.test(line)) return isNested || isOrdered(line) === isOrdered(lines[at]);
    if (isNested) return true;
    return !isBlank(lines[end]) && !isBlank(lines[end - 1]) && kindAt(lines, end) === "paragraph";
  },
};

function closes(opening, line) {
  const fence = FENCE.exec(opening)[1];
  const text = line.trim();
  return text.startsWith(fence) && !text.replaceAll(fence[0], "");
}

function isBlank(line) {
  return !line.trim();
}

function isRule(line) {
  return /^([-*_])\1{2,}$/.test(line.replace(/\s/g, ""));
}

function isTable(lines, at) {
  const next = lines[at + 1];
  return lines[at].includes("|") && Boolean(next?.includes("|")) && TABLE_RULE.test(next);
}

function isOrdered(line) {
  return /^\s*\d/.test(line);
}

function indentOf(line) {
  return line.search(/\S|$/);
}

const DRAW = {
  paragraph: (lines, cite, depth) => h("p", {}, inline(lines.join("\n").trim(), cite, depth)),
  rule: () => h("hr"),

  heading(lines, cite, depth) {
    const [, signs, text] = HEADING.exec(lines[0]);
    // The page has its own headings above: an answer's begin below them.
    const level = Math.min(6, signs.length + 2);
    return h(`h${level}`, {}, inline(text.replace(/\s+#+\s*$/, ""), cite, depth));
  },

  code(lines) {
    const language = FENCE.exec(lines[0])[2];
    const isClosed = lines.length > 1 && closes(lines[0], lines.at(-1));
    const text = lines.slice(1, isClosed ? -1 : undefined).join("\n");
    // Can be scrolled, so it must be reached by the keyboard.
    return h(
      "pre",
      { tabIndex: 0, "data-language": language || null },
      h("code", {}, unmarked(text)),
    );
  },

  quote: (lines, cite, depth) =>
    h(
      "blockquote",
      {},
      drawn(
        lines.map((line) => line.replace(QUOTE, "")),
        cite,
        depth + 1,
      ),
    ),

  list(lines, cite, depth) {
    const items = [];
    const indent = indentOf(lines[0]);
    for (const line of lines) {
      const item = indentOf(line) <= indent + 1 ? ITEM.exec(line) : null;
      if (item) items.push([item[4]]);
      else items.at(-1).push(line.slice(Math.min(indentOf(line), indent + 2)));
    }
    const start = isOrdered(lines[0]) ? parseInt(lines[0].trim(), 10) : null;
    const children = items.map((item) => h("li", {}, itemContent(item, cite, depth + 1)));
    return start === null ? h("ul", {}, children) : h("ol", { start }, children);
  },

  table(lines, cite, depth) {
    const [head, rule, ...rows] = lines;
    const sides = cellsOf(rule).map(
      (cell) => SIDES[`${cell.startsWith(":")},${cell.endsWith(":")}`],
    );
    const row = (line, name) =>
      h(
        "tr",
        {},
        cellsOf(line).map((text, index) =>
          h(name, { "data-align": sides[index] }, inline(text, cite, depth + 1)),
        ),
      );
    const body = rows.map((line) => row(line, "td"));
    const table = h("table", {}, h("thead", {}, row(head, "th")), h("tbody", {}, body));
    return h("div.table", { tabIndex: 0 }, table);
  },
};

/** By the colons of a table's rule, at the start and at the end. */
const SIDES = { "true,true": "center", "false,true": "end" };

function drawn(lines, cite, depth) {
  if (depth > MAX_DEPTH) return [h("p", {}, unmarked(lines.join("\n")))];
  return blocksOf(lines).map((block) => DRAW[block.kind](block.lines, cite, depth));
}

/** A first line that is nothing but text needs no paragraph of its own. */
function itemContent(lines, cite, depth) {
  const [first, ...rest] = drawn(lines, cite, depth);
  if (first?.localName !== "p") return first ? [first, ...rest] : [];
  return [...first.childNodes, ...rest];
}

function cellsOf(line) {
  return line
    .trim()
    .replace(/^\|/, "")
    .replace(/\|$/, "")
    .split("|")
    .map((cell) => cell.trim());
}

function unmarked(text) {
  return text.replace(/\uF8F0\d*\uF8F1/g, "");
}

// --- in a line ---

const LINK =
  /\[((?:[^[\]\\]|\\.){0,1000})\]\(\s*<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500})?)>?(?:\s+"[^"]{0,500}")?\s*\)/y;
const URL_IN_TEXT = /https?:\/\/[^\s<>()[\]"'`\uF8F0]{1,2000}/y;
const CITATION = /\uF8F0(\d{1,6})\uF8F1/y;

/** Returns the nodes of a text, in which markup that is not closed stays text. */
function inline(text, cite, depth) {
  const nodes = [];
  let plain = "";
  let at = 0;
  while (at < text.length) {
    const found = SPANS[text[at]]?.(text, at, cite, depth);
    if (!found) {
      plain += text[at];
      at += 1;
      continue;
    }
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(...found.nodes);
    at = found.end;
  }
  return plain ? [...nodes, plain] : nodes;
}

/** By its first character: what may begin there, null where nothing does. */
const SPANS = {
  "\n": (text, at) => ({ nodes: [h("br")], end: at + 1 }),
  "\\": (text, at) =>
    /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? { nodes: [text[at + 1]], end: at + 2 } : null,
  "`": code,
  "*": emphasis,
  _: emphasis,
  "~": emphasis,
  "!": (text, at, cite, depth) => (text[at + 1] === "[" ? link(text, at + 1, cite, depth) : null),
  "[": link,
  h: bareLink,
  [MARK]: citation,
};

const EMPHASIS = { "***": "strong", "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };

function code(text, at) {
  const fence = /`+/y;
  fence.lastIndex = at;
  const ticks = fence.exec(text)[0];
  const start = at + ticks.length;
  const close = text.indexOf(ticks, start);
  if (close < 0) return { nodes: [ticks], end: start };
  return {
    nodes: [h("code", {}, unmarked(text.slice(start, close)).trim())],
    end: close + ticks.length,
  };
}

function emphasis(text, at, cite, depth) {
  const sign = text[at];
  let end = at;
  while (text[end] === sign) end += 1;
  const signs = text.slice(at, end);
  const close = closing(text, signs, end);
  if (!EMPHASIS[signs] || depth > MAX_DEPTH || close < 0) return { nodes: [signs], end };
  const content = inline(text.slice(end, close), cite, depth + 1);
  const inner = signs === "***" ? [h("em", {}, content)] : content;
  return { nodes: [h(EMPHASIS[signs], {}, inner)], end: close + signs.length };
}

/** Returns where an emphasis ends, -1 where it does not: `a * b` and `snake_case` are none. */
function closing(text, signs, start) {
  const isWord = (character) => /[\p{L}\p{N}]/u.test(character ?? "");
  const before = text[start - signs.length - 1];
  if (/^\s?$/.test(text[start] ?? "") || (signs[0] === "_" && isWord(before))) return -1;
  let close = text.indexOf(signs, start);
  while (close >= 0 && close - start < MAX_EMPHASIS) {
    const after = text[close + signs.length];
    const isLonger = after === signs[0] || text[close - 1] === signs[0];
    const isWithin = signs[0] === "_" && isWord(after);
    if (!isLonger && !isWithin && !/\s/.test(text[close - 1])) return close;
    while (text[close] === signs[0]) close += 1;
    close = text.indexOf(signs, close);
  }
  return -1;
}

function link(text, at, cite, depth) {
  LINK.lastIndex = at;
  const found = LINK.exec(text);
  if (!found || depth > MAX_DEPTH) return null;
  const [whole, label, url] = found;
  const content = inline(label.replaceAll("\n", " ") || url, cite, MAX_DEPTH); // no links in links
  const made = externalLink(url, "a", content);
  return { nodes: made ? [made] : content, end: at + whole.length };
}

function bareLink(text, at, cite, depth) {
  URL_IN_TEXT.lastIndex = at;
  const found =
    depth < MAX_DEPTH && !/[\p{L}\p{N}]/u.test(text[at - 1] ?? "") && URL_IN_TEXT.exec(text);
  if (!found) return null;
  const url = found[0].replace(/[.,;:!?*_~]+$/, "");
  const made = externalLink(url, "a", url);
  return made && { nodes: [made], end: at + url.length };
}

function citation(text, at, cite) {
  CITATION.lastIndex = at;
  const found = CITATION.exec(text);
  return found && { nodes: [cite(Number(found[1]))], end: at + found[0].length };
}

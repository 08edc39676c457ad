/** Draws the items of a conversation: messages, tools at work, sources, attachments. */

import { externalLink, h, iconButton, iconOf } from "./chat_dom.js";
import { showMarkdown } from "./chat_markdown.js";

/**
 * Draws `item`, into what was drawn of it before where that can grow. Returns null for what is not
 * to be seen. `shown.texts` are the texts; `copy(item)` and `rate(item, kind)` answer its buttons.
 */
export function drawItem(item, before, shown, isGrowing) {
  const node = DRAW[item.type]?.(item, before, shown, isGrowing) ?? null;
  if (!node) return null;
  node.dataset.id = item.id;
  node.classList.toggle("growing", isGrowing);
  return node;
}

/** Returns what a message says, as plain text. */
export function textOf(item) {
  return item.content.map(({ text }) => text).join("\n\n");
}

const DRAW = {
  user_message: (item, before, { texts }) =>
    h(
      "article.item.user",
      { "aria-label": texts.you },
      item.attachments?.length
        ? h("ul.files", { "aria-label": texts.attached }, item.attachments.map(attachment))
        : null,
      textOf(item) ? h("div.bubble", {}, textOf(item)) : null,
    ),

  assistant_message(item, before, shown, isGrowing) {
    const node = before ?? messageFrame(shown.texts);
    const [, body] = node.children;
    const sources = sourcesOf(item);
    const cite = (number) => mark(number, sources.list[number - 1], shown.texts);
    item.content.forEach((part, index) => {
      const place = body.children[index] ?? body.appendChild(h("div.markdown"));
      showMarkdown(place, part.text, sources.citations[index], cite);
    });
    while (node.children.length > 2) node.lastElementChild.remove();
    if (sources.list.length) node.append(sourceList(sources.list, shown.texts));
    if (!isGrowing && textOf(item).trim()) node.append(actions(item, shown));
    return node;
  },

  workflow(item, before, { texts }) {
    const open = [...(before?.querySelectorAll("li > details") ?? [])].map((node) => node.open);
    const tasks = item.workflow.tasks.map((task, index) => drawTask(task, open[index], texts));
    const { title } = item.workflow.summary ?? {};
    return h(
      "section.item.workflow",
      { "aria-label": texts.tools },
      title ? h("p.summary", {}, title) : null,
      h("ul", {}, tasks),
    );
  },

  task: (item, before, { texts }) =>
    h(
      "section.item.workflow",
      { "aria-label": texts.tools },
      h("ul", {}, drawTask(item.task, false, texts)),
    ),

  generated_image: (item) =>
    item.image ? h("figure.item.image", {}, h("img", { src: item.image.url, alt: "" })) : null,

  // ChatKit's widgets and forms are a language of their own, which needs its component.
  widget: (item, before, { texts }) =>
    h("p.item.unsupported", {}, iconOf("info"), item.copy_text || texts.unsupported),

  structured_input: (item, before, { texts }) =>
    h("p.item.unsupported", {}, iconOf("info"), texts.unsupported),
};

function messageFrame(texts) {
  return h(
    "article.item.assistant",
    { "aria-label": texts.assistant },
    h("span.avatar", {}, iconOf("assistant")),
    h("div.body"),
  );
}

// --- sources ---

/** Returns the sources of a message, each once, and where its parts cite which of them. */
function sourcesOf(item) {
  const numbers = new Map();
  const list = [];
  const citations = item.content.map(({ annotations }) => {
    const cited = (annotations ?? []).filter(Boolean).map(placed);
    return cited
      .sort((a, b) => a.at - b.at)
      .map(({ at, source }) => {
        const key = source.url ?? source.filename ?? source.id;
        if (!numbers.has(key)) numbers.set(key, list.push(source));
        return { at, number: numbers.get(key) };
      });
  });
  return { list, citations };
}

function placed({ source, index }) {
  return { source, at: index ?? Infinity };
}

function mark(number, source, texts) {
  if (!source) return document.createTextNode("");
  const label = texts.source(number, titleOf(source));
  const made = source.url ? externalLink(source.url, "a", String(number)) : null;
  const node = made ?? h("span", {}, String(number));
  node.title = label;
  if (made) made.setAttribute("aria-label", `${label} ${texts.opensInTab}`);
  return h("sup.cite", {}, node);
}

function sourceList(sources, texts) {
  const list = h(
    "ol",
    {},
    sources.map((source) => h("li", {}, sourceNode(source))),
  );
  return h("section.sources", { "aria-label": texts.sources }, h("h3", {}, texts.sources), list);
}

function sourceNode(source) {
  const title = titleOf(source);
  const host = hostOf(source.url);
  const where = host && host !== title ? h("small", {}, host) : null;
  const name = [iconOf(source.url ? "web_search" : "file"), h("span", {}, title), where];
  return externalLink(source.url, "a", name.filter(Boolean)) ?? h("span.source", {}, name);
}

function titleOf(source) {
  return source.title || source.filename || source.url || "";
}

function hostOf(url) {
  return URL.canParse(url) ? new URL(url).hostname : null;
}

// --- tools ---

function drawTask(task, isOpen, texts) {
  const status = task.status_indicator ?? "none";
  const head = [
    iconOf(iconOfTask(task)),
    h("span.what", {}, task.title ?? task.title_query ?? "", queries(task)),
    h("span.status", { "data-status": status, role: "img", "aria-label": texts[status] ?? "" }),
  ];
  if (status === "complete") head[2].append(iconOf("check"));
  if (status === "none") head.pop();
  const content = taskContent(task, texts);
  const node = content
    ? h("details", { open: isOpen ?? false }, h("summary", {}, head), content)
    : h("div.task", {}, head);
  return h("li", { "data-status": status }, node);
}

function iconOfTask({ type }) {
  return {
    custom: "code",
    web_search: "web_search",
    file: "file",
    thought: "thought",
    image: "image",
  }[type];
}

function queries(task) {
  const asked = (task.queries ?? []).join(" · ");
  return asked ? h("q", {}, asked) : null;
}

function taskContent(task, texts) {
  if (task.content) {
    const place = h("div.markdown.content");
    showMarkdown(place, task.content);
    return place;
  }
  if (!task.sources?.length) return null;
  return h(
    "ul.found",
    { "aria-label": texts.sources },
    task.sources.map((source) => h("li", {}, sourceNode(source))),
  );
}

// --- attachments ---

function attachment(file) {
  const name = h("span.name", { title: file.name }, file.name);
  if (!file.preview_url) return h("li.file", {}, iconOf("file"), name);
  const image = h("img", { src: file.preview_url, alt: file.name });
  const node = h("li.file.picture", {}, image, name);
  image.onerror = () => {
    image.replaceWith(iconOf("image")); // its link is good for ten minutes
    node.classList.remove("picture");
  };
  return node;
}

// --- what can be done with an answer ---

function actions(item, { texts, copy, rate }) {
  const rated = (kind) => (event) => {
    for (const button of event.currentTarget.parentElement.querySelectorAll("[aria-pressed]")) {
      button.ariaPressed = String(button === event.currentTarget);
    }
    rate(item, kind);
  };
  return h(
    "div.actions",
    {},
    iconButton("copy", texts.copy, () => copy(item)),
    iconButton("good", texts.good, rated("positive"), { "aria-pressed": "false" }),
    iconButton("bad", texts.bad, rated("negative"), { "aria-pressed": "false" }),
  );
}

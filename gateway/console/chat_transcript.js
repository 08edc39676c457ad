/** The messages as they are read: in their order, in place, and in sight while they grow. */

import { h, iconButton, iconOf } from "./chat_dom.js";
import { drawItem } from "./chat_items.js";
import { showMarkdown } from "./chat_markdown.js";

const NEAR_PX = 48; // from the end: whoever is there reads along

/** `shown` is for `drawItem`; `onOlder` and `onStarter(text)` answer the buttons. */
export class Transcript {
  #shown;
  #log;
  #list = h("div.list");
  #thinking;
  #toLatest;
  #growing = new Map();
  #frame = 0;
  #isAtEnd = true;
  #progress = null;

  constructor(shown, onOlder, onStarter) {
    const { texts } = shown;
    this.#shown = shown;
    this.#thinking = h(
      "p.thinking",
      { hidden: true },
      h("span.dots", {}, h("i"), h("i"), h("i")),
      h("span"),
    );
    this.older = h("button.older", { type: "button", hidden: true, onclick: onOlder }, texts.older);
    this.welcome = welcome(texts, onStarter);
    // Not read out as it grows, word by word: `chat.js` says it when it is complete.
    this.#log = h(
      "div.log",
      { role: "log", tabIndex: 0, "aria-label": texts.conversation, "aria-live": "off" },
      this.older,
      this.#list,
      this.#thinking,
    );
    this.#toLatest = iconButton("down", texts.toLatest, () => this.scrollToEnd(true), {
      hidden: true,
    });
    this.#toLatest.classList.add("latest");
    this.#log.onscroll = () => this.#noteWhere();
    // Pictures arrive late, and a phone's keyboard takes half of the place.
    const resized = new ResizeObserver(() => this.#isAtEnd && this.scrollToEnd());
    resized.observe(this.#list);
    resized.observe(this.#log);
    this.node = h("div.transcript", {}, this.#log, this.welcome, this.#toLatest);
  }

  /** Shows these items and nothing else. */
  reset(items, hasOlder, isNew) {
    cancelAnimationFrame(this.#frame);
    this.#growing.clear();
    this.#list.replaceChildren();
    for (const item of items) this.#draw(item, false);
    this.older.hidden = !hasOlder;
    this.welcome.hidden = !isNew;
    this.#log.hidden = isNew;
    this.scrollToEnd();
  }

  /** Shows an item, one that grows at the next frame: no screen shows every word. */
  show(item, isGrowing) {
    this.#begin();
    if (isGrowing) {
      this.#growing.set(item.id, item);
      this.#frame ||= requestAnimationFrame(() => this.#drawGrowing());
    } else {
      this.#growing.delete(item.id);
      this.#draw(item, false);
    }
  }

  remove(id) {
    this.#growing.delete(id);
    this.#nodeOf(id)?.remove();
  }

  /** Shows that there is an answer to come, until something of it is there. */
  setThinking(isRunning, text = null) {
    this.#progress = isRunning ? (text ?? this.#progress) : null;
    this.#thinking.lastElementChild.textContent = this.#progress ?? this.#shown.texts.thinking;
    this.#thinking.dataset.running = String(isRunning);
    this.#drawThinking();
  }

  showNotice({ level, title, message }) {
    this.#begin();
    const text = h("div.markdown");
    showMarkdown(text, message);
    const kind = level === "info" ? "info" : "warning";
    const head = title ? h("strong", {}, title) : null;
    this.#append(h("div.notice", { "data-level": level }, iconOf(kind), h("div", {}, head, text)));
  }

  /** Shows in passing that an answer was stopped. */
  showStopped() {
    this.#append(h("p.stopped", {}, this.#shown.texts.stopped));
  }

  showFailure(error, retry) {
    const { texts } = this.#shown;
    this.#begin();
    const button = h("button.retry", { type: "button" }, iconOf("retry"), texts.retry);
    const request = error.requestId
      ? h("p.request", {}, `${texts.request} `, h("code", {}, error.requestId))
      : null;
    const says = [
      h("p.message", {}, error.message || texts.failed),
      error.hint && h("p", {}, error.hint),
      request,
    ];
    const node = h(
      "div.failure",
      { role: "alert", "data-code": error.code },
      iconOf("warning"),
      h("div", {}, says.filter(Boolean)),
      retry ? button : null,
    );
    button.onclick = () => {
      node.remove();
      retry();
    };
    this.#append(node);
  }

  /** Takes away what was said of an earlier attempt. */
  forgetFailures() {
    for (const node of this.#list.querySelectorAll(".failure")) node.remove();
  }

  scrollToEnd(isAsked = false) {
    const behavior =
      isAsked && !matchMedia("(prefers-reduced-motion: reduce)").matches ? "smooth" : "instant";
    this.#log.scrollTo({ top: this.#log.scrollHeight, behavior });
  }

  #begin() {
    this.welcome.hidden = true;
    this.#log.hidden = false;
  }

  #drawGrowing() {
    this.#frame = 0;
    for (const item of this.#growing.values()) this.#draw(item, true);
    this.#growing.clear();
    if (this.#isAtEnd) this.scrollToEnd();
  }

  #draw(item, isGrowing) {
    const before = this.#nodeOf(item.id);
    const node = drawItem(item, before, this.#shown, isGrowing);
    if (!node || node === before) return this.#drawThinking();
    if (before) before.replaceWith(node);
    else this.#append(node);
    this.#drawThinking();
  }

  #append(node) {
    const isOwn = node.classList.contains("user");
    this.#list.append(node);
    if (isOwn || this.#isAtEnd) this.scrollToEnd();
  }

  #drawThinking() {
    const last = this.#list.lastElementChild;
    const isSpeaking = last?.matches(".assistant.growing") && last.querySelector(".markdown > *");
    this.#thinking.hidden = this.#thinking.dataset.running !== "true" || Boolean(isSpeaking);
  }

  #nodeOf(id) {
    return this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  #noteWhere() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#toLatest.hidden = this.#isAtEnd;
  }
}

function welcome(texts, onStarter) {
  const starters = texts.starters.map((text) =>
    h("li", {}, h("button", { type: "button", onclick: () => onStarter(text) }, text)),
  );
  return h(
    "div.welcome",
    {},
    h("span.avatar", {}, iconOf("assistant")),
    h("p.greeting", {}, texts.greeting),
    h("ul", {}, starters),
  );
}

/**
 * `<chatkit-chat>`: a small chat for the self-hosted mode, without framework, build step and CDN.
 *
 *     <script type="module" src="/console/chat.js"></script>
 *     <chatkit-chat lang="es" uploads></chatkit-chat>
 *
 * Set `getClientSecret: async (currentSecret | null) => secret`, and `apiUrl` where the gateway is
 * elsewhere. Says what goes wrong by `chat-error` events, too: `detail` is the Error. Takes its
 * colours from the page: --surface, --text, --muted, --accent, --on-accent, --border, --danger.
 */

import { Composer } from "./chat_composer.js";
import { Conversation } from "./chat_conversation.js";
import { h, iconButton, iconOf, onEscape } from "./chat_dom.js";
import { textOf } from "./chat_items.js";
import { ChatClient, ChatError } from "./chat_stream.js";
import { textsIn } from "./chat_texts.js";
import { Threads } from "./chat_threads.js";
import { Transcript } from "./chat_transcript.js";

const STYLE = new URL("chat.css", import.meta.url).href;

const PROPERTIES = ["getClientSecret", "apiUrl", "uploads"];

export class ChatKitChat extends HTMLElement {
  static observedAttributes = ["lang", "uploads"];

  #getClientSecret = null;
  #apiUrl = "/api/chatkit";
  #client = null;
  #conversation = null;
  #texts = textsIn(null);
  #root = this.attachShadow({ mode: "open" });
  #parts = null;
  #isSeen = false;
  #seen = new IntersectionObserver((entries) => this.#onSeen(entries.at(-1)));

  get getClientSecret() {
    return this.#getClientSecret;
  }

  set getClientSecret(given) {
    this.#getClientSecret = given;
    this.#begin();
  }

  get apiUrl() {
    return this.#apiUrl;
  }

  set apiUrl(url) {
    this.#apiUrl = url;
    this.#begin();
  }

  get uploads() {
    return this.hasAttribute("uploads");
  }

  set uploads(isAllowed) {
    this.toggleAttribute("uploads", Boolean(isAllowed));
  }

  connectedCallback() {
    for (const name of PROPERTIES) this.#adopt(name);
    if (!this.#conversation) this.#begin();
    this.#seen.observe(this);
  }

  disconnectedCallback() {
    this.#seen.unobserve(this);
    this.#conversation?.stop();
  }

  attributeChangedCallback(name) {
    if (!this.#parts) return;
    if (name === "uploads") this.#parts.composer.allowFiles(this.uploads);
    else this.#build();
  }

  /** Begins a new conversation. */
  newThread() {
    if (!this.#parts) return;
    this.#conversation.clear();
    this.#setHistory(false);
    this.#parts.composer.focus();
  }

  /** Takes over a property that was set before this class was there. */
  #adopt(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }

  #begin() {
    if (!this.isConnected || !this.#getClientSecret) return;
    const getClientSecret = (current) => this.#getClientSecret(current);
    this.#client = new ChatClient({ url: this.#apiUrl, texts: () => this.#texts, getClientSecret });
    this.#conversation?.stop();
    this.#conversation = new Conversation(this.#client, this.#view());
    this.#build();
  }

  /** The first request makes a session, which counts: not for a chat that nobody looks at. */
  #onSeen({ isIntersecting }) {
    if (!isIntersecting || this.#isSeen) return;
    this.#isSeen = true;
    void this.#parts?.threads.load();
  }

  /** Makes everything that is seen, again when the language changes. */
  #build() {
    const { draft } = this.#parts?.composer ?? { draft: { text: "", files: [] } };
    const texts = (this.#texts = textsIn(this.lang));
    const transcript = new Transcript(
      { texts, copy: (item) => this.#copy(item), rate: (item, kind) => this.#rate(item, kind) },
      () => this.#try(this.#conversation.loadOlder()),
      (text) => this.#parts.composer.submit(text),
    );
    const composer = new Composer(texts, this.#composerActions());
    const threads = new Threads(this.#client, texts, this.#threadActions());
    const title = h("h2.title");
    const toggle = iconButton("threads", texts.threads, () => this.#setHistory(!this.#hasHistory), {
      "aria-expanded": "false",
    });
    toggle.classList.add("toggle");
    const status = h("p.unseen", { role: "status" });
    const end = h("div.end", { hidden: true });
    const create = h(
      "button.create",
      { type: "button", "aria-label": texts.newThread, onclick: () => this.newThread() },
      iconOf("plus"),
      h("span", {}, texts.newThread),
    );
    const main = h(
      "section.main",
      { "aria-label": texts.title },
      h("header", {}, toggle, title, create),
      transcript.node,
      h("footer", {}, end, composer.node),
      h("div.drop", { hidden: true, "aria-hidden": "true" }, iconOf("attach"), texts.dropHere),
    );
    const panel = h("div.panel", { hidden: true }, threads.node, main);
    const style = h("link", { rel: "stylesheet", href: STYLE });
    style.onload = style.onerror = () => (panel.hidden = false);
    this.#parts = { transcript, composer, threads, title, toggle, status, end, panel, main };
    this.#root.replaceChildren(style, panel, status);
    onEscape(panel, () => this.#setHistory(false));
    takeDrops(main, (files) => composer.add(files));
    composer.allowFiles(this.uploads);
    composer.restore(draft);
    this.#view().drawAll();
    if (this.#isSeen) void threads.load();
  }

  /** What the conversation tells of its changes. */
  #view() {
    return {
      drawAll: () => {
        const { thread, items, hasOlder } = this.#conversation;
        this.#parts.transcript.reset([...items.values()], hasOlder, !thread && !items.size);
        this.#drawThread();
        this.#drawRunning();
      },
      drawThread: () => this.#drawThread(),
      drawItem: (item, isGrowing) => this.#parts.transcript.show(item, isGrowing),
      removeItem: (id) => this.#parts.transcript.remove(id),
      drawRunning: () => this.#drawRunning(),
      drawProgress: (text) => this.#parts.transcript.setThinking(true, text),
      drawNotice: (notice) => {
        this.#parts.transcript.showNotice(notice);
        this.#tell(notice.message);
      },
      drawStopped: () => {
        this.#parts.transcript.showStopped();
        this.#tell(this.#texts.stopped);
      },
      drawFailure: (error, retry) => this.#fail(error, retry),
      answered: (items) => {
        const said = items.filter(({ type }) => type === "assistant_message").map(textOf);
        if (said.length) this.#tell(`${this.#texts.answered} ${said.join(" ")}`);
      },
      listed: (thread) => this.#parts.threads.put(thread),
    };
  }

  #composerActions() {
    return {
      send: (draft) => this.#send(draft),
      stop: () => this.#conversation.stop(),
      upload: (file, onProgress, signal) => this.#client.upload(file, onProgress, signal),
      discard: ({ id }) => this.#try(this.#client.ask("attachments.delete", { attachment_id: id })),
      tell: (text) => this.#tell(text),
    };
  }

  #threadActions() {
    return {
      open: (id) => this.#open(id),
      close: () => this.#setHistory(false),
      deleted: (id) => id === this.#conversation.thread?.id && this.#conversation.clear(),
      renamed: (thread) => this.#rename(thread),
      fail: (error) => this.#fail(error, null),
    };
  }

  async #send(draft) {
    const { transcript } = this.#parts;
    transcript.forgetFailures();
    this.#tell("");
    const attachments = draft.files.map(({ attachment }) => attachment);
    const resend = () => this.#parts.composer.submit();
    const isTaken = await this.#conversation.send(draft.text.trim(), attachments, resend);
    if (!isTaken) this.#parts.composer.restore(draft);
  }

  async #open(id) {
    await this.#try(this.#conversation.open(id));
    this.#setHistory(false);
    this.#parts.composer.focus();
  }

  async #copy(item) {
    await navigator.clipboard.writeText(textOf(item));
    this.#tell(this.#texts.copied);
  }

  async #rate(item, kind) {
    await this.#try(this.#conversation.rate(item, kind));
    this.#tell(this.#texts.thanks);
  }

  async #try(promise) {
    try {
      await promise;
    } catch (error) {
      this.#fail(error, null);
    }
  }

  #fail(error, retry) {
    // What has a status was said to people; the rest are defects, in words for programmers.
    const said = "status" in error ? error : new ChatError(this.#texts.failed);
    this.#parts.transcript.showFailure(said, retry);
    const event = { detail: error, bubbles: true, composed: true };
    this.dispatchEvent(new CustomEvent("chat-error", event));
  }

  #rename({ id, title }) {
    const { thread } = this.#conversation;
    if (thread?.id !== id) return;
    thread.title = title;
    this.#drawThread();
  }

  #drawThread() {
    const { title, threads, composer, end } = this.#parts;
    const { thread, isOpen } = this.#conversation;
    title.textContent = title.title = thread
      ? (thread.title ?? this.#texts.newThread)
      : this.#texts.title;
    threads.setCurrent(thread?.id ?? null);
    composer.node.hidden = !isOpen;
    end.hidden = isOpen;
    if (!isOpen) {
      const { type, reason } = thread.status;
      const button = h(
        "button",
        { type: "button", onclick: () => this.newThread() },
        this.#texts.newThread,
      );
      const says = [h("strong", {}, this.#texts[type]), reason ? ` ${reason}` : ""];
      end.replaceChildren(h("p", {}, says), button);
    }
  }

  #drawRunning() {
    const { isRunning, canStop } = this.#conversation;
    this.#parts.transcript.setThinking(isRunning);
    this.#parts.composer.setRunning(isRunning, canStop);
    this.#parts.main.ariaBusy = String(isRunning);
  }

  get #hasHistory() {
    return this.#parts.panel.hasAttribute("data-history");
  }

  /**
   * Opens or closes the list of conversations, where there is no room for it beside. Returns
   * whether it was not so already.
   */
  #setHistory(isOpen) {
    const { panel, toggle, threads } = this.#parts;
    if (isOpen === this.#hasHistory) return false;
    panel.toggleAttribute("data-history", isOpen);
    toggle.ariaExpanded = String(isOpen);
    if (isOpen) threads.focus();
    else toggle.focus();
    return true;
  }

  /** Says something to who cannot see it. */
  #tell(text) {
    this.#parts.status.textContent = text;
  }
}

/** Lets files be dropped on an element, which shows so while they are above it. */
function takeDrops(element, add) {
  const hint = element.querySelector(".drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  element.ondragover = (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    hint.hidden = false;
  };
  element.ondragleave = (event) => {
    if (!element.contains(event.relatedTarget)) hint.hidden = true;
  };
  element.ondrop = (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    hint.hidden = true;
    add(event.dataTransfer.files);
  };
}

customElements.define("chatkit-chat", ChatKitChat);

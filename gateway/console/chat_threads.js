/** The list of a user's conversations: open, rename, delete. */

import { h, iconButton } from "./chat_dom.js";

const PAGE = 20;

/** `actions` has `open(id)`, `close()`, `deleted(id)`, `renamed(thread)` and `fail(error)`. */
export class Threads {
  #client;
  #texts;
  #actions;
  #threads = new Map();
  #hasMore = false;
  #current = null;
  #list = h("ul.threads");
  #empty;
  #more;

  constructor(client, texts, actions) {
    this.#client = client;
    this.#texts = texts;
    this.#actions = actions;
    this.#empty = h("p.empty", { hidden: true }, texts.noThreads);
    this.#more = h("button.more", { type: "button", hidden: true, onclick: () => this.load() }, texts.more);
    const close = iconButton("close", texts.close, () => actions.close());
    close.classList.add("close");
    const head = h("div.head", {}, h("h2", {}, texts.threads), close);
    this.node = h("nav.history", { "aria-label": texts.threads }, head, this.#list, this.#empty, this.#more);
  }

  /** Loads the newest, and at each further call those before them. */
  async load() {
    const after = [...this.#threads.keys()].at(-1) ?? null;
    try {
      const params = { limit: PAGE, order: "desc", after };
      const page = await this.#client.ask("threads.list", params);
      for (const thread of page.data) this.#threads.set(thread.id, thread);
      this.#hasMore = page.has_more;
      this.#draw();
    } catch (error) {
      this.#actions.fail(error);
    }
  }

  /** Puts a thread first, as the server does with what was written in last. */
  put(thread) {
    this.#threads.delete(thread.id);
    this.#threads = new Map([[thread.id, thread], ...this.#threads]);
    this.#draw();
  }

  setCurrent(id) {
    this.#current = id;
    for (const button of this.#list.querySelectorAll("button.open")) {
      button.ariaCurrent = String(button.dataset.id === id);
    }
  }

  focus() {
    (this.#list.querySelector("button.open") ?? this.node.querySelector("button")).focus();
  }

  #draw() {
    this.#empty.hidden = this.#threads.size > 0;
    this.#more.hidden = !this.#hasMore;
    this.#list.replaceChildren(...[...this.#threads.values()].map((thread) => this.#row(thread)));
    this.setCurrent(this.#current);
  }

  #row(thread) {
    const texts = this.#texts;
    const title = thread.title ?? texts.newThread;
    const row = h("li");
    const open = h(
      "button.open",
      { type: "button", title, "data-id": thread.id, onclick: () => this.#actions.open(thread.id) },
      h("span", {}, title),
      h("small", {}, dateOf(thread, texts.language)),
    );
    row.append(
      open,
      iconButton("rename", `${texts.rename}: ${title}`, () => this.#askTitle(row, thread)),
      iconButton("remove", `${texts.remove}: ${title}`, () => this.#askRemoval(row, thread)),
    );
    return row;
  }

  #askTitle(row, thread) {
    const field = h("input", { value: thread.title ?? "", maxLength: 256, "aria-label": this.#texts.titleOf });
    const form = h("form", {}, field);
    const back = () => row.replaceWith(this.#row(thread));
    form.onsubmit = (event) => {
      event.preventDefault();
      field.onblur = null;
      const title = field.value.trim();
      back();
      if (title && title !== thread.title) void this.#rename(thread, title);
    };
    field.onkeydown = (event) => event.key === "Escape" && (event.stopPropagation(), back());
    field.onblur = back;
    row.replaceChildren(form);
    field.select();
    field.focus();
  }

  async #rename(thread, title) {
    try {
      await this.#client.ask("threads.update", { thread_id: thread.id, title });
      this.#threads.set(thread.id, { ...thread, title });
      this.#draw();
      this.#actions.renamed(this.#threads.get(thread.id));
    } catch (error) {
      this.#actions.fail(error);
    }
  }

  #askRemoval(row, thread) {
    const back = () => this.#draw();
    const yes = h("button.danger", { type: "button", onclick: () => this.#remove(thread) }, this.#texts.remove);
    const no = h("button", { type: "button", onclick: back }, this.#texts.cancel);
    row.onkeydown = (event) => event.key === "Escape" && (event.stopPropagation(), back());
    row.replaceChildren(h("span.question", { role: "alert" }, this.#texts.removeQuestion), yes, no);
    yes.focus();
  }

  async #remove(thread) {
    try {
      await this.#client.ask("threads.delete", { thread_id: thread.id });
      this.#threads.delete(thread.id);
      this.#draw();
      this.#actions.deleted(thread.id);
    } catch (error) {
      this.#draw();
      this.#actions.fail(error);
    }
  }
}

function dateOf({ created_at: at }, language) {
  const date = new Date(at);
  return new Intl.DateTimeFormat(language, { day: "numeric", month: "short" }).format(date);
}

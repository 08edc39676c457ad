/** The list of a user's conversations: open, rename, delete. */

import { h, iconButton, onEscape } from "./chat_dom.js";

const PAGE = 20;

/** `actions` has `open(id)`, `close()`, `deleted(id)`, `renamed(thread)` and `fail(error)`. */
export class Threads {
  #client;
  #texts;
  #actions;
  #threads = new Map();
  #hasMore = false;
  #current = null;
  #isAsking = false;
  #list = h("ul.threads");
  #empty;
  #more;

  constructor(client, texts, actions) {
    this.#client = client;
    this.#texts = texts;
    this.#actions = actions;
    this.#empty = h("p.empty", { hidden: true }, texts.noThreads);
    this.#more = h(
      "button.more",
      { type: "button", hidden: true, onclick: () => this.load() },
      texts.more,
    );
    const close = iconButton("close", texts.close, () => actions.close());
    close.classList.add("close");
    const head = h("div.head", {}, h("h2", {}, texts.threads), close);
    this.node = h(
      "nav.history",
      { "aria-label": texts.threads },
      head,
      this.#list,
      this.#empty,
      this.#more,
    );
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

  /** Puts the focus on a thread, the first where it is not there. */
  focus(thread = null) {
    const buttons = [...this.#list.querySelectorAll("button.open")];
    const found = buttons.find(({ dataset }) => dataset.id === thread?.id) ?? buttons[0];
    (found ?? this.node.querySelector("button")).focus();
  }

  /** `focused` is the thread whose button gets the focus: its user was in that row. */
  #draw(focused = null) {
    if (this.#isAsking) return; // a question is not taken away because an answer has come
    this.#empty.hidden = this.#threads.size > 0;
    this.#more.hidden = !this.#hasMore;
    this.#list.replaceChildren(...[...this.#threads.values()].map((thread) => this.#row(thread)));
    this.setCurrent(this.#current);
    if (focused) this.focus(focused);
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
    const value = thread.title ?? "";
    const field = h("input", { value, maxLength: 256, "aria-label": this.#texts.titleOf });
    const form = h("form", {}, field);
    form.onsubmit = (event) => {
      event.preventDefault();
      void this.#rename(thread, field.value.trim());
    };
    field.onblur = () => this.#asked(null);
    onEscape(field, () => this.#asked(thread));
    this.#ask(row, form);
    field.select();
  }

  async #rename(thread, title) {
    this.#asked(thread);
    if (!title || title === thread.title) return;
    try {
      await this.#client.ask("threads.update", { thread_id: thread.id, title });
      this.#threads.set(thread.id, { ...thread, title });
      this.#draw(thread);
      this.#actions.renamed(this.#threads.get(thread.id));
    } catch (error) {
      this.#actions.fail(error);
    }
  }

  #askRemoval(row, thread) {
    const { remove, removeQuestion, cancel } = this.#texts;
    const question = h("span.question", { role: "alert" }, removeQuestion);
    const yes = h("button.danger", { type: "button", onclick: () => this.#remove(thread) }, remove);
    const no = h("button", { type: "button", onclick: () => this.#asked(thread) }, cancel);
    onEscape(row, () => this.#asked(thread));
    this.#ask(row, question, yes, no);
    yes.focus();
  }

  async #remove(thread) {
    this.#asked(thread);
    try {
      await this.#client.ask("threads.delete", { thread_id: thread.id });
      this.#threads.delete(thread.id);
      this.#draw(thread);
      this.#actions.deleted(thread.id);
    } catch (error) {
      this.#actions.fail(error);
    }
  }

  #ask(row, ...nodes) {
    this.#isAsking = true;
    row.replaceChildren(...nodes);
  }

  /** Shows the row as it was; `thread` has the focus again where its user is still there. */
  #asked(thread) {
    if (!this.#isAsking) return;
    this.#isAsking = false;
    this.#draw(thread);
  }
}

function dateOf({ created_at: at }, language) {
  const date = new Date(at);
  return new Intl.DateTimeFormat(language, { day: "numeric", month: "short" }).format(date);
}

/** One conversation: what is in it, the answer that is being written, and what went wrong. */

import { ChatError, isTransient } from "./chat_stream.js";

const PAGE = 50; // items
const PENDING = "pending"; // the id of a message until the server has given it one

/** By type: what an event of an answer does to the conversation. */
let HANDLERS;

/**
 * Asks, and applies the events of the protocol to the items. What changes is told to the view:
 * `drawThread()`, `drawItem(item, isGrowing)`, `removeItem(id)`, `drawAll()`, `drawRunning()`,
 * `drawProgress(text)`, `drawNotice(notice)`, `drawStopped()`, `drawFailure(error, retry)`,
 * `answered(items)` and `listed(thread)`.
 */
export class Conversation {
  /** @type {{ id: string, title: string | null, status: { type: string } } | null} */
  thread = null;
  /** @type {Map<string, any>} by id, in their order */
  items = new Map();
  /** Whether there are older items than those. */
  hasOlder = false;
  #client;
  #view;
  #run = null;

  constructor(client, view) {
    this.#client = client;
    this.#view = view;
  }

  /** Whether an answer is being written into what is shown. */
  get isRunning() {
    return this.#run !== null;
  }

  /** Whether its user may end it. */
  get canStop() {
    return this.#run?.allowCancel ?? false;
  }

  /** Whether messages can be added. */
  get isOpen() {
    return (this.thread?.status?.type ?? "active") === "active";
  }

  /** Begins a new one. An answer that is being written goes on, unseen, and is kept. */
  clear() {
    this.thread = null;
    this.items = new Map();
    this.hasOlder = false;
    this.#run = null;
    this.#view.drawAll();
  }

  /** Shows a thread with its newest items. Throws ChatError. */
  async open(id) {
    const [thread, page] = await Promise.all([
      this.#client.ask("threads.get_by_id", { thread_id: id }),
      this.#page(id, null),
    ]);
    this.#run = null;
    this.thread = thread;
    this.items = new Map();
    this.#prepend(page);
    this.#view.drawAll();
  }

  /** Adds the items before those that there are. Throws ChatError. */
  async loadOlder() {
    const { thread } = this;
    const page = await this.#page(thread.id, this.items.keys().next().value);
    if (thread !== this.thread) return; // another was opened meanwhile
    this.#prepend(page);
    this.#view.drawAll();
  }

  /**
   * Sends a message and reads its answer. Returns whether the server has taken the message: from
   * then on it is in the thread, and what fails is the answer.
   */
  async send(text, attachments, resend) {
    const content = [{ type: "input_text", text }];
    const ids = attachments.map(({ id }) => id);
    const input = { content, attachments: ids, quoted_text: "", inference_options: {} };
    this.#keep({ id: PENDING, type: "user_message", content, attachments });
    if (!this.thread) return this.#answer("threads.create", { input }, resend);
    return this.#answer("threads.add_user_message", { thread_id: this.thread.id, input }, resend);
  }

  /** Answers the last message again; what came after it is deleted. */
  async retry() {
    const items = [...this.items.values()];
    const last = items.findLastIndex(({ type }) => type === "user_message");
    for (const { id } of items.slice(last + 1)) this.#remove(id);
    const params = { thread_id: this.thread.id, item_id: items[last].id };
    await this.#answer("threads.retry_after_item", params, null);
  }

  /** Ends the answer; what there is of it stays, here and at the server. */
  stop() {
    this.#run?.abort.abort();
  }

  /** Says what the user thinks of an answer. Throws ChatError. */
  async rate(item, kind) {
    const params = { thread_id: this.thread.id, item_ids: [item.id], kind };
    await this.#client.ask("items.feedback", params);
  }

  #page(id, before) {
    const params = { thread_id: id, limit: PAGE, order: "desc", after: before };
    return this.#client.ask("items.list", params);
  }

  #prepend({ data, has_more: hasMore }) {
    const older = data.toReversed().map((item) => [item.id, item]);
    this.items = new Map([...older, ...this.items]);
    this.hasOlder = hasMore;
  }

  async #answer(type, params, resend) {
    const run = {
      abort: new AbortController(),
      allowCancel: true,
      isAccepted: resend === null,
      growing: new Set(),
      done: [],
      isFailed: false,
    };
    this.#run = run;
    this.#view.drawRunning();
    let failure = null;
    try {
      for await (const event of this.#client.stream(type, params, run.abort.signal)) {
        this.#handle(event, run);
      }
    } catch (error) {
      failure = error;
    }
    if (run !== this.#run) return true; // another conversation is shown by now
    this.#end(run);
    if (run.abort.signal.aborted) this.#view.drawStopped();
    else if (failure) this.#fail(failure, run, resend);
    else if (!run.isFailed) this.#view.answered(run.done);
    return run.isAccepted;
  }

  #end(run) {
    this.#run = null;
    if (this.items.has(PENDING)) this.#remove(PENDING);
    for (const id of run.growing) {
      const item = this.items.get(id);
      if (item) this.#view.drawItem(settled(item), false);
    }
    this.#view.drawRunning();
  }

  #fail(error, run, resend) {
    const again = run.isAccepted ? () => this.retry() : resend;
    this.#view.drawFailure(error, isTransient(error) ? again : null);
  }

  #handle(event, run) {
    if (event.type === "thread.created" || event.type === "thread.updated") {
      this.#view.listed(event.thread);
      if (run === this.#run) this.#setThread(event.thread);
    } else if (run === this.#run) {
      HANDLERS[event.type]?.call(this, event, run);
    }
  }

  #setThread(thread) {
    this.thread = thread;
    this.#view.drawThread();
  }

  #keep(item, isGrowing = false) {
    this.items.set(item.id, item);
    this.#view.drawItem(item, isGrowing);
  }

  #remove(id) {
    this.items.delete(id);
    this.#view.removeItem(id);
  }

  // In here, as they use what is private.
  static {
    HANDLERS = {
      "thread.item.added"({ item }, run) {
        run.growing.add(item.id);
        this.#keep(item, true);
      },
      "thread.item.updated"({ item_id: id, update }) {
        const item = this.items.get(id);
        if (!item) return;
        UPDATES[update.type]?.(item, update);
        this.#keep(item, true);
      },
      "thread.item.done"({ item }, run) {
        if (item.type === "user_message") {
          run.isAccepted = true;
          if (this.items.has(PENDING)) this.#remove(PENDING);
        }
        run.growing.delete(item.id);
        run.done.push(item);
        this.#keep(item);
      },
      "thread.item.replaced"({ item }, run) {
        this.#keep(item, run.growing.has(item.id));
      },
      "thread.item.removed"({ item_id: id }) {
        this.#remove(id);
      },
      stream_options({ stream_options: options }, run) {
        run.allowCancel = options.allow_cancel;
        this.#view.drawRunning();
      },
      progress_update({ text }) {
        this.#view.drawProgress(text);
      },
      notice(event) {
        this.#view.drawNotice(event);
      },
      error({ message, code, allow_retry: mayRetry }, run) {
        run.isFailed = true;
        const retry = mayRetry && run.isAccepted ? () => this.retry() : null;
        this.#view.drawFailure(new ChatError(message ?? "", { code }), retry);
      },
    };
  }
}

/** By type: what an update changes in its item. */
const UPDATES = {
  "assistant_message.content_part.added": setPart,
  "assistant_message.content_part.done": setPart,
  "assistant_message.content_part.text_delta"(item, { content_index: index, delta }) {
    item.content[index].text += delta;
  },
  "assistant_message.content_part.annotation_added"(item, update) {
    const { content_index: index, annotation_index: number, annotation } = update;
    item.content[index].annotations[number] = annotation;
  },
  "workflow.task.added": setTask,
  "workflow.task.updated": setTask,
  "generated_image.updated"(item, { image }) {
    item.image = image;
  },
};

function setPart(item, { content_index: index, content }) {
  item.content[index] = content;
}

function setTask(item, { task_index: index, task }) {
  item.workflow.tasks[index] = task;
}

/** Lets no task go on for ever that was broken off. */
function settled(item) {
  for (const task of item.workflow?.tasks ?? []) {
    if (task.status_indicator === "loading") task.status_indicator = "none";
  }
  return item;
}

/** Where a message is written: its text, its attachments, and the buttons to send and to stop. */

import { h, iconButton, iconOf } from "./chat_dom.js";

const MAX_FILES = 10; // the gateway takes no more with one message

const ACCEPTED =
  ".png,.jpg,.jpeg,.gif,.webp,.pdf,.docx,.xlsx,.pptx,.txt,.log,.csv,.tsv,.md,.json,.yaml,.yml";

/**
 * `actions` has `send(draft)`, `stop()`, `upload(file, onProgress, signal)`,
 * `discard(attachment)` and `tell(text)`, which says something to who cannot see.
 */
export class Composer {
  #texts;
  #actions;
  #files = [];
  #list;
  #hint = h("p.hint", { role: "alert" });
  #field;
  #send;
  #stop;
  #attach;
  #picker;
  #isRunning = false;

  constructor(texts, actions) {
    this.#texts = texts;
    this.#actions = actions;
    this.#list = h("ul.files", { "aria-label": texts.attached });
    this.#field = h("textarea", {
      rows: 1,
      placeholder: texts.placeholder,
      "aria-label": texts.message,
      oninput: () => this.#draw(),
      onkeydown: (event) => this.#onKey(event),
      onpaste: (event) => this.#onPaste(event),
    });
    this.#picker = h("input", {
      type: "file",
      multiple: true,
      hidden: true,
      accept: ACCEPTED,
      "aria-label": texts.attach,
      onchange: () => this.#onPicked(),
    });
    this.#attach = iconButton("attach", texts.attach, () => this.#picker.click());
    this.#send = iconButton("send", texts.send, null, { type: "submit" });
    this.#send.classList.add("primary");
    this.#stop = iconButton("stop", texts.stop, () => actions.stop(), { hidden: true });
    this.#stop.classList.add("primary");
    const row = h("div.row", {}, this.#attach, this.#picker, this.#field, this.#stop, this.#send);
    this.node = h(
      "form.composer",
      { onsubmit: (event) => this.#onSubmit(event) },
      this.#list,
      this.#hint,
      row,
    );
    this.#draw();
  }

  focus() {
    this.#field.focus();
  }

  /** What is written and attached, to be put into another composer. */
  get draft() {
    return { text: this.#field.value, files: this.#files };
  }

  /** Puts back a message that was not taken, unless another is being written. */
  restore({ text, files }) {
    if (!this.#field.value) this.#field.value = text;
    this.#files = [...files, ...this.#files];
    this.#draw();
  }

  /** Sends a text as if it had been written. */
  submit(text = this.#field.value) {
    this.#field.value = text;
    this.node.requestSubmit();
  }

  setRunning(isRunning, canStop) {
    this.#isRunning = isRunning;
    const hadFocus = this.node.getRootNode().activeElement === this.#stop;
    this.#stop.hidden = !isRunning;
    this.#stop.disabled = !canStop;
    this.#send.hidden = isRunning;
    if (hadFocus && !isRunning) this.focus();
    this.#draw();
  }

  allowFiles(isAllowed) {
    this.#attach.hidden = !isAllowed;
  }

  /** Uploads files right away, to be sent with the message. */
  add(files) {
    if (this.#attach.hidden) return;
    const room = MAX_FILES - this.#files.length;
    this.#hint.textContent = files.length > room ? this.#texts.tooManyFiles(MAX_FILES) : "";
    for (const file of [...files].slice(0, room)) void this.#upload(file);
  }

  async #upload(file) {
    const entry = {
      name: file.name,
      abort: new AbortController(),
      progress: 0,
      attachment: null,
      error: null,
    };
    this.#files.push(entry);
    this.#draw();
    const onProgress = (share) => {
      entry.progress = share;
      if (entry.bar) entry.bar.value = share;
    };
    try {
      entry.attachment = await this.#actions.upload(file, onProgress, entry.abort.signal);
    } catch (error) {
      if (entry.abort.signal.aborted) return;
      entry.error = error.message;
      this.#actions.tell(`${file.name}: ${error.message}`);
    }
    this.#draw();
  }

  #remove(entry) {
    entry.abort.abort();
    if (entry.attachment) this.#actions.discard(entry.attachment);
    this.#files = this.#files.filter((other) => other !== entry);
    this.#hint.textContent = "";
    this.#draw();
    this.focus();
  }

  get #canSend() {
    const isUploading = this.#files.some(({ attachment, error }) => !attachment && !error);
    const isEmpty = !this.#field.value.trim() && !this.#files.some(({ attachment }) => attachment);
    return !this.#isRunning && !isUploading && !isEmpty;
  }

  #draw() {
    this.#send.disabled = !this.#canSend;
    this.#list.hidden = !this.#files.length;
    this.#list.replaceChildren(...this.#files.map((entry) => this.#chip(entry)));
    // Where CSS cannot let a field grow with its text.
    if (!CSS.supports("field-sizing", "content")) {
      this.#field.style.height = "auto";
      this.#field.style.height = `${this.#field.scrollHeight}px`;
    }
  }

  #chip(entry) {
    const { name, attachment, error } = entry;
    const remove = iconButton("close", this.#texts.removeFile(name), () => this.#remove(entry));
    const label = h("span.name", { title: name }, name);
    if (error) {
      const text = h("span.label", {}, label, h("span.error", {}, error));
      return h("li.file", { "data-status": "failed" }, iconOf("warning"), text, remove);
    }
    if (!attachment) {
      entry.bar = h("progress", {
        max: 1,
        value: entry.progress,
        "aria-label": this.#texts.uploading(name),
      });
      return h(
        "li.file",
        { "data-status": "uploading" },
        iconOf("file"),
        h("span.label", {}, label, entry.bar),
        remove,
      );
    }
    const picture = attachment.preview_url
      ? h("img", { src: attachment.preview_url, alt: "" })
      : iconOf("file");
    return h("li.file", { "data-status": "ready" }, picture, label, remove);
  }

  #onSubmit(event) {
    event.preventDefault();
    if (!this.#canSend) return;
    const draft = {
      text: this.#field.value,
      files: this.#files.filter(({ attachment }) => attachment),
    };
    this.#field.value = "";
    this.#files = [];
    this.#hint.textContent = "";
    this.#draw();
    this.#actions.send(draft);
  }

  #onKey(event) {
    // While a word is being composed, in Japanese for instance, Enter ends the word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.node.requestSubmit();
  }

  #onPaste(event) {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    this.add(event.clipboardData.files);
  }

  #onPicked() {
    this.add(this.#picker.files);
    this.#picker.value = "";
    this.focus();
  }
}

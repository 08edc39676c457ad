/** The ChatKit protocol as the gateway speaks it: requests, streamed events, uploads. */

/** A request that failed, with what the gateway says of it. `status` 0 is: nothing was answered. */
export class ChatError extends Error {
  constructor(message, { status = 0, code, hint, requestId } = {}) {
    super(message);
    this.name = "ChatError";
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.requestId = requestId;
  }
}

/** Whether what failed may succeed if it is tried again; `status` is as that of ChatError. */
export function isTransient({ status }) {
  return status === 0 || status === 429 || status >= 500;
}

/** What the gateway answers to a secret that has expired, or whose session was deleted. */
const REFUSED = new Set([401, 410]);

/** Sends requests with the client secret, which it renews once where the gateway refuses it. */
export class ChatClient {
  #secret = null;
  #issuing = null;
  #url;
  #texts;
  #getClientSecret;

  /** `texts` returns those of the language that is shown now. */
  constructor({ url, texts, getClientSecret }) {
    this.#url = url;
    this.#texts = texts;
    this.#getClientSecret = getClientSecret;
  }

  /** Returns the JSON that a request is answered with. Throws ChatError. */
  async ask(type, params) {
    const response = await this.#post(type, params);
    return response.json();
  }

  /** Yields the events of an answer as they come. Throws ChatError, and what aborted the signal. */
  async *stream(type, params, signal) {
    const response = await this.#post(type, params, signal);
    try {
      yield* eventsOf(response.body);
    } catch (error) {
      throw this.#unreached(error, signal);
    }
  }

  /** Uploads a file and returns the attachment; tells `onProgress` the share that has been sent. */
  async upload(file, onProgress, signal) {
    const form = new FormData();
    form.append("file", file);
    const send = (secret) =>
      sendForm(`${this.#url}/attachments`, form, this.#headers(secret), onProgress, signal);
    const response = await this.#authorized(send, signal);
    return response.json();
  }

  #post(type, params, signal) {
    const send = (secret) =>
      fetch(this.#url, {
        method: "POST",
        headers: { ...this.#headers(secret), "Content-Type": "application/json" },
        body: JSON.stringify({ type, params, metadata: {} }),
        redirect: "error", // a secret goes where it was meant to go, or nowhere
        signal,
      });
    return this.#authorized(send, signal);
  }

  #headers(secret) {
    return { Authorization: `Bearer ${secret}`, "Accept-Language": this.#texts().language };
  }

  async #authorized(send, signal) {
    let response;
    try {
      const secret = await this.#secretOtherThan(null);
      response = await send(secret);
      if (REFUSED.has(response.status)) response = await send(await this.#secretOtherThan(secret));
    } catch (error) {
      throw this.#unreached(error, signal);
    }
    if (!response.ok) throw await this.#failureOf(response);
    return response;
  }

  /** Returns a secret that is not the one refused; whoever asks at a time shares one call. */
  #secretOtherThan(refused) {
    if (this.#secret !== null && this.#secret !== refused) return this.#secret;
    this.#issuing ??= this.#issue().finally(() => (this.#issuing = null));
    return this.#issuing;
  }

  async #issue() {
    this.#secret = await this.#getClientSecret(this.#secret);
    return this.#secret;
  }

  async #failureOf(response) {
    const envelope = Object(await response.json().catch(() => undefined));
    const { code, hint, requestId } = envelope;
    const message = typeof envelope.error === "string" ? envelope.error : this.#texts().failed;
    return new ChatError(message, { status: response.status, code, hint, requestId });
  }

  /** Browsers say in words of their own, and in English, that the network failed. */
  #unreached(error, signal) {
    const isNetwork = error instanceof TypeError && !signal?.aborted;
    return isNetwork ? new ChatError(this.#texts().unreached, { code: "NETWORK" }) : error;
  }
}

/** Yields the JSON of server-sent events; comments, which keep a connection open, have none. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        const lines = frame.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield JSON.parse(lines.map((line) => line.slice(5)).join("\n"));
      }
    }
  } finally {
    reader.cancel().catch(() => undefined); // who stops reading ends the answer
  }
}

/** What `fetch` would do, which cannot tell how much of a body has been sent. */
function sendForm(url, form, headers, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    signal?.addEventListener("abort", abort);
    request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => total && onProgress(loaded / total);
    request.onload = () => resolve(new Response(request.response, { status: request.status }));
    request.onerror = () => reject(new TypeError("the upload failed"));
    request.onabort = () => reject(new DOMException("the upload was aborted", "AbortError"));
    request.onloadend = () => signal?.removeEventListener("abort", abort);
    request.send(form);
  });
}

const SERVED_MODE = null; // the gateway that serves this file puts its mode here

/**
 * The `api` option of OpenAI's ChatKit for a dashboard behind this gateway, in either mode:
 *
 *     const { chatkitApi } = await import("https://chat.example.com/chatkit-client.js");
 *     const api = chatkitApi({ baseUrl: "https://chat.example.com", getToken, domainKey });
 *     …
 *     const chatkit = useChatKit({ api });
 *
 * Call it once, outside of components: what it returns keeps the client secret. Who copies this
 * file instead of importing it from the gateway has to say the `mode`.
 *
 * @module
 */

/** How long before its end a secret is renewed: a request must not overtake it on its way. */
const RENEW_BEFORE_MS = 30_000;

/** The gateway answers long before; without a limit a lost connection would hold up everything. */
const TIMEOUT_MS = 60_000;

/** What the gateway said instead of a success. `message` is for people, in their language. */
export class ChatKitApiError extends Error {
  /**
   * @param {Response} response
   * @param {any} envelope the answer's body
   */
  constructor(response, envelope) {
    super(typeof envelope.error === "string" ? envelope.error : `HTTP ${response.status}`);
    this.name = "ChatKitApiError";
    /** The HTTP status. */
    this.status = response.status;
    /** @type {string | undefined} the reason, for programs */
    this.code = envelope.code;
    /** @type {string | undefined} what to do about it */
    this.hint = envelope.hint;
    /** @type {string | undefined} finds the request in the logs */
    this.requestId = envelope.requestId ?? response.headers.get("X-Request-Id") ?? undefined;
  }

  /**
   * Reads the error from an answer that is no success.
   *
   * @param {Response} response
   */
  static async from(response) {
    return new ChatKitApiError(response, await bodyOf(response));
  }
}

/**
 * Returns the `api` option for `useChatKit` or `<openai-chatkit>`.
 *
 * @param {import("./chatkit-client").ChatKitApiOptions} options
 * @returns {import("./chatkit-client").HostedApi | import("./chatkit-client").SelfHostedApi}
 */
export function chatkitApi({
  baseUrl,
  getToken,
  domainKey = "",
  user = {},
  mode = SERVED_MODE ?? undefined,
  fetch = globalThis.fetch,
}) {
  const base = new URL(baseUrl || "/", globalThis.location?.href).href.replace(/\/+$/, "");

  if (mode !== "hosted" && mode !== "self_hosted") {
    throw new TypeError('chatkitApi: a copy of this file needs mode "hosted" or "self_hosted"');
  }

  /** Posts to the gateway as the dashboard's user; returns the secret, and when to renew it. */
  const post = async (/** @type {string} */ path, /** @type {unknown} */ body) => {
    const token = await valueOf(getToken);
    const response = await fetch(base + path, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      body: JSON.stringify(body),
      redirect: "error", // a token goes where it was meant to go, or nowhere
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const answer = await bodyOf(response);
    if (!response.ok || !answer.data?.client_secret) throw new ChatKitApiError(response, answer);
    const { client_secret: secret, expires_at: expiresAt } = answer.data;
    return { secret, renewAt: renewAt(expiresAt * 1000) };
  };

  const create = async () => post("/api/chatkit/session", await valueOf(user));

  const refresh = async (/** @type {string} */ existingSecret) => {
    try {
      return await post("/api/chatkit/refresh", { existingSecret });
    } catch (error) {
      // 404: too old, after a night's sleep. 410: somebody has ended the session, in another tab or
      // as an administrator. Neither says that this user may not chat: the token does, and a create
      // checks it, as a reload of the page would.
      const status = error instanceof ChatKitApiError && error.status;
      if (status !== 404 && status !== 410) throw error;
      return create();
    }
  };

  const issue = shared((/** @type {string | null} */ existing) =>
    existing ? refresh(existing) : create(),
  );

  if (mode === "hosted") {
    return {
      /** @param {string | null} current */
      getClientSecret: async (current) => (await issue(current ?? null)).secret,
    };
  }

  const url = `${base}/api/chatkit`;

  /** @type {{ secret: string, renewAt: number } | null} */
  let current = null;

  /** Returns a secret that is good, and is not the one that the gateway has just refused. */
  const secret = async (refused = "") => {
    if (!current || current.secret === refused || Date.now() >= current.renewAt) {
      current = await issue(current?.secret ?? null);
    }
    return current.secret;
  };

  return {
    url,
    domainKey,
    uploadStrategy: { type: "direct", uploadUrl: `${url}/attachments` },

    /** `fetch` with our secret, for our gateway and for nobody else. @type {typeof fetch} */
    fetch: async (input, init) => {
      const request = input instanceof Request ? input : undefined;
      const asked = new URL(request?.url ?? String(input), globalThis.location?.href);
      const target = asked.origin + asked.pathname;
      if (target !== url && !target.startsWith(`${url}/`)) return fetch(input, init);

      const send = (/** @type {string} */ secret) => {
        const headers = new Headers(init?.headers ?? request?.headers);
        headers.set("Authorization", `Bearer ${secret}`);
        return fetch(request?.clone() ?? input, { ...init, headers, redirect: "error" });
      };
      const signal = init?.signal ?? request?.signal;
      const first = await unlessAborted(secret(), signal);
      const response = await send(first);
      // 401: it has expired, whatever the clock here says. 410: see `refresh`.
      const refused = response.status === 401 || response.status === 410;
      if (!refused || init?.body instanceof ReadableStream) return response; // a stream is used up
      await response.body?.cancel();
      return send(await unlessAborted(secret(first), signal));
    },
  };
}

/**
 * Returns when to renew a secret, in milliseconds. One that has expired when it arrives shows that
 * the clock of this machine is wrong: then the gateway's 401 says when.
 *
 * @param {number} expiresAt
 */
function renewAt(expiresAt) {
  const lifetime = expiresAt - Date.now();
  if (!(lifetime > 0)) return Infinity;
  return expiresAt - Math.min(RENEW_BEFORE_MS, lifetime / 2);
}

/**
 * Lets calls with the same key share one run while it goes on.
 *
 * @template K, T
 * @param {(key: K) => Promise<T>} run
 * @returns {(key: K) => Promise<T>}
 */
function shared(run) {
  /** @type {Map<K, Promise<T>>} */
  const running = new Map();
  return (key) => {
    const found = running.get(key) ?? run(key).finally(() => running.delete(key));
    running.set(key, found);
    return found;
  };
}

/**
 * Stops waiting when the signal says so; what others wait for, too, goes on.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<T>}
 */
function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  });
}

/** Returns what was given, or what it returns if it is a function. @param {unknown} given */
async function valueOf(given) {
  return typeof given === "function" ? given() : given;
}

/**
 * Returns the JSON object that was answered, `{}` where it is none, such as a proxy's page.
 *
 * @param {Response} response
 */
async function bodyOf(response) {
  return Object(await response.json().catch(() => undefined));
}

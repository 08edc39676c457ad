/** The gateway's routes: every failure is a Problem with a reason, a remedy and a request id. */

const PATIENCE_MS = 60_000;

export class Problem extends Error {
  constructor({ error, code, hint = "", requestId = "" }, status = 0) {
    super(error);
    this.name = "Problem";
    Object.assign(this, { code, hint, requestId, status });
  }
}

/**
 * Returns `request(method, path, body)`, which resolves to `data`, and `open(path, signal)`, which
 * resolves to a response whose body is a stream.
 *
 * `onCall` is told of every call: its method, path, status, milliseconds and Server-Timing.
 */
export function createApi({ getToken, getLanguage, getWords, onCall }) {
  async function send(method, path, body, signal) {
    const headers = { "Accept-Language": getLanguage(), Authorization: `Bearer ${getToken()}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const began = performance.now();
    let response;
    try {
      const text = body === undefined ? undefined : JSON.stringify(body);
      response = await fetch(path, { method, headers, body: text, signal });
    } catch (error) {
      if (signal.aborted && signal.reason?.name !== "TimeoutError") throw error;
      throw unreachable();
    }
    onCall({
      method,
      path: path.split("?")[0],
      status: response.status,
      milliseconds: performance.now() - began,
      hops: hopsOf(response.headers.get("server-timing")),
    });
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  function unreachable() {
    const words = getWords();
    return new Problem({
      error: words["unreachable"],
      code: "UNREACHABLE",
      hint: words["unreachable.hint"],
    });
  }

  async function problemOf(response) {
    const requestId = response.headers.get("x-request-id") ?? "";
    const words = getWords();
    const unknown = {
      error: words["unreadable"],
      code: `HTTP_${response.status}`,
      hint: words["unreachable.hint"],
      requestId,
    };
    const body = await response.json().catch(() => unknown);
    return new Problem(typeof body.error === "string" ? body : unknown, response.status);
  }

  return {
    async request(method, path, body) {
      const response = await send(method, path, body, AbortSignal.timeout(PATIENCE_MS));
      return (await response.json()).data;
    },
    open: (path, signal) => send("GET", path, undefined, signal),
  };
}

/** Reads `gateway;dur=1.2, rpc;dur=0.8` as {gateway: 1.2, rpc: 0.8}. */
function hopsOf(header) {
  const hops = {};
  for (const part of (header ?? "").split(",")) {
    const [, name, milliseconds] = /^\s*([\w-]+)\s*;.*?dur=([\d.]+)/.exec(part) ?? [];
    if (name) hops[name] = Number(milliseconds);
  }
  return hops;
}

/** Returns a path with those parameters that there are. */
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value != null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Types of chatkit-client.js. They fit @openai/chatkit 1.x and need nothing of it. */

export type ChatKitMode = "hosted" | "self_hosted";

export interface ChatKitApiOptions {
  /** Where the gateway is, such as `https://chat.example.com`; empty is where the page is from. */
  baseUrl: string;
  /**
   * The dashboard's JSON Web Token, or what returns it. It is asked for with every new client
   * secret, so that a renewed login counts.
   */
  getToken: MaybeLazy<string | null | undefined>;
  /** Self-hosted mode: from OpenAI's list of allowed domains. On localhost anything will do. */
  domainKey?: string;
  /** What the agent may know of the user: `username`, `role`, `userContext`. */
  user?: MaybeLazy<object>;
  /** For a copy of the file; the gateway that serves it says it by itself. */
  mode?: ChatKitMode;
  /** Instead of the browser's, for instance to log. */
  fetch?: typeof fetch;
}

export type MaybeLazy<T> = T | (() => T | Promise<T>);

/** The browser talks to OpenAI with a client secret that this fetches. */
export interface HostedApi {
  getClientSecret: (currentClientSecret: string | null) => Promise<string>;
}

/** The browser talks to the gateway; `fetch` adds the client secret, and renews it. */
export interface SelfHostedApi {
  url: string;
  domainKey: string;
  fetch: typeof fetch;
  uploadStrategy: { type: "direct"; uploadUrl: string };
}

/**
 * Returns the `api` option of `useChatKit` and `<openai-chatkit>`.
 *
 * Call it once, outside of components: what it returns keeps the client secret.
 */
export function chatkitApi(options: ChatKitApiOptions & { mode: "hosted" }): HostedApi;
export function chatkitApi(options: ChatKitApiOptions & { mode: "self_hosted" }): SelfHostedApi;
export function chatkitApi(options: ChatKitApiOptions): HostedApi | SelfHostedApi;

/** What the gateway said instead of a success. `message` is for people, in their language. */
export class ChatKitApiError extends Error {
  constructor(response: Response, envelope: object);
  /** Reads the error from an answer that is no success, such as one of `api.fetch`. */
  static from(response: Response): Promise<ChatKitApiError>;
  /** The HTTP status. */
  status: number;
  /** The reason, for programs: `RATE_LIMITED`. */
  code: string | undefined;
  /** What to do about it. */
  hint: string | undefined;
  /** Finds the request in the logs. */
  requestId: string | undefined;
}

/** The chat beside the page, for the mode that is served: OpenAI's component or our own. */

import { $, element } from "./dom.js";
import { Problem } from "./api.js";
import { problemBox } from "./problem.js";
import { isDark } from "./preferences.js";

const SESSION = "/api/chatkit/session";
const REFRESH = "/api/chatkit/refresh";
const COMPONENT = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js";
const LOADING_MS = 20_000;

export function createChatPanel({ api, getView }) {
  const dialog = $("chat");
  let opened = null; // the session that was created to learn the mode, until its secret is asked for
  let chat = null;

  $("open-chat").addEventListener("click", () => void open());
  $("close-chat").addEventListener("click", () => dialog.close());

  async function open() {
    dialog.showModal();
    if (!chat) await fill();
  }

  async function fill() {
    const { words } = getView();
    const room = $("chat-room");
    room.replaceChildren(element("p", { role: "status", class: "empty" }, words["chat.opening"]));
    try {
      opened = await api.request("POST", SESSION, {});
      chat = await (opened.mode === "self_hosted" ? ours() : openAIs());
      room.replaceChildren(chat);
    } catch (error) {
      const again = element("button", { type: "button", onclick: () => void fill() }, words.again);
      room.replaceChildren(problemBox(error, words), again);
    }
  }

  /** Returns a client secret, as either component asks for one: a new one in place of `current`. */
  async function getClientSecret(current) {
    if (!current) {
      const session = opened ?? (await api.request("POST", SESSION, {}));
      opened = null;
      return session.client_secret;
    }
    try {
      return (await api.request("POST", REFRESH, { existingSecret: current })).client_secret;
    } catch (error) {
      if (error.status !== 404 && error.status !== 410) throw error;
      return (await api.request("POST", SESSION, {})).client_secret; // it was deleted meanwhile
    }
  }

  async function ours() {
    const { words } = getView();
    try {
      await import("./chat.js");
    } catch {
      throw new Problem({
        error: words["chat.missing"],
        hint: words["chat.missing.hint"],
        code: "CHAT_NOT_LOADED",
      });
    }
    const made = element("chatkit-chat", { lang: words.language });
    return Object.assign(made, { getClientSecret, apiUrl: "/api/chatkit", uploads: true });
  }

  async function openAIs() {
    const { words } = getView();
    try {
      await loadComponent();
    } catch {
      throw new Problem({
        error: words["chat.unloaded"],
        hint: words["chat.unloaded.hint"],
        code: "CHAT_NOT_LOADED",
      });
    }
    const made = element("openai-chatkit");
    made.setOptions({
      api: { getClientSecret },
      locale: words.language,
      theme: isDark() ? "dark" : "light",
    });
    return made;
  }

  return {
    /** Ends the chat, as whoever logs in next is somebody else. */
    close() {
      dialog.close();
      chat = opened = null;
      $("chat-room").replaceChildren();
    },
    show() {
      if (chat) chat.lang = getView().words.language;
    },
  };
}

/** Loads OpenAI's script, which defines the element; again where it failed before. */
async function loadComponent() {
  const loaded = new Promise((resolve, reject) => {
    const script = element("script", { src: COMPONENT, onload: resolve, onerror: reject });
    setTimeout(reject, LOADING_MS);
    document.head.append(script);
  });
  if (!customElements.get("openai-chatkit")) {
    await loaded;
    await customElements.whenDefined("openai-chatkit");
  }
}

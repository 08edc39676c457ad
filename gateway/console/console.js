/** The console: who is logged in, in which language, and what the parts of the page show of it. */

import { createApi, withQuery } from "./api.js";
import { createCalls } from "./calls.js";
import { createChatPanel } from "./chat_panel.js";
import { $, element } from "./dom.js";
import { formatter } from "./format.js";
import { createHealth } from "./health.js";
import { follow } from "./live.js";
import { showStats } from "./overview.js";
import * as preferences from "./preferences.js";
import { problemBox } from "./problem.js";
import { createSessions } from "./sessions.js";
import { put, WORDS } from "./texts.js";

const RANGES = [7, 30, 90];
const CHANGES_OF_SESSIONS = ["totalSessions", "activeSessions", "refreshes", "deletedSessions"];

const state = {
  language: preferences.preferredLanguage(),
  token: preferences.tokenOfAddress() ?? preferences.keptToken(),
  caller: null,
  scope: "", // the user whose figures an administrator has asked for
  days: 30,
  stats: null,
  updated: null,
  connection: "waiting",
  reasons: {},
  expired: false,
};
let unfollow = () => {};

/** What the parts of the page need to show what they know. */
function view() {
  return {
    words: WORDS[state.language],
    format: formatter(state.language),
    reasons: state.reasons[state.language] ?? {},
    caller: state.caller,
    scope: state.scope,
    days: state.days,
  };
}

const calls = createCalls(view);
const api = createApi({
  getToken: () => state.token,
  getLanguage: () => state.language,
  getWords: () => WORDS[state.language],
  onCall: calls.note,
});

/** `api`, but a 401 leads to the login. */
const guarded = {
  ...api,
  async request(...call) {
    try {
      return await api.request(...call);
    } catch (error) {
      if (error.code === "UNAUTHENTICATED") logout(true);
      throw error;
    }
  },
};

const sessions = createSessions({ api: guarded, getView: view, announce });
const health = createHealth({ api: guarded, getView: view, announce });
const chatPanel = createChatPanel({ api: guarded, getView: view });

function announce(text) {
  $("announcer").textContent = text;
}

// --- logging in and out ---

async function login() {
  $("login-problem").replaceChildren();
  try {
    state.caller = await api.request("GET", "/api/chatkit/me");
    preferences.keepToken(state.token);
    state.expired = false;
    enter();
  } catch (error) {
    if (error.code === "UNAUTHENTICATED") logout(true);
    else showLogin(error);
  }
}

function enter() {
  show();
  $("main").focus();
  state.reasons = {};
  void loadReasons();
  void health.load();
  void sessions.load();
  watch();
}

function logout(expired) {
  unfollow();
  preferences.keepToken(null);
  Object.assign(state, { token: null, caller: null, scope: "", expired });
  forget();
  health.forget();
  sessions.forget();
  chatPanel.close();
  for (const id of ["details", "confirm"]) $(id).close();
  showLogin(null);
  $("token").focus();
}

/** Takes figures away that are another user's than whose are to come. */
function forget() {
  Object.assign(state, { stats: null, updated: null });
  for (const id of ["figures", "plots", "reasons", "answers", "problem"]) $(id).replaceChildren();
  $("numbers").hidden = true;
}

function showLogin(problem) {
  show();
  const { words } = view();
  const said = state.expired ? element("p", { class: "problem" }, words["login.expired"]) : "";
  $("login-problem").replaceChildren(problem ? problemBox(problem, words) : said);
}

async function loadReasons() {
  const response = await fetch("/console/reasons.json").catch(() => null);
  if (!response?.ok) return;
  state.reasons = await response.json();
  show();
}

// --- the statistics, live ---

function watch() {
  unfollow();
  state.connection = "waiting";
  showConnection();
  unfollow = follow({
    open: (signal) =>
      api.open(
        withQuery("/api/chatkit/stats/stream", { userId: state.scope, days: state.days }),
        signal,
      ),
    onEvent,
    onState(connection, problem) {
      if (problem?.code === "UNAUTHENTICATED") return logout(true);
      state.connection = connection;
      showProblem(problem);
      return showConnection();
    },
  });
}

/** Returns false where the stream is not to be opened again. */
function onEvent(name, data) {
  if (name === "error") {
    if (data.code === "UNAUTHENTICATED") {
      logout(true);
      return false;
    }
    showProblem(Object.assign(new Error(data.error), data));
  }
  if (name === "stats") {
    const changed = CHANGES_OF_SESSIONS.some((figure) => state.stats?.[figure] !== data[figure]);
    const first = state.stats === null;
    state.stats = data;
    state.updated = new Date();
    showStats(data, view());
    showProblem(null);
    showConnection();
    if (changed && !first) void sessions.load();
  }
  return true;
}

function showProblem(problem) {
  $("problem").replaceChildren(problem ? problemBox(problem, view().words) : "");
}

function showConnection() {
  const { words, format } = view();
  const live = state.connection === "live" && state.updated;
  $("live").hidden = !state.caller;
  $("live").dataset.state = live ? "live" : "waiting";
  const since = live ? ` · ${words.updated} ${format.clock(state.updated)}` : "";
  $("live-text").replaceChildren(
    live ? words.live : words[state.updated ? "waiting" : "connecting"],
    element("span", { class: "since" }, since),
  );
}

// --- the page ---

function show() {
  const { words, caller, scope } = view();
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll("[data-text]")) {
    node.textContent = words[node.dataset.text];
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    if (node.tagName === "NAV") node.setAttribute("aria-label", words[node.dataset.label]);
  }
  document.title = `ChatKit · ${words.title}`;
  $("language").textContent = words["other-language"];
  $("language").lang = words["other-code"];
  showTheme();
  $("login").hidden = Boolean(caller);
  for (const id of ["board", "logout", "open-chat"]) $(id).hidden = !caller;
  showConnection();
  if (!caller) return;
  $("scope").hidden = !caller.administrator;
  $("scope-all").disabled = !scope;
  $("whose").textContent = whose(words, caller, scope);
  showRanges(words);
  if (state.stats) showStats(state.stats, view());
  else $("plots").replaceChildren(element("p", { class: "empty card" }, words.loading));
  sessions.show();
  health.show();
  calls.show();
  chatPanel.show();
}

function whose(words, caller, scope) {
  if (!caller.administrator) return put(words["whose.own"], { user: caller.userId });
  return scope ? put(words["whose.user"], { user: scope }) : words["whose.all"];
}

function showTheme() {
  const { words } = view();
  $("theme").textContent = words[preferences.isDark() ? "light" : "dark"];
}

function showRanges(words) {
  const choices = RANGES.map((days) => {
    const input = element("input", {
      type: "radio",
      name: "days",
      value: days,
      checked: days === state.days,
      onchange: () => {
        state.days = days;
        watch();
      },
    });
    return element("label", {}, input, element("span", {}, put(words["range.days"], { days })));
  });
  $("range").replaceChildren($("range").querySelector("legend"), ...choices);
}

function setScope(user) {
  state.scope = user;
  $("scope-user").value = user;
  $("search").elements.user.value = "";
  forget();
  show();
  watch();
  void sessions.load();
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value.trim();
  $("token").value = "";
  void login();
});
$("logout").addEventListener("click", () => logout(false));
$("language").addEventListener("click", () => {
  state.language = state.language === "es" ? "en" : "es";
  preferences.rememberLanguage(state.language);
  show();
  if (state.caller) void health.load(); // its texts come from the gateway
});
$("theme").addEventListener("click", () => {
  preferences.chooseTheme(preferences.isDark() ? "light" : "dark");
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
$("scope").addEventListener("submit", (event) => {
  event.preventDefault();
  setScope($("scope-user").value.trim());
});
$("scope-all").addEventListener("click", () => setScope(""));
// Nobody looks at a hidden page: it leaves its place to others, and is back at once.
document.addEventListener("visibilitychange", () => {
  if (!state.caller) return;
  if (document.hidden) unfollow();
  else watch();
});
addEventListener("hashchange", () => {
  const token = preferences.tokenOfAddress();
  if (!token) return;
  logout(false);
  state.token = token;
  void login();
});

show();
if (state.token) void login();

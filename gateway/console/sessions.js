/** The list of sessions: search, details, and delete after a confirmation. */

import { withQuery } from "./api.js";
import { $, element, table } from "./dom.js";
import { problemBox } from "./problem.js";
import { put } from "./texts.js";

const PAGE_SIZE = 20;

/** `getView` returns words, format, the caller and the user whose figures are shown. */
export function createSessions({ api, getView, announce }) {
  let found = null; // until the first answer
  let nextPageToken = null;
  let newest = 0; // the number of the last search: answers of those before it come too late

  const form = $("search");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void load();
  });
  form.elements.active.addEventListener("change", () => void load());
  $("more").addEventListener("click", () => void load(nextPageToken));

  function forget() {
    newest += 1;
    found = null;
    nextPageToken = null;
    form.reset();
    for (const id of ["sessions-list", "sessions-problem"]) $(id).replaceChildren();
  }

  function query(pageToken) {
    const { scope } = getView();
    const [user, id] = [form.elements.user.value.trim(), form.elements.id.value.trim()];
    return withQuery("/api/chatkit/sessions", {
      userId: user || scope,
      sessionId: id,
      active: form.elements.active.checked ? "true" : "",
      pageSize: PAGE_SIZE,
      pageToken,
    });
  }

  async function load(pageToken = null) {
    const search = (newest += 1);
    try {
      const page = await api.request("GET", query(pageToken));
      if (search !== newest) return;
      found = pageToken ? [...found, ...page.sessions] : page.sessions;
      nextPageToken = page.nextPageToken;
      $("sessions-problem").replaceChildren();
      show();
    } catch (error) {
      if (search === newest) tell(error);
    }
  }

  function tell(error) {
    if (!found) $("sessions-list").replaceChildren();
    $("sessions-problem").replaceChildren(problemBox(error, getView().words));
  }

  function show() {
    const { words, format, caller } = getView();
    $("search-user-field").hidden = !caller?.administrator;
    $("more").hidden = !nextPageToken;
    if (!found) {
      $("sessions-count").textContent = "";
      return $("sessions-list").replaceChildren(element("p", { class: "empty" }, words.loading));
    }
    $("sessions-count").textContent = put(words["sessions.count"], {
      count: format.number(found.length) + (nextPageToken ? "+" : ""),
    });
    if (!found.length) {
      const searched = form.elements.id.value || form.elements.user.value;
      const text = words[searched ? "sessions.unfound" : "sessions.none"];
      return $("sessions-list").replaceChildren(element("p", { class: "empty" }, text));
    }
    const columns = ["id", "user", "status", "created", "expires", "actions"];
    const headings = columns.map((name) => words[`session.${name}`]);
    return $("sessions-list").replaceChildren(
      table(words.sessions, headings, found.map(row), "cards"),
    );
  }

  function row(session) {
    const { format } = getView();
    return [
      element("code", {}, session.id),
      session.user_id,
      badge(session.status),
      format.moment(session.created_at),
      format.moment(session.expires_at),
      element("span", { class: "row-actions" }, actions(session)),
    ];
  }

  function badge(status) {
    const { words } = getView();
    return element("span", { class: `badge ${status}` }, words[`status.${status}`]);
  }

  function actions(session) {
    const { words } = getView();
    const named = (word) => ({ type: "button", "aria-label": `${words[word]}: ${session.id}` });
    const details = element(
      "button",
      { ...named("session.details"), onclick: () => void openDetails(session) },
      words["session.details"],
    );
    if (session.status === "deleted") return [details];
    const remove = element(
      "button",
      { ...named("session.delete"), class: "danger", onclick: () => askToDelete(session) },
      words["session.delete"],
    );
    return [details, remove];
  }

  function pathOf(session) {
    const { caller } = getView();
    const other = session.user_id === caller.userId ? "" : session.user_id;
    return withQuery(`/api/chatkit/session/${encodeURIComponent(session.id)}`, { userId: other });
  }

  async function openDetails(session) {
    const { words } = getView();
    try {
      const current = await api.request("GET", pathOf(session));
      const dialog = $("details");
      dialog.replaceChildren(
        element("h2", { id: "details-title" }, words["session.details"]),
        element("dl", { class: "pairs" }, pairsOf(current)),
        element("div", { class: "row-actions" }, closeButton(dialog, words.close)),
      );
      dialog.showModal();
    } catch (error) {
      tell(error);
    }
  }

  function pairsOf(session) {
    const { words, format } = getView();
    const moment = (seconds) => (seconds ? format.moment(seconds) : null);
    const code = (text) => (text ? element("code", {}, text) : null);
    const pairs = {
      id: code(session.id),
      user: session.user_id,
      status: badge(session.status),
      mode: session.mode,
      workflow: code(session.workflow_id),
      created: moment(session.created_at),
      expires: moment(session.expires_at),
      deleted: moment(session.deleted_at),
      from: code(session.refreshed_from),
      to: code(session.refreshed_to),
    };
    return Object.entries(pairs)
      .filter(([, value]) => value)
      .map(([name, value]) =>
        element("div", {}, element("dt", {}, words[`session.${name}`]), element("dd", {}, value)),
      );
  }

  function askToDelete(session) {
    const { words } = getView();
    const dialog = $("confirm");
    const values = { id: session.id, user: session.user_id };
    const remove = () => {
      dialog.close();
      void deleteSession(session);
    };
    dialog.replaceChildren(
      element("h2", { id: "confirm-title" }, words["delete.title"]),
      element("p", { id: "confirm-text" }, put(words["delete.text"], values)),
      element(
        "div",
        { class: "row-actions" },
        closeButton(dialog, words.cancel, true),
        element(
          "button",
          { type: "button", class: "danger solid", onclick: remove },
          words["session.delete"],
        ),
      ),
    );
    dialog.showModal();
  }

  function closeButton(dialog, word, autofocus = false) {
    return element("button", { type: "button", autofocus, onclick: () => dialog.close() }, word);
  }

  async function deleteSession(session) {
    try {
      await api.request("DELETE", pathOf(session));
      announce(put(getView().words["delete.done"], { id: session.id }));
      await load();
    } catch (error) {
      tell(error);
    }
    $("sessions-title").focus(); // the button that had it is gone
  }

  return { load, show, forget };
}

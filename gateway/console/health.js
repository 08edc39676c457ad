/** The checklist of what has to be in order, and the mode; administrators can ask OpenAI, too. */

import { $, element } from "./dom.js";
import { problemBox } from "./problem.js";

const CHECKS = "/api/chatkit/checks";
const MARKS = { passed: "✓", failed: "✗", warning: "!", skipped: "–" };

export function createHealth({ api, getView, announce }) {
  let answer = null; // what the route has said
  let problem = null;

  $("ask-openai").addEventListener("click", () => void load("POST"));

  async function load(method = "GET") {
    const button = $("ask-openai");
    button.disabled = true;
    if (method === "POST") announce(getView().words["health.asking"]);
    try {
      answer = await api.request(method, CHECKS);
      problem = null;
    } catch (error) {
      problem = error;
    }
    button.disabled = false;
    show();
  }

  function show() {
    const { words, caller } = getView();
    $("ask-openai").hidden = !caller?.administrator || !answer;
    if (problem) return $("checks").replaceChildren(problemBox(problem, words));
    if (!answer) return $("checks").replaceChildren(element("p", {}, words["health.asking"]));
    const mode = words[`mode.${answer.mode}`] ?? "–"; // nobody knows it while the service is away
    return $("checks").replaceChildren(
      element("p", { class: "mode" }, `${words["health.mode"]}: `, element("strong", {}, mode)),
      ...groups(answer.checks),
    );
  }

  /** Returns the checks of each process below its name, as some are of both. */
  function groups(checks) {
    const { words } = getView();
    const isOfGateway = ({ name }) => name.startsWith("gateway.");
    const processes = [
      ["service", checks.filter((check) => !isOfGateway(check))],
      ["gateway", checks.filter(isOfGateway)],
    ];
    return processes
      .filter(([, own]) => own.length)
      .flatMap(([process, own]) => [
        element("h3", { id: `checks-${process}` }, words[`health.${process}`]),
        element(
          "ul",
          { class: "checks", "aria-labelledby": `checks-${process}` },
          own.map(item),
        ),
      ]);
  }

  function item({ name, state, title, remedy, details }) {
    const { words } = getView();
    const needsMending = state === "failed" || state === "warning";
    const facts = Object.entries(details ?? {}).map(([key, value]) => `${key}: ${value}`);
    const skipped = element("p", { class: "soft", "aria-hidden": "true" }, words["check.skipped"]);
    return element(
      "li",
      { "data-state": state, "data-check": name },
      element("span", { class: "mark", "aria-hidden": "true" }, MARKS[state] ?? "?"),
      element(
        "div",
        {},
        element("p", {}, element("span", { class: "unseen" }, `${words[`check.${state}`]}: `), title),
        state === "skipped" ? skipped : null,
        remedy && needsMending ? element("p", { class: "soft" }, remedy) : null,
        facts.length && needsMending ? element("code", { class: "soft" }, facts.join(" · ")) : null,
      ),
    );
  }

  return {
    load,
    show,
    forget() {
      answer = problem = null;
    },
  };
}

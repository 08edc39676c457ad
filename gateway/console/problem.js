/** Shows a failure: what happened, what to do, its reason, and the id that finds it in the logs. */

import { element } from "./dom.js";

export function problemBox(problem, words) {
  const ids = [element("code", {}, problem.code ?? "")];
  if (problem.requestId) ids.push(`${words["request-id"]} `, element("code", {}, problem.requestId));
  return element(
    "div",
    { class: "problem" },
    element("p", {}, element("strong", {}, problem.message)),
    problem.hint ? element("p", {}, problem.hint) : null,
    element("p", { class: "ids" }, ids),
  );
}

/** How long the page's own calls took, and where: the hops of their Server-Timing. */

import { $, element, table } from "./dom.js";

const KEPT = 6;
const HOPS = ["gateway", "rpc", "upstream", "store"];

/** Returns a path without what is the same in all of them, and without ids. */
function nameOf(path) {
  return path.replace("/api/chatkit", "").replace(/^\/session\/.*/, "/session/…");
}

export function createCalls(getView) {
  const calls = [];

  function show() {
    const { words, format } = getView();
    const heading = element("h3", {}, words["latency.calls"]);
    const known = HOPS.filter((hop) => calls.some(({ hops }) => hop in hops));
    const headings = [
      words["call.path"],
      words["call.total"],
      ...known.map((hop) => words[`hop.${hop}`]),
    ];
    const rows = calls.map(({ method, path, milliseconds, hops }) => [
      element("code", {}, `${method} ${nameOf(path)}`),
      format.milliseconds(milliseconds),
      ...known.map((hop) => (hop in hops ? format.milliseconds(hops[hop]) : "–")),
    ]);
    const none = element("p", { class: "empty" }, words["latency.calls.none"]);
    $("calls").replaceChildren(
      heading,
      calls.length ? table(words["latency.calls"], headings, rows, "plain") : none,
    );
  }

  return {
    show,
    note(call) {
      calls.unshift(call);
      calls.length = Math.min(calls.length, KEPT);
      show();
    },
  };
}

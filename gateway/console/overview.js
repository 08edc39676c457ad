/** What the statistics say: today's figures, trends, failures by reason, the latency of answers. */

import { $, element, table } from "./dom.js";
import { plot } from "./plots.js";
import { put } from "./texts.js";

const SERIES = ["sessions", "messages", "failures", "refreshes"];

/** Shows everything that depends on the statistics; `view` has words, format, reasons, days. */
export function showStats(stats, view) {
  showFigures(stats, view);
  showTrends(stats, view);
  showFailures(stats, view);
  showAnswerTimes(stats, view);
}

function showFigures(stats, { words, format }) {
  const total = (count) => put(words["figure.total"], { count: format.number(count) });
  const when = (time) => format.recent(new Date(time));
  const figures = [
    ["sessions", format.number(stats.sessionsToday), total(stats.totalSessions)],
    ["messages", format.number(stats.messagesToday), total(stats.totalMessages)],
    ["duration", format.duration(stats.averageSessionDuration), words["figure.per-session"]],
    [
      "active",
      format.number(stats.activeSessions),
      stats.lastActivity
        ? put(words["figure.last"], { when: when(stats.lastActivity) })
        : words["figure.never"],
    ],
  ];
  $("figures").replaceChildren(
    ...figures.map(([name, value, note]) =>
      element(
        "div",
        { class: "figure card", "data-figure": name },
        element("dt", {}, words[`figure.${name}`]),
        element("dd", { class: "value" }, value),
        element("dd", { class: "soft" }, note),
      ),
    ),
  );
}

function showTrends({ daily }, view) {
  const { words, format } = view;
  const dates = daily.map(({ date }) => date);
  const any = daily.some((day) => SERIES.some((name) => day[name]));
  const plots = SERIES.map((name) =>
    plot({
      title: words[`series.${name}`],
      tone: name,
      dates,
      values: daily.map((day) => day[name]),
      format,
      words,
    }),
  );
  const empty = element("p", { class: "empty card" }, words["trends.none"]);
  $("plots").replaceChildren(...(any ? plots : [empty]));
  $("numbers").hidden = !any;
  const rows = daily
    .map((day) => [format.day(day.date), ...SERIES.map((name) => format.number(day[name]))])
    .reverse();
  const headings = [words.day, ...SERIES.map((name) => words[`series.${name}`])];
  $("numbers")
    .querySelector("div")
    .replaceChildren(table(words.trends, headings, rows, "plain"));
}

function showFailures({ daily }, view) {
  const { words, format, days, reasons } = view;
  const counts = failuresIn(daily);
  if (!counts.length) {
    const text = put(words["failures.none"], { days });
    return $("reasons").replaceChildren(element("p", { class: "empty" }, text));
  }
  return $("reasons").replaceChildren(
    element(
      "ul",
      { class: "reasons" },
      counts.map(([reason, count]) => {
        const text = reasons[reason] ?? { error: reason, hint: "" };
        const times = put(words["failures.times"], { count: format.number(count), days });
        return element(
          "li",
          {},
          element(
            "p",
            { class: "split" },
            element("strong", {}, text.error),
            element("span", { class: "soft" }, times),
          ),
          element("meter", { max: counts[0][1], value: count, "aria-hidden": "true" }),
          element("p", {}, text.hint),
          element("code", {}, reason),
        );
      }),
    ),
  );
}

/** Returns the failures of these days as [reason, count], the most frequent first. */
function failuresIn(daily) {
  const counts = new Map();
  for (const { failuresByReason } of daily) {
    for (const [reason, count] of Object.entries(failuresByReason)) {
      counts.set(reason, (counts.get(reason) ?? 0) + count);
    }
  }
  return [...counts].sort(([, one], [, other]) => other - one);
}

function showAnswerTimes({ answerTime, daily }, { words, format }) {
  const heading = element("h3", {}, words["latency.answers"]);
  if (!answerTime) {
    const none = element("p", { class: "empty" }, words["latency.none"]);
    return $("answers").replaceChildren(heading, none);
  }
  const today = daily.at(-1).answerTime;
  const cell = (time, percentile) => (time ? format.seconds(time[percentile]) : "–");
  const rows = [
    [words["latency.typical"], cell(today, "p50"), cell(answerTime, "p50")],
    [words["latency.slow"], cell(today, "p95"), cell(answerTime, "p95")],
  ];
  const headings = ["", words["latency.today"], words["latency.ever"]];
  return $("answers").replaceChildren(
    heading,
    table(words["latency.answers"], headings, rows, "plain"),
  );
}

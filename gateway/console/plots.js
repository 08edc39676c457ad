/** Bars of a day each as SVG, drawn anew whenever the room for them changes. */

import { element, svg } from "./dom.js";

const HEIGHT = 168;
const MARGIN = { top: 12, right: 20, bottom: 26, left: 40 };
const LABEL_WIDTH = 76;

/** Returns a figure: `title`, the sum of `values`, and a bar for each of the `dates`. */
export function plot({ title, tone, dates, values, format, words }) {
  const total = values.reduce((sum, value) => sum + value, 0);
  const room = element("div", { class: "room" });
  const figure = element(
    "figure",
    { class: `plot card tone-${tone}` },
    element(
      "figcaption",
      {},
      element("span", {}, title),
      element("strong", {}, format.number(total)),
    ),
    room,
  );
  const label = summary({ title, total, dates, values, format, words });
  const draw = () => room.replaceChildren(chart({ label, dates, values, format, room }));
  new ResizeObserver(draw).observe(room);
  return figure;
}

function summary({ title, total, dates, values, format, words }) {
  const most = Math.max(...values);
  const text = `${title}: ${words["plot.total"]} ${format.number(total)}`;
  if (!most) return `${text}.`;
  const day = format.day(dates[values.indexOf(most)]);
  return `${text}, ${words["plot.most"]} ${format.number(most)} (${day}).`;
}

function chart({ label, dates, values, format, room }) {
  const width = Math.max(room.clientWidth, 200);
  const [inner, depth] = [width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  const ticks = ticksUpTo(Math.max(...values, 1));
  const y = (value) => MARGIN.top + depth * (1 - value / ticks.at(-1));
  const step = inner / dates.length;
  const x = (at) => MARGIN.left + step * at;
  return svg(
    "svg",
    { role: "img", "aria-label": label, viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT },
    ticks.map((tick) => gridLine(tick, y(tick), width, format)),
    values.map((value, at) =>
      bar(
        { value, left: x(at), top: y(value), floor: y(0), step },
        `${format.day(dates[at])}: ${format.number(value)}`,
      ),
    ),
    dayLabels(dates, x, step, inner, format),
  );
}

function gridLine(tick, y, width, format) {
  return svg(
    "g",
    { class: tick ? "grid" : "grid floor" },
    svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
    svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, format.compact(tick)),
  );
}

function bar({ value, left, top, floor, step }, label) {
  const gap = Math.min(step * 0.3, 6);
  const width = Math.min(step - gap, 28);
  const height = value ? Math.max(floor - top, 2) : 0;
  const middle = left + step / 2;
  return svg(
    "g",
    { class: "day" },
    svg("title", {}, label),
    // All of the day's room answers to the pointer, however small the bar.
    svg("rect", { class: "hit", x: left, y: MARGIN.top, width: step, height: floor - MARGIN.top }),
    svg("rect", {
      class: "bar",
      x: middle - width / 2,
      y: floor - height,
      width,
      height,
      rx: Math.min(3, width / 3),
    }),
  );
}

function dayLabels(dates, x, step, inner, format) {
  const every = Math.max(1, Math.ceil(dates.length / Math.max(1, Math.floor(inner / LABEL_WIDTH))));
  const last = dates.length - 1;
  return dates.map((date, at) =>
    (last - at) % every
      ? null
      : svg(
          "text",
          { class: "date", x: x(at) + step / 2, y: HEIGHT - 8, "text-anchor": "middle" },
          format.day(date),
        ),
  );
}

/** Returns up to five round numbers from 0 on, the last not below `most`. */
function ticksUpTo(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, at) => at * step);
}

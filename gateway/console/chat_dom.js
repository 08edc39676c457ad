/** Makes the elements and icons of the chat: by nodes alone, so that text can never become HTML. */

/**
 * Returns a new element. `spec` is its name with classes, `div.user.pending`. Properties are set as
 * such where elements have them, else as attributes; null and false leave them out.
 */
export function h(spec, properties = {}, ...children) {
  const [name, ...classes] = spec.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === false || value === undefined) continue;
    if (key in element) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Returns a button that is an icon: its label is for who does not see it, and a tooltip. */
export function iconButton(icon, label, onclick, properties = {}) {
  return h(
    "button.icon",
    { type: "button", title: label, "aria-label": label, onclick, ...properties },
    iconOf(icon),
  );
}

/** Lets Escape do something in an element, and nothing around it unless `act` returns false. */
export function onEscape(element, act) {
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || act() === false) return;
    event.stopPropagation();
    event.preventDefault(); // else it closes the dialog, too, that the chat may be in
  });
}

const SVG = "http://www.w3.org/2000/svg";

/** Strokes in a square of 24. */
const PATHS = {
  attach:
    "M20 11.5 12 19.4a5 5 0 0 1-7-7l8.4-8.4a3.3 3.3 0 0 1 4.7 4.7L9.7 17a1.7 1.7 0 0 1-2.4-2.4l7.5-7.5",
  send: "M12 19.5V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7.5 7.5h9v9h-9z",
  plus: "M12 5v14M5 12h14",
  threads: "M4 6h16M4 12h16M4 18h10",
  close: "m6 6 12 12M18 6 6 18",
  remove: "M4 7h16M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7M10.3 11v5M13.7 11v5",
  rename: "m14.5 5.5 4 4L8 20H4v-4zM12.5 7.5l4 4",
  web_search:
    "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M3.5 12h17M12 3.5c5 5.5 5 11.5 0 17-5-5.5-5-11.5 0-17",
  file: "M6 3.5h8l4.5 4.5v12.5H6zM14 3.5V8h4.5",
  code: "m8.5 8-4.5 4 4.5 4M15.5 8l4.5 4-4.5 4M13.5 5l-3 14",
  thought:
    "M9.5 18.5h5M10.5 21h3M12 3a6 6 0 0 0-3.5 10.9c.7.5 1 1.3 1 2.1h5c0-.8.3-1.6 1-2.1A6 6 0 0 0 12 3",
  image: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 3-3L20 17M14.5 9h.01",
  check: "m5 12.5 4.5 4.5L19 7.5",
  warning: "M12 4 2.8 19.5h18.4zM12 10v4.5M12 17v.1",
  info: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 11v5.5M12 7.7v.1",
  retry: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4v5h-5",
  down: "M12 5v14M6 13l6 6 6-6",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  good: "M7.5 11v9H4v-9zM7.5 11 11.5 3.5c1.5 0 2.5 1.1 2.2 2.6L13 9.5h5.5a1.5 1.5 0 0 1 1.5 1.8l-1.3 7a2 2 0 0 1-2 1.7H7.5",
  bad: "M7.5 13V4H4v9zM7.5 13l4 7.5c1.5 0 2.5-1.1 2.2-2.6L13 14.5h5.5a1.5 1.5 0 0 0 1.5-1.8l-1.3-7a2 2 0 0 0-2-1.7H7.5",
  assistant: "M12 3.5 13.9 10.1 20.5 12l-6.6 1.9L12 20.5l-1.9-6.6L3.5 12l6.6-1.9z",
};

/** Returns an icon, which says nothing to who cannot see it. */
export function iconOf(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "glyph");
  svg.dataset.name = name;
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name] ?? PATHS.info);
  svg.append(path);
  return svg;
}

/** Returns a link to what the model has named, or null where it is nothing that may be opened. */
export function externalLink(url, spec = "a", ...children) {
  let target;
  try {
    target = new URL(url);
  } catch {
    return null; // a relative one would lead into our own pages
  }
  if (!["http:", "https:", "mailto:"].includes(target.protocol)) return null;
  const properties = { href: target.href, target: "_blank", rel: "noopener noreferrer" };
  return h(spec, properties, ...children);
}

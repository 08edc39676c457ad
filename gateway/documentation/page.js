// Everything here is a comfort: the page is complete without it.
"use strict";

for (const span of document.querySelectorAll("[data-origin]")) {
  if (location.protocol.startsWith("http")) span.textContent = location.origin;
}

const announcer = document.querySelector(".announcer");

async function copy(text, code) {
  try {
    return await navigator.clipboard.writeText(text);
  } catch {
    // Not allowed, or not there: without HTTPS browsers copy what is selected, no more.
  }
  const selection = getSelection();
  selection.selectAllChildren(code);
  document.execCommand("copy");
  selection.removeAllRanges();
}

for (const button of document.querySelectorAll("button.copy")) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.closest("figure").querySelector("code");
    await copy(code.textContent, code);
    announcer.textContent = button.textContent = announcer.dataset.copied;
    setTimeout(() => {
      announcer.textContent = "";
      button.textContent = label;
    }, 1600);
  });
}

const contents = document.getElementById("contents");
const links = new Map();
for (const link of contents.querySelectorAll("a")) {
  links.set(link.hash.slice(1), link);
  link.addEventListener("click", () => {
    if (contents.matches(":popover-open")) contents.hidePopover();
  });
}

const reading = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "location");
    }
  },
  { rootMargin: "-15% 0px -75% 0px" },
);
for (const part of document.querySelectorAll(".part")) reading.observe(part);

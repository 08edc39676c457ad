// Runs before the page is painted, so that it does not flash in the other colours.
"use strict";
try {
  const theme = localStorage.getItem("chatkit.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be forbidden: the system's colours it is.
}

/** What a person has chosen, remembered where the browser allows it: language, colours, token. */

const LANGUAGE = "chatkit.language";
const THEME = "chatkit.theme";
const TOKEN = "chatkit.token";

function read(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return null; // storage can be forbidden
  }
}

function write(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, value);
  } catch {
    // it holds until the page is closed, then
  }
}

/** Returns "es" or "en": what was chosen, else the first that the browser prefers of the two. */
export function preferredLanguage() {
  const chosen = read("localStorage", LANGUAGE);
  if (chosen === "es" || chosen === "en") return chosen;
  const known = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return known.find((language) => language === "es" || language === "en") ?? "es";
}

export const rememberLanguage = (language) => write("localStorage", LANGUAGE, language);

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function chooseTheme(theme) {
  document.documentElement.dataset.theme = theme;
  write("localStorage", THEME, theme);
}

/** Takes the token out of the address, where others could read it, and returns it. */
export function tokenOfAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

export const keptToken = () => read("sessionStorage", TOKEN);
export const keepToken = (token) => write("sessionStorage", TOKEN, token);

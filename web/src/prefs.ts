/** What the reader chose, remembered in this browser. The token stays only until the tab is closed. */
export type Lang = "en" | "zh";
export type Theme = "auto" | "light" | "dark";

type Where = "localStorage" | "sessionStorage";

/** A browser may keep nothing: then even naming its store is an error. */
function kept(where: Where, name: string): string | null {
  try {
    return globalThis[where].getItem(`vesalius.${name}`);
  } catch (error) {
    console.warn("the browser keeps nothing for this page", error);
    return null;
  }
}

function keep(where: Where, name: string, value: string): void {
  try {
    globalThis[where].setItem(`vesalius.${name}`, value);
  } catch (error) {
    console.warn("the browser keeps nothing for this page", error);
  }
}

const asked = kept("localStorage", "lang");
let lang: Lang =
  asked === "en" || asked === "zh" ? asked : (globalThis.navigator?.language ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
let theme: Theme = (kept("localStorage", "theme") as Theme | null) ?? "auto";

export const language = (): Lang => lang;

export function setLanguage(next: Lang): void {
  lang = next;
  keep("localStorage", "lang", next);
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
}

export const themeChosen = (): Theme => theme;

export function setTheme(next: Theme): void {
  theme = next;
  keep("localStorage", "theme", next);
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
}

let held: string | null = null;
export const token = (): string | null => held ?? kept("sessionStorage", "token");

export function setToken(value: string): void {
  held = value;
  keep("sessionStorage", "token", value);
}

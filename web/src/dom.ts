/** A few helpers instead of a framework: elements, and texts that follow the language. */
type Child = Node | string | null | undefined | false;
type Value = string | number | boolean | null | undefined | (() => string) | ((event: never) => void);

const LIVE = "data-live";
const speaking = new WeakMap<Element, (() => void)[]>();

/** An element; `onclick` and its like are listeners, `text`, `label`, `title` and `placeholder` may be functions that follow the language. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) put(made, name, value);
  made.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return made;
}

function put(made: HTMLElement, name: string, value: Value): void {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) made.addEventListener(name.slice(2), value as EventListener);
  else if (typeof value === "function") live(made, name, value as () => string);
  else if (name === "text") made.textContent = String(value);
  else if (name === "value" && "value" in made) made.value = String(value);
  else made.setAttribute(name === "label" ? "aria-label" : name, value === true ? "" : String(value));
}

/** Set a text or an attribute now and whenever the language changes. */
export function live(made: Element, name: string, say: () => string): void {
  const apply = () => {
    if (name === "text") made.textContent = say();
    else made.setAttribute(name === "label" ? "aria-label" : name, say());
  };
  apply();
  speaking.set(made, [...(speaking.get(made) ?? []), apply]);
  made.setAttribute(LIVE, "");
}

/** Say everything again, in the language chosen now. */
export function relive(): void {
  for (const made of document.querySelectorAll(`[${LIVE}]`)) for (const apply of speaking.get(made) ?? []) apply();
}

export function clear(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
}

/** The element of that id, which the page always has. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element '${id}'`);
  return found;
}

/** A short message that a screen reader says too; errors stay until they are put away. */
export function tell(say: () => string, bad = false): void {
  const box = h("div", { class: bad ? "toast bad" : "toast", role: bad ? "alert" : "status" }, h("span", { text: say }));
  const shut = h("button", { class: "quiet", label: () => "×", text: "×", onclick: () => box.remove() });
  box.append(shut);
  byId("toasts").append(box);
  if (!bad) setTimeout(() => box.remove(), 6000);
}

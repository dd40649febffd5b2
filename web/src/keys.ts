/** The keys, and the dialog that shows them. */
import { h } from "./dom";
import { type Word, word } from "./words";

const LISTS: readonly (readonly [Word, readonly (readonly [string, Word])[]])[] = [
  [
    "key_list",
    [
      ["j k", "key_move"],
      ["Enter", "key_open"],
      ["/", "key_search"],
      ["u", "key_upload"],
    ],
  ],
  [
    "key_read",
    [
      ["↑ ↓", "key_slices"],
      ["1 2 3 4 5", "key_planes"],
      ["w", "key_window"],
      ["m x h", "key_overlays"],
      ["+ - 0", "key_reset"],
      ["p", "key_prior"],
      ["a c r", "key_decide"],
      ["b e z v n", "key_draw"],
      ["j k", "key_move"],
      ["Esc", "key_leave"],
    ],
  ],
];

/** Whether keys belong to what has the focus: a field, or a list of choices. */
export function typing(target: EventTarget | null): boolean {
  const element = target instanceof Element ? target : null;
  return element?.matches("input:not([type=checkbox]):not([type=range]):not([type=file]), textarea, select") ?? false;
}

/** Show the keys until the dialog is closed. */
export function showKeys(): void {
  if (document.querySelector("dialog.keys")) return;
  const parts = LISTS.flatMap(([title, keys]) => [
    h("h3", { text: word(title) }),
    h(
      "dl",
      {},
      ...keys.flatMap(([key, name]) => [
        h("dt", {}, ...key.split(" ").map((each) => h("kbd", { text: each }))),
        h("dd", { text: word(name) }),
      ]),
    ),
  ]);
  const shut = h("button", { text: word("close"), autofocus: true });
  const dialog = h(
    "dialog",
    { class: "keys", "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title", text: word("keys") }),
    ...parts,
    shut,
  );
  shut.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

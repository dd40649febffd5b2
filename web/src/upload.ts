/** Files dropped or chosen go to a model; the way there and the work are shown. */
import * as api from "./api";
import { clear, h } from "./dom";
import type { Progress } from "./types";
import { spoken, word } from "./words";

const ASK_MS = 700;
const ENDED = ["done", "aside", "failed"];

export class UploadPanel {
  readonly root = h("section", { class: "upload", label: () => word("upload") });
  readonly chooser = h("input", { type: "file", multiple: true, id: "chooser", class: "unseen" });
  private readonly models: HTMLSelectElement;
  private readonly line = h("div", { class: "line", role: "status" });

  constructor(
    models: string[],
    private readonly onDone: () => void,
  ) {
    this.models = h("select", { label: () => word("uploadFor") }, ...models.map((name) => h("option", { value: name, text: name })));
    this.chooser.addEventListener("change", () => {
      void this.send([...(this.chooser.files ?? [])]);
      this.chooser.value = "";
    });
    const choose = h("label", { for: "chooser", class: "button", text: () => word("uploadChoose") });
    this.root.append(h("p", { text: () => word("uploadHint") }), this.chooser, choose, models.length > 1 ? this.models : "", this.line);
    this.root.addEventListener("dragover", (event) => this.over(event, true));
    this.root.addEventListener("dragleave", (event) => this.over(event, false));
    this.root.addEventListener("drop", (event) => {
      this.over(event, false);
      void filesOf(event.dataTransfer).then((files) => this.send(files));
    });
  }

  private over(event: DragEvent, on: boolean): void {
    event.preventDefault();
    this.root.classList.toggle("over", on);
  }

  async send(files: File[]): Promise<void> {
    if (!files.length) return;
    const mb = (files.reduce((sum, each) => sum + each.size, 0) / 1e6).toFixed(1);
    const bar = h("progress", { max: 1, value: 0, label: () => word("upload") });
    const text = h("span", { text: word("uploading", { percent: 0, mb }) });
    const sending = api.upload(this.models.value, files, (part) => {
      bar.value = part;
      text.textContent = part < 1 ? word("uploading", { percent: Math.round(part * 100), mb }) : word("working");
    });
    clear(this.line, bar, text, h("button", { class: "quiet", text: () => word("cancel"), onclick: () => sending.cancel() }));
    try {
      const entered = await sending.done;
      const ended = await Promise.all((entered.jobs ?? [entered]).map((job) => this.wait(job)));
      for (const each of ended) if (each.state !== "done") throw new Error(each.reason ? spoken(each.reason) : (each.error ?? each.state));
      this.told(ended[0] ?? entered);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      clear(this.line, why ? h("span", { class: "bad", role: "alert", text: () => word("uploadFailed", { why }) }) : null);
    }
    this.onDone();
  }

  private async wait(progress: Progress): Promise<Progress> {
    let now = progress;
    while (!ENDED.includes(now.state ?? "")) {
      await new Promise((resolve) => setTimeout(resolve, ASK_MS));
      now = await api.progress(now.id);
    }
    return now;
  }

  private told(ended: Progress): void {
    const { id } = ended;
    clear(
      this.line,
      h("span", { text: () => word("uploadDone") }),
      h("a", { class: "button", href: `#/f/${encodeURIComponent(id)}`, text: () => word("open") }),
    );
  }
}

/** Files of a drop, those within folders too. All items are asked at once: they are gone when the event is over. */
async function filesOf(dropped: DataTransfer | null): Promise<File[]> {
  const items = [...(dropped?.items ?? [])].map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const found = await Promise.all(items.map(({ entry, file }) => (entry ? within(entry) : file ? [file] : [])));
  return found.flat();
}

async function within(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) return [await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    // A reader hands out a hundred at a time, and an empty list at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    all.push(...some);
  }
  return (await Promise.all(all.map(within))).flat();
}

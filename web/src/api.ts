/** The service's answers, typed; what goes wrong becomes one sentence. */
import { language, token } from "./prefs";
import type { Aside, Decision, Finding, Me, Progress, Row, State } from "./types";
import { word } from "./words";

export class Failed extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const headers = (): Record<string, string> => {
  const held = token();
  // What goes wrong is told in the language of the page.
  const spoken = { "Accept-Language": language() === "zh" ? "zh-CN" : "en" };
  return held ? { ...spoken, Authorization: `Bearer ${held}` } : spoken;
};

/** RFC 9457 problem details, with ours: expected, got, do; all of them come in the language that was asked for. */
export function sentence(problem: unknown, fallback: string): string {
  if (typeof problem !== "object" || problem === null) return fallback;
  const said = problem as Record<string, unknown>;
  const detail = said.detail ?? said.title;
  if (typeof detail !== "string") return fallback;
  const given = [
    said.expected ? word("problemExpected", { what: String(said.expected) }) : "",
    said.got ? word("problemGot", { what: String(said.got) }) : "",
  ];
  // Chinese letters follow each other without a blank.
  const facts = given
    .filter(Boolean)
    .join(word("problemComma"))
    .replace(/为 (?=\p{Script=Han})/gu, "为");
  const told = facts ? word("problemFacts", { detail, facts }) : detail;
  return said.do ? word("problemDo", { told, advice: String(said.do) }) : told;
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers: { ...headers(), ...(init.headers as Record<string, string>) }, cache: "no-store" });
  } catch (error) {
    throw new Failed(0, error instanceof DOMException && error.name === "AbortError" ? "" : word("away"));
  }
  if (answer.ok) return answer;
  const problem: unknown = await answer.json().catch(() => null);
  throw new Failed(answer.status, sentence(problem, `HTTP ${answer.status}`));
}

const json = async <T>(path: string, init?: RequestInit): Promise<T> => (await (await ask(path, init)).json()) as T;

export const me = (): Promise<Me> => json("v1/me");

export function worklist(state: State | "", text: string, limit = 200): Promise<{ more: boolean; rows: Row[] }> {
  return json(`v1/worklist?${new URLSearchParams({ state, q: text, limit: String(limit) })}`);
}

/** Series that no model could read, with the reason. */
export const aside = (): Promise<Aside[]> => json("v1/jobs?state=aside&limit=50");

const at = (id: string, rest = ""): string => `v1/findings/${encodeURIComponent(id)}${rest}`;
export const finding = (id: string): Promise<Finding> => json(at(id));
export const priors = async (id: string): Promise<Row[]> => (await json<{ priors: Row[] }>(at(id, "/prior"))).priors;
export const progress = (id: string): Promise<Progress> => json(`v1/jobs/${encodeURIComponent(id)}`);

export async function file(id: string, name: "image" | "mask" | "corrected" | "heat" | "picture"): Promise<ArrayBuffer> {
  return (await ask(at(id, `/files/${name}`))).arrayBuffer();
}

export function decide(id: string, decision: Decision): Promise<Finding> {
  return json(at(id, "/decision"), { method: "POST", body: JSON.stringify(decision), headers: { "Content-Type": "application/json" } });
}

/** Store an edited mask (gzipped NIfTI); the answer names it for the decision. */
export async function saveMask(id: string, mask: Uint8Array<ArrayBuffer>): Promise<string> {
  return (await json<{ mask: string }>(at(id, "/mask"), { method: "PUT", body: mask, headers: { "Content-Type": "application/gzip" } }))
    .mask;
}

export interface Sending {
  done: Promise<Progress>;
  cancel: () => void;
}

/** Send files with progress (0 .. 1); `fetch` tells nothing of what has been sent, so the older interface does it. */
export function upload(model: string, files: File[], onProgress: (part: number) => void): Sending {
  const request = new XMLHttpRequest();
  const form = new FormData();
  for (const each of files) form.append("files", each, each.name);
  const done = new Promise<Progress>((resolve, reject) => {
    request.open("POST", `v1/predict?${new URLSearchParams({ model, wait: "0" })}`);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Failed(0, word("away")));
    request.onabort = () => reject(new Failed(0, ""));
    request.onload = () =>
      request.status < 300
        ? resolve(request.response as Progress)
        : reject(new Failed(request.status, sentence(request.response, `HTTP ${request.status}`)));
    request.send(form);
  });
  return { done, cancel: () => request.abort() };
}

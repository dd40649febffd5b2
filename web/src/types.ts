/** What the service answers; see docs/clinic/page.md for the meaning of every field. */
export interface Said {
  code: string;
  en: string;
  zh: string;
}

export interface Patient {
  id: string | null;
  name: string | null;
  birth_date?: string | null;
  sex?: string | null;
  age?: string | number | null;
}

export type State = "pending" | "accepted" | "corrected" | "rejected" | "refused";
export type Kind = "binary" | "multiclass" | "multilabel" | "ordinal" | "regression" | "mask" | "boxes";

/** A row of the worklist. */
export interface Row {
  id: string;
  state: State;
  patient: Patient;
  study_date: string | null;
  modality: string | null;
  body_part: string | null;
  description: string | null;
  model: string;
  kind: Kind;
  label: string | null;
  probability: number | null;
  urgency: number;
  abstain: boolean;
  refused: boolean;
  forced: boolean;
  received: number | null;
}

/** `box` is (low..., high...) in array order ((z,) y, x) with continuous edges: sample i covers i .. i + 1. */
export interface Box {
  box: number[];
  label: string;
  score?: number | null;
  risk?: number | null;
  size_mm?: number[] | null;
}

export interface Measurement {
  name: string;
  class?: string | null;
  value: number | null;
  unit: string;
}

export interface Decided {
  user: string;
  action: Action;
  comment: string;
  at: number;
  correction?: { label?: string; boxes?: Box[]; mask?: string } | null;
}

export interface Finding {
  id: string;
  state: State;
  patient: Patient;
  study_date?: string | null;
  modality?: string | null;
  body_part?: string | null;
  description?: string | null;
  accession?: string | null;
  model: { name: string; hash: string; kind: Kind; classes: string[] };
  label: string | null;
  probability: number | null;
  low: number | null;
  high: number | null;
  calibration: { en: string; zh: string } | null;
  scores: Record<string, number>;
  set: string[] | null;
  abstain: boolean;
  boxes: Box[];
  measurements: Measurement[];
  refused: Said[];
  forced: boolean;
  notes: Said[];
  urgency: number;
  grid: { shape: number[]; spacing_mm: number[] | null };
  files: { image: string | null; mask: string | null; heat: string | null; picture: string | null };
  decisions: Decided[];
  outgoing: { peer: string; state: "waiting" | "sent" | "committed" | "failed"; tries: number }[];
  superseded_by: string | null;
}

export type Action = "accept" | "correct" | "reject";

export interface Decision {
  action: Action;
  comment: string;
  seen: number;
  label?: string;
  boxes?: { box: number[]; label: string }[];
  mask?: string;
}

export interface Me {
  name: string;
  role: "reader" | "admin" | "node";
  models: string[];
  version: string;
}

/** A job that was set aside: it could not be read, and waits for a person. */
export interface Aside {
  id: string;
  model: string;
  error: string | null;
  reason?: Said | null;
}

/** A job; the answer to an upload names all that were entered, one a series, and no state yet. */
export interface Progress {
  id: string;
  state?: string;
  error?: string | null;
  reason?: Said | null;
  jobs?: { id: string }[];
}

import { type Range, robustOf } from "./windows";

/** The little of NIfTI-1 (nifti.nimh.nih.gov) that the page handles itself: displays "as stored", label maps in and out. */
const HEADER = 348;
const OFFSET = 352;
const UINT8 = 2;
/** Types of whole numbers that a mask may have. */
const WHOLE = [2, 4, 8, 256, 512];

/** Signed permutation of NiiVue: RAS axis a runs along native axis |perm[a]| (from 1), backwards when negative. */
export type Perm = readonly [number, number, number];
export type Triple = readonly [number, number, number];

async function through(bytes: Uint8Array<ArrayBuffer>, stream: TransformStream): Promise<Uint8Array<ArrayBuffer>> {
  const flow = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(flow).arrayBuffer());
}

/** The bytes of a file that may be gzipped. */
export async function plainBytes(file: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(file);
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? through(bytes, new DecompressionStream("gzip")) : bytes;
}

export const gzipped = (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> => through(bytes, new CompressionStream("gzip"));

/** Little or big endian, or an error when it is no NIfTI-1 file. */
function littleEndian(view: DataView): boolean {
  if (view.byteLength > OFFSET && view.getInt32(0, true) === HEADER) return true;
  if (view.byteLength > OFFSET && view.getInt32(0, false) === HEADER) return false;
  throw new Error("not a NIfTI-1 file");
}

export function dimsOf(bytes: Uint8Array): Triple {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = littleEndian(view);
  const n = view.getInt16(40, little);
  const dim = (axis: number): number => (axis <= n ? Math.max(1, view.getInt16(40 + 2 * axis, little)) : 1);
  return [dim(1), dim(2), dim(3)];
}

/** Change the affine so that a picture is shown as it is stored: columns to the right, rows down. */
export function asStored(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const made = bytes.slice();
  const view = new DataView(made.buffer);
  const little = littleEndian(view);
  const [dx, dy] = [view.getFloat32(80, little) || 1, view.getFloat32(84, little) || 1];
  view.setInt16(252, 0, little);
  view.setInt16(254, 1, little);
  const rows = [-Math.abs(dx), 0, 0, 0, 0, -Math.abs(dy), 0, 0, 0, 0, 1, 0];
  rows.forEach((value, place) => {
    view.setFloat32(280 + 4 * place, value, little);
  });
  return made;
}

/** How many volumes a mask has: one label map, or one 0/1 volume for each of several structures that may overlap. */
export function volumesOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = littleEndian(view);
  return view.getInt16(40, little) > 3 ? Math.max(1, view.getInt16(48, little)) : 1;
}

const READERS: Record<number, [number, (view: DataView, at: number, little: boolean) => number]> = {
  2: [1, (view, at) => view.getUint8(at)],
  4: [2, (view, at, little) => view.getInt16(at, little)],
  8: [4, (view, at, little) => view.getInt32(at, little)],
  16: [4, (view, at, little) => view.getFloat32(at, little)],
  64: [8, (view, at, little) => view.getFloat64(at, little)],
  256: [1, (view, at) => view.getInt8(at)],
  512: [2, (view, at, little) => view.getUint16(at, little)],
  768: [4, (view, at, little) => view.getUint32(at, little)],
};
/** Samples from which the window is taken, evenly over the file. */
const LOOKED_AT = 50_000;

/** The window that leaves out 1 % of the samples at either end, written into the header (cal_min, cal_max); null in colour or where all are alike. */
export function windowIn(bytes: Uint8Array<ArrayBuffer>): Range | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = littleEndian(view);
  const reader = READERS[view.getInt16(70, little)];
  if (!reader) return null;
  const start = Math.max(OFFSET, view.getFloat32(108, little));
  const all = Math.floor((bytes.length - start) / reader[0]);
  const step = Math.max(1, Math.floor(all / LOOKED_AT));
  const taken = Float32Array.from({ length: Math.floor(all / step) }, (_, n) => reader[1](view, start + n * step * reader[0], little));
  const range = robustOf(taken.filter(Number.isFinite), view.getFloat32(112, little) || 1, view.getFloat32(116, little));
  if (!(range.high > range.low)) return null;
  view.setFloat32(124, range.high, little);
  view.setFloat32(128, range.low, little);
  // What the header says is what will be compared with later.
  return { low: view.getFloat32(128, little), high: view.getFloat32(124, little) };
}

/** Labels of a stored mask in native order (x fastest); of structures that overlap the last one shows. */
export function labelsOf(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = littleEndian(view);
  const [nx, ny, nz] = dimsOf(bytes);
  const start = Math.max(OFFSET, view.getFloat32(108, little));
  const kind = view.getInt16(70, little);
  const reader = WHOLE.includes(kind) ? READERS[kind] : undefined;
  if (!reader) throw new Error(`a mask of NIfTI type ${kind} is not read`);
  const [size, volumes] = [nx * ny * nz, volumesOf(bytes)];
  if (volumes === 1 && kind === UINT8) return bytes.slice(start, start + size);
  const value = (at: number): number => reader[1](view, start + at * reader[0], little);
  if (volumes === 1) return Uint8Array.from({ length: size }, (_, at) => value(at));
  const made = new Uint8Array(size);
  for (let k = 0; k < volumes; k++) for (let at = 0; at < size; at++) if (value(k * size + at)) made[at] = k + 1;
  return made;
}

/** A label map as NIfTI-1, uint8. The service knows the grid; only shape and labels count here. */
export function maskFile(labels: Uint8Array, dims: Triple): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(OFFSET + labels.length);
  const view = new DataView(made.buffer);
  view.setInt32(0, HEADER, true);
  [3, ...dims, 1, 1, 1, 1].forEach((value, place) => {
    view.setInt16(40 + 2 * place, value, true);
  });
  view.setInt16(70, UINT8, true);
  view.setInt16(72, 8, true);
  for (let place = 0; place < 8; place++) view.setFloat32(76 + 4 * place, 1, true);
  view.setFloat32(108, OFFSET, true);
  view.setFloat32(112, 1, true);
  made.set([0x6e, 0x2b, 0x31, 0x00], 344);
  made.set(labels, OFFSET);
  return made;
}

/** Where each sample of the RAS-ordered array comes from in the native one. */
function nativePlaces(dims: Triple, perm: Perm): { size: Triple; start: number; steps: Triple } {
  const strides = [1, dims[0], dims[0] * dims[1]];
  const axis = perm.map((p) => Math.abs(p) - 1);
  const size = axis.map((n) => dims[n]) as unknown as Triple;
  const steps = axis.map((n, a) => (strides[n] as number) * ((perm[a] as number) < 0 ? -1 : 1)) as unknown as Triple;
  const start = axis.reduce((sum, n, a) => sum + ((perm[a] as number) < 0 ? ((dims[n] as number) - 1) * (strides[n] as number) : 0), 0);
  return { size, start, steps };
}

function reordered(from: Uint8Array, dims: Triple, perm: Perm, toRas: boolean): Uint8Array<ArrayBuffer> {
  const { size, start, steps } = nativePlaces(dims, perm);
  const made = new Uint8Array(from.length);
  const [nx, ny, nz] = size;
  const [sx, sy, sz] = steps;
  if (sx === 1 && sy === nx && start === 0 && sz === nx * ny) {
    made.set(from);
    return made;
  }
  let ras = 0;
  for (let z = 0; z < nz; z++)
    for (let y = 0; y < ny; y++) {
      let native = start + y * sy + z * sz;
      for (let x = 0; x < nx; x++, ras++, native += sx) {
        if (toRas) made[ras] = from[native] as number;
        else made[native] = from[ras] as number;
      }
    }
  return made;
}

/** How many samples of a label (any, when 0) of a RAS-ordered array lie on each slice across native z. */
export function countAcross(labels: Uint8Array, dims: Triple, perm: Perm, label: number): number[] {
  const { size } = nativePlaces(dims, perm);
  const axis = perm.findIndex((p) => Math.abs(p) === 3);
  const counts = new Uint32Array(size[axis] as number);
  let at = 0;
  for (let z = 0; z < size[2]; z++)
    for (let y = 0; y < size[1]; y++)
      for (let x = 0; x < size[0]; x++, at++) {
        const value = labels[at] as number;
        if (value === 0 || (label !== 0 && value !== label)) continue;
        const place = axis === 2 ? z : axis === 1 ? y : x;
        counts[place] = (counts[place] as number) + 1;
      }
  const told = [...counts];
  return (perm[axis] as number) < 0 ? told.reverse() : told;
}

export const toRas = (labels: Uint8Array, dims: Triple, perm: Perm): Uint8Array<ArrayBuffer> => reordered(labels, dims, perm, true);
export const toNative = (labels: Uint8Array, dims: Triple, perm: Perm): Uint8Array<ArrayBuffer> => reordered(labels, dims, perm, false);

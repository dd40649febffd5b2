/** Stands in for `zarrita` within NiiVue: this page never opens Zarr archives. */
function absent(): never {
  throw new Error("Zarr archives are not read by this page");
}

export class FetchStore {
  constructor() {
    absent();
  }
}
export const open = Object.assign(absent, { v2: absent, v3: absent });
export const root = absent;
export const get = absent;
export const slice = absent;

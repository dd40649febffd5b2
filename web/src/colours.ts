/** Colours of classes: those of Okabe and Ito (2008), told apart by colour-blind readers too, bright enough over dark images. */
export const COLOURS: readonly (readonly [number, number, number])[] = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [204, 121, 167],
  [213, 94, 0],
  [120, 150, 255],
  [255, 255, 255],
];

export function colour(place: number): string {
  const [r, g, b] = COLOURS[Math.max(0, place) % COLOURS.length] as readonly [number, number, number];
  return `rgb(${r} ${g} ${b})`;
}

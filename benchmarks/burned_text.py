"""Burned-in text: how much of what is drawn is found, and how much is found where nothing was drawn.

    python benchmarks/burned_text.py [--draws 90] [--seed 0] [--plain FOLDER ...]

Names, dates and numbers are drawn at random: on black, on a noisy body, on a gradient; at the border or anywhere; 10 to 28 points, light or dark, hard or soft
edges, 8 or 16 bits, three fonts where the machine has them. A text counts as found when 98 of 100 of its samples are blanked. Grounds without text count
false alarms, as do the pictures and DICOM files of the folders of --plain, which must hold none. Prints a table; leaves with 1 when fewer than
9 of 10 are found.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont

from vesalius.guards.deidentify.burned import blank, text_boxes

AIM, FOUND = 0.9, 0.98
SHAPES = ((300, 400), (512, 512), (720, 960))
WORDS = ("DOE^JANE", "12.03.1961", "ID 7731942", "Anna Zwickelbart", "St. Mary's Hospital", "L PA 2024-02-29", "M. Okafor  F 45Y")
FONTS = (None, "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf", "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf")
KINDS = ("black", "body", "gradient")


def ground(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A picture without text, 8 bits."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None]
    noise = rng.normal(0, rng.uniform(1, 7), shape)
    if kind == "black":
        return np.zeros(shape, np.uint8)
    if kind == "gradient":
        return (40 + 120 * rows * columns + noise).clip(0, 255).astype(np.uint8)
    blob = 120 * np.exp(-(((columns - 0.5) / 0.3) ** 2 + ((rows - 0.5) / 0.35) ** 2) ** 3)
    ribs = 30 * np.sin(rows * 40 + 6 * columns) * (blob > 40)
    return (blob + ribs + 20 + noise).clip(0, 255).astype(np.uint8)


def drawn(plain: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    """The picture with a text, which samples belong to it, and how it was drawn."""
    words, size = str(rng.choice(WORDS)), int(rng.integers(10, 29))
    path = FONTS[int(rng.integers(len(FONTS)))]
    font = ImageFont.truetype(path, size) if path and Path(path).is_file() else ImageFont.load_default(size)
    height, width = plain.shape
    left, top, right, bottom = font.getbbox(words)
    place = str(rng.choice(["border", "border", "anywhere"]))
    y = int(rng.choice([4, height - bottom - 8])) if place == "border" else int(rng.integers(0, height - bottom))
    x = int(rng.integers(4, max(5, width - int(right) - 4)))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).text((x, y), words, fill=255, font=font)
    alpha = np.asarray(mask) / 255.0
    soft = bool(rng.random() < 0.7)
    alpha = alpha if soft else (alpha > 0.5).astype(float)
    under = float(np.median(plain[alpha > 0.3]))
    value = float(rng.uniform(170, 255)) if under < 110 or rng.random() < 0.5 else 5.0
    value = 255.0 if abs(value - under) < 80 else value
    made = plain * (1 - alpha) + value * alpha
    deep = bool(rng.random() < 0.3)
    image = (made * 16).round().astype(np.uint16) if deep else made.round().astype(np.uint8)
    return image, alpha > 0.3, {"size": size, "place": place, "font": Path(path or "default").stem, "soft": soft, "value": round(value), "under": round(under),
                                "deep": deep, "words": words, "shape": plain.shape}


def covered(image: np.ndarray) -> np.ndarray:
    held = np.zeros(image.shape[:2], bool)
    blank(held, text_boxes(image), True)
    return held


def opened(path: Path) -> np.ndarray | None:
    """``[Y, X]`` or ``[Y, X, C]`` of a picture or a DICOM file with one frame; None for anything else."""
    try:
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".bmp"):
            return np.asarray(Image.open(path))
        array = pydicom.dcmread(path).pixel_array
    except Exception:  # noqa: BLE001 - a folder of strangers' files: what cannot be opened is no picture
        return None
    return array if array.ndim == 2 or (array.ndim == 3 and array.shape[2] <= 4) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", type=Path, nargs="*", default=[])
    parser.add_argument("--most", type=int, default=60, help="files of each folder of --plain")
    args = parser.parse_args()
    rng, found, of, false = np.random.default_rng(args.seed), Counter[str](), Counter[str](), 0
    for i in range(args.draws):
        kind = KINDS[i % len(KINDS)]
        plain = ground(kind, SHAPES[int(rng.integers(len(SHAPES)))], rng)
        false += bool(covered(plain).any())
        image, text, facts = drawn(plain, rng)
        share = float((covered(image) & text).sum() / text.sum())
        of[kind] += 1
        found[kind] += share >= FOUND
        if share < FOUND:
            print(f"  missed ({share:.0%} covered): {kind} {facts}")
    total = sum(found.values())
    print(f"found {total} of {args.draws}: " + ", ".join(f"{kind} {found[kind]} of {of[kind]}" for kind in KINDS) + f"; grounds with a false alarm: {false}")
    for folder in args.plain:
        images = [(path, image) for path in sorted(each for each in folder.rglob("*") if each.is_file())[: args.most] if (image := opened(path)) is not None]
        wrong = [path.name for path, image in images if covered(image).any()]
        print(f"{folder.name}: {len(wrong)} of {len(images)} pictures with a box: {' '.join(wrong[:8])}")
    return 0 if total >= AIM * args.draws else 1


if __name__ == "__main__":
    sys.exit(main())

"""Class folders in which good films lie beside files that break readers."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from vesalius.phantoms.anatomy import draw_person
from vesalius.phantoms.films import draw_findings, plain_film
from vesalius.phantoms.sheet import Item, jpeg, png, truth_of, write_items
from vesalius.phantoms.tables import FOLDERS
from vesalius.phantoms.truth import Truth
from vesalius.phantoms.volumes import nifti
from vesalius.seed import generator


def _float_tiff(image: np.ndarray) -> bytes:
    store = io.BytesIO()
    Image.fromarray(image.astype(np.float32), mode="F").save(store, "TIFF")
    return store.getvalue()


def _with_nan(film: np.ndarray) -> bytes:
    values = film.astype(np.float32)
    values[10:20, 10:20] = np.nan
    return _float_tiff(values)


def _nan_volume(film: np.ndarray) -> bytes:
    volume = np.repeat(film[None].astype(np.float32), 4, 0)
    volume[1] = np.nan
    return bytes(nib.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)).to_bytes())


def _bad_files(film: np.ndarray) -> dict[str, tuple[str, bytes]]:
    """Id to (what is wrong, content). The last four are good images that careless readers trip over."""
    whole = png(film)
    return {
        "normal/empty.png": ("zero-bytes", b""),
        "normal/half.png": ("truncated", whole[: len(whole) // 2]),
        "normal/half.jpg": ("truncated", jpeg(film, 90)[:900]),
        "normal/text.png": ("not-an-image", b"the archive answered: 404 not found\n"),
        "normal/black.png": ("constant", png(np.zeros_like(film))),
        "effusion/grey.png": ("constant", png(np.full_like(film, 127))),
        "effusion/nan.tif": ("nan", _with_nan(film)),
        "effusion/nan_volume.nii": ("nan", _nan_volume(film)),
        "effusion/cut.nii.gz": ("truncated", nifti(np.repeat(film[None], 4, 0), np.eye(4))[:200]),
        "effusion/photo.jpg": ("colour", jpeg(np.stack([film, film // 2, 255 - film], -1), 90)),
        "normal/Thumbs.db": ("not-an-image", b"\xd0\xcf\x11\xe0 thumbnails"),
        "effusion/jpeg_called.png": ("wrong-suffix", jpeg(film, 92)),
        "effusion/胸片 一号.png": ("good", png(film[:, ::-1])),
        "normal/with space (1).png": ("good", png(film[::-1])),
        "normal/small.png": ("other-size", png(film[::2, ::2])),
    }


def make_broken(out: Path, seed: int, n: int, *, size: int = 96) -> Truth:
    """``normal/`` and ``effusion/`` with ``n`` good films and fifteen odd files; ``planted["files"]`` says what each is.

    What is wrong: ``zero-bytes``, ``truncated``, ``not-an-image``, ``constant``, ``nan``, ``colour`` among grey. What is
    right all the same: ``wrong-suffix`` (a JPEG called PNG), ``good`` (Chinese, spaces and brackets in the name), ``other-size``.
    """
    rng = generator(seed, "broken")
    items = []
    for number in range(n):
        person, label = draw_person(rng), FOLDERS[number % 2]
        film = plain_film(rng, person, draw_findings(rng, person, label), size)
        items.append(Item(png(film), ".png", f"B{number:04d}", label, label, id=f"{label}/B{number:04d}.png"))
    files = _bad_files(plain_film(rng, draw_person(rng), draw_findings(rng, draw_person(rng), "normal"), size))
    write_items(out, [*items, *(Item(content, "", "", None, None, id=name) for name, (_, content) in files.items())])
    facts = {"kind": "broken", "seed": seed, "n": n, "options": {"size": size}, "target": "folder", "target_kind": "binary", "classes": FOLDERS}
    return truth_of(out, items, facts, {"files": {name: what for name, (what, _) in files.items()}})

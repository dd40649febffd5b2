"""A site with findings made by hand, and a server of the reading page over it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

from vesalius.core.geometry import Grid
from vesalius.stages.serve.http import jobs, page, problems, reading
from vesalius.stages.serve.http.access import LOCAL
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.stages.serve.site import load_site
from vesalius.stages.serve.store import Received, Store

SPACING = (2.5, 1.0, 1.0)
SHAPE = (24, 64, 56)
NODULES = ((8.0, 20.0, 16.0, 14.0, 32.0, 28.0), (14.0, 40.0, 34.0, 18.0, 48.0, 42.0))
"""Boxes, low and high, in array order (z, y, x)."""
CALIBRATED = {"en": "Probabilities were calibrated on patients that the model was not trained on.", "zh": "概率已在未参与训练的患者上校准。"}


def chest(spots: tuple[tuple[float, ...], ...] = ()) -> np.ndarray:
    """int16 [Z, Y, X] in HU: air, a body, two lungs, and a bright block in each box."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    image = np.full(SHAPE, -1000, np.int16)
    image[(y / 0.8) ** 2 + (x / 0.9) ** 2 < 1] = 40
    for side in (-0.42, 0.42):
        image[(y / 0.6) ** 2 + ((x - side) / 0.3) ** 2 + (z / 1.4) ** 2 < 1] = -850
    for box in spots:
        low, high = [int(v) for v in box[:3]], [int(v) for v in box[3:]]
        image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 60
    return image


def blocks(value: int, rest: int) -> np.ndarray:
    """int16 [Z, Y, X]: ``rest`` everywhere but in the boxes of `NODULES`."""
    image = np.full(SHAPE, rest, np.int16)
    for box in NODULES:
        image[tuple(slice(int(a), int(b)) for a, b in zip(box[:3], box[3:], strict=True))] = value
    return image


def turned() -> Grid:
    """A grid of slices taken from left to right and tilted by ten degrees: x runs to the back and down, y down and forward, z to the right."""
    tilt = np.deg2rad(10)
    affine = np.eye(4)
    affine[:3, 0] = np.array([0, np.cos(tilt), -np.sin(tilt)]) * SPACING[2]
    affine[:3, 1] = np.array([0, -np.sin(tilt), -np.cos(tilt)]) * SPACING[1]
    affine[:3, 2] = np.array([-1, 0, 0]) * SPACING[0]
    affine[:3, 3] = (40, -30, 60)
    return Grid(SHAPE, SPACING, affine)


def film(bright: float) -> np.ndarray:
    """uint8 [Y, X]: darker to the left, a bright disc at the top right."""
    y, x = np.mgrid[:120, :96]
    image = 40 + x * 0.8 + bright * 90 * (((y - 30) ** 2 + (x - 70) ** 2) < 144)
    return image.clip(0, 255).astype(np.uint8)


def document(**facts: Any) -> dict[str, Any]:
    """A finding with every key; those given replace the usual ones."""
    usual: dict[str, Any] = {
        "schema": 1, "study_uid": "1.2.3", "series_uid": "1.2.3.4", "modality": "DX", "body_part": "CHEST", "description": "Chest PA", "study_date": "20260110",
        "accession": "A1", "patient": {"id": "P1", "name": "Doe^Jane", "birth_date": "19600203", "sex": "F", "age": "65"},
        "model": {"name": "films", "hash": "ab" * 32, "kind": "binary", "classes": ["normal", "pneumonia"]}, "label": "pneumonia", "probability": 0.93,
        "low": None, "high": None, "calibration": CALIBRATED, "scores": {"normal": 0.07, "pneumonia": 0.93}, "set": ["pneumonia"], "abstain": False,
        "boxes": [], "instances": [], "measurements": [], "refused": [], "forced": False, "notes": [], "urgency": 0.93,
        "grid": {"shape": [120, 96], "spacing_mm": [0.5, 0.5]},
        "software": {"vesalius": "0"}, "seconds": {}, "research_use": "A doctor decides.",
    }
    return usual | facts


class Hospital:
    """A store in ``folder`` to which findings are added; ``service`` is what the routers ask for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        site = load_site(folder, {"films": folder / "films", "lung": folder / "lung"})
        self.store = Store(site.url, folder)
        self.released: list[tuple[str, list[Path]]] = []
        self.service = SimpleNamespace(site=site, store=self.store, release=lambda which, paths: self.released.append((which, list(paths))))
        self.n = 0

    def add(self, facts: dict[str, Any], image: np.ndarray, mask: np.ndarray | None = None, heat: np.ndarray | None = None, grid: Grid | None = None) -> str:
        """Enter a finding as a job that has ended; its id. ``image`` is [(Z,) Y, X], or [Y, X, 3] in colour; ``mask`` is uint8 on the same grid."""
        self.n += 1
        job = self.job(f"1.2.826.{self.n}", facts)
        out = self.folder / "results" / job
        coloured = image.shape[-1] == 3
        shape = image.shape[:2] if coloured else image.shape
        grid = grid or Grid.plain(shape, SPACING if len(shape) == 3 else (0.5, 0.5))
        write_volume(out / "image.nii.gz", np.moveaxis(image, -1, 0) if coloured else image[None], grid)
        files: dict[str, Any] = {"image": "image.nii.gz", "mask": None, "heat": None, "picture": "picture.png", "objects": []}
        for name, array in (("mask", mask), ("heat", heat)):
            if array is not None:
                files[name] = f"{name}.nii.gz"
                write_volume(out / files[name], array[None], grid)
        flat = image if len(shape) == 2 else image[len(image) // 2]
        Image.fromarray(np.interp(flat, (flat.min(), flat.max()), (0, 255)).astype(np.uint8)).save(out / "picture.png")
        told = facts | {"id": job, "files": files, "grid": {"shape": list(shape), "spacing_mm": list(grid.spacing_mm)}}
        (out / "finding.json").write_text(json.dumps(told), "utf-8")
        self.store.finish(job, told, out)
        return job

    def job(self, uid: str, facts: dict[str, Any]) -> str:
        """Enter a series of one object for the model of ``facts``; the id of its job."""
        path = self.folder / f"{uid}.dcm"
        path.write_bytes(uid.encode())
        study = facts["study_uid"]
        digest = hashlib.sha256(uid.encode()).hexdigest()
        kinds = ("1.2.840.10008.5.1.4.1.1.2", f"{study}.{self.n}", study, "1.2.840.10008.1.2.1")
        self.store.add_objects([Received(path, uid, *kinds, digest, len(uid), {}, at=1.0)])
        return self.store.enqueue(f"{study}.{self.n}", facts["model"]["name"])


def app_of(hospital: Hospital) -> FastAPI:
    """The page and its API, without gate and engine; everybody is the local user."""
    app = FastAPI()
    problems.install(app)

    @app.middleware("http")
    async def known(request: Request, further: Any) -> Any:
        request.state.user = LOCAL
        return await further(request)

    app.include_router(reading.router(hospital.service))  # type: ignore[arg-type]
    app.include_router(jobs.router(hospital.service))  # type: ignore[arg-type]
    app.include_router(page.router())
    return app


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The app on a free port of this machine; its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    socket = server.config.bind_socket()
    socket.listen()  # a browser that is faster than the thread waits instead of being refused
    thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        socket.close()


def lungs(**facts: Any) -> dict[str, Any]:
    """Facts of a CT of the chest."""
    common = {"modality": "CT", "description": "CT CHEST 2.5 mm", "study_date": "20260301", "low": None, "set": None, "scores": {}, "calibration": None}
    return document(**(common | facts))


def full(folder: Path) -> tuple[Hospital, dict[str, str]]:
    """A hospital with one finding of each kind, and their ids by name."""
    hospital = Hospital(folder)
    return hospital, _pictures(hospital) | _volumes(hospital)


def _pictures(hospital: Hospital) -> dict[str, str]:
    disc = np.zeros((120, 96), np.float32)
    disc[15:45, 55:85] = 1.0
    old = {"study_date": "20250601", "label": "normal", "probability": 0.8, "urgency": 0.2, "scores": {"normal": 0.8, "pneumonia": 0.2}, "set": ["normal"]}
    notes = [{"code": "other-scanner", "en": "The scanner is unlike those of the training.", "zh": "该设备与训练所用设备不同。"}]
    refusal = [{"code": "not-a-chest", "en": "This is not a chest film: it lies far from every training image.", "zh": "这不是胸片：与所有训练影像相距甚远。"}]
    silent = {"label": "", "probability": None, "scores": {}, "set": None, "abstain": True, "calibration": None, "refused": refusal, "urgency": 0.5}
    nameless = {"id": "P4", "name": None, "birth_date": None, "sex": None, "age": None}
    grades = {"name": "grades", "hash": "12" * 32, "kind": "ordinal", "classes": ["none", "mild", "severe"]}
    unsure = {"scores": {"none": 0.39, "mild": 0.41, "severe": 0.2}, "set": ["none", "mild", "severe"], "abstain": True, "urgency": 0.5}
    ages = {"name": "age", "hash": "34" * 32, "kind": "regression", "classes": []}
    value = {"label": "54.2", "probability": None, "scores": {"age": 54.2}, "low": 47.0, "high": 61.5, "set": None, "calibration": None, "urgency": 0.5}
    flags = {"name": "skin", "hash": "56" * 32, "kind": "multilabel", "classes": ["mole", "scar", "rash"]}
    rosy = np.stack([film(1.0), film(0.0) // 2, film(0.0) // 3], -1)
    seen = {"label": "mole", "probability": 0.7, "scores": {"mole": 0.7, "scar": 0.2, "rash": 0.1}, "set": None, "modality": "XC", "urgency": 0.1}
    add = hospital.add
    return {
        "prior": add(document(**old, study_uid="1.2.1"), film(0.2), heat=disc),
        "film": add(document(study_uid="1.2.2", low=0.84, high=0.97, notes=notes), film(1.0), heat=disc),
        "refused": add(document(**silent, study_uid="1.2.6", patient=nameless), film(0.0)),
        "unsure": add(document(**unsure, study_uid="1.2.7", patient={"id": "P5", "name": "Poe^Ann"}, model=grades, label="mild", probability=0.41), film(0.5)),
        "age": add(document(**value, study_uid="1.2.8", patient={"id": "P6", "name": "Moe^Max"}, model=ages), film(0.5)),
        "colour": add(document(**seen, study_uid="1.2.9", patient={"id": "P7", "name": "Loe^Kim"}, model=flags), rosy),
    }


def _volumes(hospital: Hospital) -> dict[str, str]:
    zhang = {"id": "P2", "name": "Zhang^Xiaoming=张^小明", "birth_date": "19710405", "sex": "M", "age": "54"}
    boxes = [{"box": list(NODULES[0]), "label": "nodule", "score": 0.88, "risk": None, "size_mm": [15.0, 12.0, 12.0]},
             {"box": list(NODULES[1]), "label": "mass", "score": 0.61, "risk": None, "size_mm": [10.0, 8.0, 8.0]}]
    counts = [{"name": "count", "class": "nodule", "value": 1, "unit": "1"}]
    model = {"name": "lung", "hash": "cd" * 32, "kind": "boxes", "classes": ["nodule", "mass"]}
    lung = {"model": model, "label": "nodule|mass", "probability": 0.88, "boxes": boxes}
    ids = {"boxes": hospital.add(lungs(**lung, study_uid="1.2.4", patient=zhang, urgency=0.88, measurements=counts), chest(NODULES))}
    for name, grid in (("straight", None), ("turned", turned())):
        facts = lungs(**lung, study_uid=f"1.3.{len(ids)}", patient={"id": "P9", "name": name}, urgency=0.1)
        ids[name] = hospital.add(facts, blocks(1000, -1000), mask=(blocks(2, 0) > 0).astype(np.uint8), grid=grid)
    organs = {"name": "organs", "hash": "ef" * 32, "kind": "mask", "classes": ["right lung", "left lung", "nodule"]}
    sizes = [{"name": "volume", "class": "right lung", "value": 21034.5, "unit": "mm3"}, {"name": "volume", "class": "nodule", "value": 2340.0, "unit": "mm3"}]
    image = chest(NODULES)
    labels = np.where((image < -800) & (image > -900), 1, 0).astype(np.uint8)
    labels[..., SHAPE[2] // 2 :] *= 2
    labels[image == 60] = 3
    whole = {"label": "right lung|left lung|nodule", "probability": None, "measurements": sizes, "urgency": 1.0}
    facts = lungs(**whole, study_uid="1.2.5", patient=zhang | {"id": "P3", "name": "Roe^Richard"}, model=organs)
    return ids | {"mask": hospital.add(facts, image, mask=labels)}

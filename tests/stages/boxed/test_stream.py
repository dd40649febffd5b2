"""A stream: ids that stay, times that add up, broken frames that do not stop it, rows that survive a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from vesalius.core.boxes import Detected
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, FormatError, OptionError, RunError
from vesalius.formats.video import Frame, Frames
from vesalius.kernels.tracking import Tracks
from vesalius.kernels.trackscores import track_scores
from vesalius.phantoms import Truth, make_phantom
from vesalius.phantoms.smear import CLASSES
from vesalius.stages.boxed import stream as streaming
from vesalius.stages.boxed.flow import ReadAhead, Watch
from vesalius.stages.boxed.shown import drawn
from vesalius.stages.boxed.stream import stream


class Blobs:
    """A mapping of the kind a stream needs, without a network: what is darker than the field is a cell, its size tells its class."""

    def __init__(self, *, risk: bool = False, wait_s: float = 0.0) -> None:
        self.output = SimpleNamespace(target=TargetSpec("boxes", CLASSES, risk="ill" if risk else ""), facts={"thresholds": {"RBC": 0.4, "WBC": 0}})
        self.floors: list[float] = []
        self.wait_s, self.took = wait_s, dict.fromkeys(("prepare", "network", "suppress"), 0.001)

    def detect(self, study: Study, floor: float) -> Detected:
        self.floors.append(floor)
        time.sleep(self.wait_s)
        if study.channels != 3:
            raise DataError("another number of channels", where=study.source, expected=3, got=study.channels)
        green = ndimage.gaussian_filter(study.image[1].astype(float), 1)
        parts, count = ndimage.label(green < np.median(green) - 18)
        found = [(s, (parts[s] == k + 1).sum()) for k, s in enumerate(ndimage.find_objects(parts))] if count else []
        held = [(s, area) for s, area in found if area > 40]
        boxes = np.array([[s[0].start, s[1].start, s[0].stop, s[1].stop] for s, _ in held], np.float32).reshape(-1, 4)
        labels = np.array([1 if area > 200 else 0 for _, area in held], np.int64)
        return Detected(boxes, labels, np.full(len(held), 0.9, np.float32), np.full(len(held), 0.25, np.float32))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("clip", tmp_path_factory.mktemp("k"), seed=8, n=40, size=128, cells=4, broken=2, video=True)


def tracks_of(table: pd.DataFrame, frame: int) -> tuple[np.ndarray, np.ndarray]:
    rows = table[table.frame == frame]
    return rows.id.to_numpy(), rows[["low_0", "low_1", "high_0", "high_1"]].to_numpy(float)


def planted(clip: Truth) -> list[tuple[np.ndarray, np.ndarray]]:
    held = [clip.planted["tracks"][f"frames/frame_{number + 1}.png"] for number in range(clip.n)]
    return [(np.array([each["id"] for each in frame]), np.array([each["box"] for each in frame], float).reshape(-1, 4)) for frame in held]


class Poor(Blobs):
    """A network as it may be: sees one box in ten not, edges off by 3 % of the size, a tenth of the boxes doubtful."""

    def __init__(self, clip: Truth) -> None:
        super().__init__()
        self.tracks, self.rng = clip.planted["tracks"], np.random.default_rng(0)

    def detect(self, study: Study, floor: float) -> Detected:
        held = [each for each in self.tracks[f"frames/{Path(study.source).name}"] if self.rng.random() > 0.1]
        boxes = np.array([each["box"] for each in held], np.float32).reshape(-1, 4)
        noise = self.rng.normal(0, 0.03, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        scores = np.where(self.rng.random(len(held)) < 0.1, 0.3, 0.9).astype(np.float32)
        labels = np.array([CLASSES.index(each["class"]) for each in held], np.int64)
        return Detected((boxes + noise).astype(np.float32), labels, scores, np.full(len(held), np.nan, np.float32))


def test_ids_stay_with_many_cells_that_cross_under_a_poor_detector(tmp_path: Path) -> None:
    clip = make_phantom("clip", tmp_path / "clip", seed=1, n=60, size=128, cells=10, broken=2)
    made = stream(Poor(clip), clip.path / "frames", tmp_path / "out")
    table = pd.read_csv(made.table)
    scores = track_scores(planted(clip), [tracks_of(table, number) for number in range(60)])
    assert made.broken == 2 and scores.switches <= 2 and scores.mota > 0.75 and scores.idf1 > 0.85, scores
    assert abs(sum(made.objects.values()) - 10) <= 3


def test_ids_stay_with_the_cells_of_a_film(clip: Truth, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    made = stream(Blobs(), clip.path / "clip.avi", tmp_path, progress=lambda *each: told.append(each))
    table = pd.read_csv(made.table)
    assert list(table.columns) == ["frame", "time_s", "id", "class", "score", "low_0", "low_1", "high_0", "high_1", "fits"]
    assert made.frames == 40 and made.broken == made.dropped == 0 and told[-1] == (40, 40, "frames")
    scores = track_scores(planted(clip), [tracks_of(table, number) for number in range(40)])
    assert scores.switches == 0 and scores.mota > 0.75 and scores.idf1 > 0.85, scores
    assert table.time_s.tolist() == pytest.approx((table.frame / 15).round(4).tolist()) and set(table["class"]) <= set(CLASSES)
    assert made.objects == {name: table[table["class"] == name].id.nunique() for name in CLASSES} and sum(made.objects.values()) >= 3


def test_times_are_measured_by_stage_and_the_whole_is_no_less_than_its_parts(clip: Truth, tmp_path: Path) -> None:
    made = stream(Blobs(wait_s=0.004), clip.path / "clip.avi", tmp_path, limit=12)
    facts = json.loads(made.record.read_text("utf-8"))
    assert facts["state"] == "limit reached" and facts["frames"] == 12 and facts["source_fps"] == 15 and not facts["live"]
    times = facts["latency_ms"]
    assert set(times) == {"decode", "prepare", "network", "suppress", "detect", "track", "end_to_end"} and times == made.latency_ms
    for each in times.values():
        assert set(each) == {"p50", "p95", "max", "first"} and 0 < each["p50"] <= each["p95"] <= each["max"]
    assert times["detect"]["p50"] >= 4 and times["network"]["p50"] == pytest.approx(1)
    assert times["end_to_end"]["p50"] >= times["detect"]["p50"] and times["end_to_end"]["max"] >= times["track"]["max"]
    assert 0 < facts["frames_per_second"] < 250 and facts["thresholds"] == {"Platelets": 0.5, "RBC": 0.4, "WBC": 0.5}


def test_broken_frames_are_named_and_do_not_stop_the_stream(clip: Truth, tmp_path: Path) -> None:
    made = stream(Blobs(), clip.path / "frames", tmp_path)
    facts = json.loads(made.record.read_text("utf-8"))
    assert (made.frames, made.broken) == (38, 2) and facts["state"] == "end of the source"
    assert [f"frames/frame_{int(number) + 1}.png" for number in facts["broken"]["frames"]] == clip.planted["broken"]
    assert all("truncated" in why for why in facts["broken"]["frames"].values())
    table = pd.read_csv(made.table)
    broken = {int(number) for number in facts["broken"]["frames"]}
    assert not broken & set(table.frame) and table.time_s.isna().all()
    for number in broken:
        before, after = (set(tracks_of(table, number + step)[0]) for step in (-1, 1))
        assert before & after, "objects keep their ids over a frame that is lost"


def test_thresholds_can_be_given_and_the_floor_leaves_doubtful_boxes(clip: Truth, tmp_path: Path) -> None:
    mapping = Blobs()
    made = stream(mapping, clip.path / "frames", tmp_path, thresholds={"RBC": 0.95, "Platelets": 0.2}, limit=5)
    assert mapping.floors[0] == pytest.approx(0.06)
    assert set(pd.read_csv(made.table)["class"]) <= {"Platelets"}, "0.9 is doubtful for a red cell, and begins none"


def test_what_cannot_be_is_refused(clip: Truth, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the model has no class 'RBD': expected one of Platelets, RBC, WBC"):
        stream(Blobs(), clip.path / "frames", tmp_path, thresholds={"RBD": 0.5})
    with pytest.raises(OptionError, match="the threshold of 'RBC' is no score: expected above 0 and at most 1, got 1.5"):
        stream(Blobs(), clip.path / "frames", tmp_path, thresholds={"RBC": 1.5})
    with pytest.raises(OptionError, match="a stream has at least one frame: expected limit of 1 or more, got 0"):
        stream(Blobs(), clip.path / "frames", tmp_path, limit=0)
    assert not list(tmp_path.iterdir())
    stream(Blobs(), clip.path / "frames", tmp_path, limit=1)
    with pytest.raises(RunError, match="there are tracks already .*tracks.csv.*: expected a folder without tracks.csv; give another folder"):
        stream(Blobs(), clip.path / "frames", tmp_path)


def test_a_source_without_a_usable_frame_is_an_error_and_leaves_the_folder_free(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match="not one frame can be read .*bad.*"):
        stream(Blobs(), tmp_path / "bad", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "stream.json").read_text())["state"] == "stopped by an error"
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "bad" / "a.png")
    with pytest.raises(DataError, match="not one frame could be worked on .*bad.*: got another number of channels .*; give another source"):
        stream(Blobs(), tmp_path / "bad", tmp_path / "out")
    assert not (tmp_path / "out" / "tracks.csv").exists()


def test_the_frames_are_shown_as_a_film_and_as_pictures_without_opencv(clip: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    made = stream(Blobs(), clip.path / "frames", tmp_path / "film", show=True, limit=6)
    assert made.overlay == tmp_path / "film" / "overlay.avi" and "show" in made.latency_ms
    assert cv2.VideoCapture(str(made.overlay)).get(cv2.CAP_PROP_FRAME_COUNT) == 6
    monkeypatch.setitem(sys.modules, "cv2", None)
    made = stream(Blobs(), clip.path / "frames", tmp_path / "pictures", show=True, limit=6)
    assert made.overlay is not None and sorted(p.name for p in made.overlay.iterdir())[:2] == ["000000.jpg", "000001.jpg"]
    seen = np.asarray(Image.open(made.overlay / "000000.jpg")).astype(int)
    bare = np.asarray(Image.open(clip.path / "frames" / "frame_1.png")).astype(int)
    assert seen.shape == bare.shape and 0 < (np.abs(seen - bare).max(-1) > 60).mean() < 0.3


def test_the_box_is_drawn_where_it_lies() -> None:
    study = Study(np.full((1, 60, 80), 100, np.uint8), Grid.plain((60, 80)))
    found = Detected(np.array([[20, 30, 40, 60]], np.float32), np.zeros(1, np.int64), np.ones(1, np.float32), np.full(1, np.nan, np.float32))
    picture = drawn(study, Tracks(np.array([7]), found), ("cell",)).astype(int)
    coloured = np.argwhere(np.ptp(picture, axis=-1) > 50)
    below = coloured[coloured[:, 0] >= 20]
    assert picture.shape == (60, 80, 3) and below.min(0).tolist() == [20, 30] and below.max(0).tolist() == [39, 59]
    assert not np.ptp(picture[25:35, 35:55], axis=-1).any(), "the inside is free"


def test_frames_of_16_bits_are_shown_too() -> None:
    ramp = np.linspace(0, 4000, 60 * 80).reshape(1, 60, 80).astype(np.uint16)
    picture = drawn(Study(ramp, Grid.plain((60, 80)), bits=12), Tracks(np.zeros(0, np.int64), Detected.empty(2)), ("cell",))
    assert picture.shape == (60, 80, 3) and picture.dtype == np.uint8 and picture[0].mean() < 20 < 200 < picture[-1].mean()


def test_the_risk_of_each_object_is_in_the_table(clip: Truth, tmp_path: Path) -> None:
    table = pd.read_csv(stream(Blobs(risk=True), clip.path / "frames", tmp_path, limit=3).table)
    assert list(table.columns[-2:]) == ["risk", "fits"] and set(table.risk) == {0.25} and set(table.fits) == {"unknown"}


class Camera(Frames):
    """Delivers a frame every 5 ms whether it is fetched or not, then an error or silence."""

    name, live, fps = "camera 0", True, 200.0

    def __init__(self, n: int, error: Exception | None = None) -> None:
        self.n, self.error, self.closed = n, error, False
        self.study = Study(np.full((3, 40, 40), 200, np.uint8), Grid.plain((40, 40)))

    def _frames(self) -> Iterator[Frame]:
        for number in range(self.n):
            time.sleep(0.005)
            yield Frame(number, number * 0.005, self.study, "", 0.001)
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


def test_a_camera_drops_old_frames_instead_of_falling_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(60)
    monkeypatch.setattr(streaming, "open_frames", lambda source: camera)
    made = stream(Blobs(wait_s=0.02), 0, tmp_path)
    assert made.dropped >= 10 and made.frames + made.dropped == 60 and camera.closed
    assert made.latency_ms["end_to_end"]["p95"] < 400, "in milliseconds; a queue would have grown to 900"
    assert json.loads(made.record.read_text())["dropped"] == made.dropped


def test_ctrl_c_ends_a_stream_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "open_frames", lambda source: Camera(1000))

    def interrupt(done: int, total: int, what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    made = stream(Blobs(), 0, tmp_path, progress=interrupt)
    assert made.frames == 5 and json.loads(made.record.read_text())["state"] == "stopped by the user"


def test_an_error_of_the_source_reaches_the_reader_and_ends_the_thread() -> None:
    camera = Camera(3, OSError("the cable was pulled"))
    with pytest.raises(OSError, match="the cable was pulled"), ReadAhead(camera) as ahead:
        for _ in ahead:
            time.sleep(0.01)
    assert camera.closed and not ahead._thread.is_alive()


def test_a_watch_keeps_the_first_frame_apart() -> None:
    watch = Watch()
    for seconds in (1.0, 0.010, 0.020, 0.030):
        watch.add("network", seconds)
    watch.add("track", 0.5)
    facts = watch.facts()
    assert facts["network"] == {"p50": 20.0, "p95": 29.0, "max": 30.0, "first": 1000.0}
    assert facts["track"] == {"p50": 500.0, "p95": 500.0, "max": 500.0, "first": 500.0}


@pytest.mark.slow
def test_what_is_written_survives_a_kill(clip: Truth, tmp_path: Path) -> None:
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_stream import Blobs, streaming\n"
            f"streaming.RECORD_S = 0.3; streaming.stream(Blobs(wait_s=0.2), {str(clip.path / 'frames')!r}, {str(tmp_path / 'out')!r})")
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"})
    table, deadline = tmp_path / "out" / "tracks.csv", time.monotonic() + 240
    while time.monotonic() < deadline and not (table.with_name("stream.json").exists() and table.read_text().count("\n") > 8):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows: Any = pd.read_csv(table)
    record = json.loads((tmp_path / "out" / "stream.json").read_text("utf-8"))
    assert record["state"] == "running" and record["frames"] >= 1 and record["latency_ms"]["detect"]["p50"] >= 200
    assert len(rows) >= 7 and rows.notna().drop(columns="time_s").all(axis=None) and (rows.frame.diff().dropna() >= 0).all()

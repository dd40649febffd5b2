"""A clip of moving cells: the truth follows the picture, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesalius.errors import OptionError
from vesalius.phantoms import Truth, make_phantom
from vesalius.phantoms.clip import write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("clip", tmp_path_factory.mktemp("k"), seed=2, n=40, broken=2, video=True, cells=8)


def test_cells_move_smoothly_under_their_numbers_and_some_meet(clip: Truth) -> None:
    before: dict[int, np.ndarray] = {}
    kinds: dict[int, set[str]] = {}
    met = 0
    for number in range(40):
        held = clip.planted["tracks"][f"frames/frame_{number + 1}.png"]
        now = {each["id"]: np.array(each["box"], float) for each in held if each["visible"] == 1}
        for key, box in now.items():
            if key in before:
                assert np.abs((box[:2] + box[2:] - before[key][:2] - before[key][2:]) / 2).max() < 7
        for each in held:
            kinds.setdefault(each["id"], set()).add(each["class"])
        boxes = list(now.values())
        met += sum(bool((np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all()) for i, a in enumerate(boxes) for b in boxes[:i])
        before = now
    assert all(len(names) == 1 for names in kinds.values()) and len(kinds) >= 6 and met >= 5


def test_the_cell_is_where_the_box_says(clip: Truth) -> None:
    for number in (1, 20, 40):
        name = f"frames/frame_{number}.png"
        green = np.asarray(Image.open(clip.path / name))[..., 1].astype(float)
        for each in clip.planted["tracks"][name]:
            y0, x0, y1, x1 = each["box"]
            if each["visible"] == 1:
                middle = green[(y0 + y1) // 2 - 2 : (y0 + y1) // 2 + 2, (x0 + x1) // 2 - 2 : (x0 + x1) // 2 + 2]
                assert middle.mean() < np.percentile(green, 95) - 15


def test_broken_frames_are_cut_off_and_the_first_is_whole(clip: Truth) -> None:
    assert len(clip.planted["broken"]) == 2 and "frames/frame_1.png" not in clip.planted["broken"]
    for name in clip.planted["broken"]:
        assert clip.planted["tracks"][name]
        with pytest.raises((OSError, SyntaxError)):
            Image.open(clip.path / name).load()


def test_the_video_holds_the_same_pictures(clip: Truth) -> None:
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoCapture(str(clip.path / "clip.avi"))
    ok, first = video.read()
    assert ok and video.get(cv2.CAP_PROP_FRAME_COUNT) == 40 and video.get(cv2.CAP_PROP_FPS) == 15
    shown = np.asarray(Image.open(clip.path / "frames/frame_1.png")).astype(int)
    assert np.abs(first[..., ::-1].astype(int) - shown).mean() < 6


def test_clips_that_cannot_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="such a clip cannot be drawn: expected size of 96 or more, .* got size 32, cells 10, broken 0 of 5"):
        make_phantom("clip", tmp_path / "a", n=5, size=32)
    with pytest.raises(OptionError, match="such a clip cannot be drawn: .* broken 5 of 5"):
        make_phantom("clip", tmp_path / "b", n=5, broken=5)
    with pytest.raises(OptionError, match="OpenCV cannot write Motion JPEG .*absent.*; leave video out"):
        write_video(tmp_path / "absent" / "clip.avi", [np.zeros((96, 128, 3), np.uint8)], 15)
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(OptionError, match="OpenCV is absent: expected the extra 'video'; pip install 'vesalius\\[video\\]', or leave video out"):
        make_phantom("clip", tmp_path / "c", n=2, video=True)

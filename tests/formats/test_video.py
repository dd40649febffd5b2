"""Frames of a video, a camera, a folder and a stack: all of them in order, the broken ones told."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from vesalius.errors import DataError, FormatError, OptionError
from vesalius.formats import video
from vesalius.formats.video import Frame, open_frames, picture
from vesalius.phantoms import Truth, make_phantom

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("clip", tmp_path_factory.mktemp("k"), seed=5, n=14, size=96, cells=3, broken=2, video=True, fps=20.0)


def frames(source: str | Path | int) -> list[Frame]:
    opened = open_frames(source)
    found = list(opened)
    opened.close()
    return found


def damaged(path: Path, to: Path, *places: int) -> Path:
    """The video with some frames overwritten by zeros."""
    content = bytearray(path.read_bytes())
    starts = [i for i in range(content.index(b"movi"), len(content) - 4) if content[i : i + 4] == b"00dc"][:14]
    for place in places:
        start, end = starts[place] + 8, [*starts, content.index(b"idx1", starts[-1])][place + 1]
        content[start:end] = bytes(end - start)
    to.write_bytes(content)
    return to


def test_a_folder_is_read_in_natural_order_and_broken_frames_are_named(clip: Truth) -> None:
    found = frames(clip.path / "frames")
    assert [frame.number for frame in found] == list(range(14)) and np.isnan(found[3].time_s)
    names = [Path(frame.study.source).name if frame.study else frame.why.split(" (")[1].split("frames/")[1].split(")")[0] for frame in found]
    assert names == [f"frame_{k + 1}.png" for k in range(14)], "2 comes before 10"
    broken = [frame for frame in found if frame.study is None]
    assert [f"frames/frame_{frame.number + 1}.png" for frame in broken] == clip.planted["broken"]
    assert all(frame.why.startswith("the file is truncated or damaged") for frame in broken)
    shown = np.asarray(Image.open(clip.path / "frames" / "frame_1.png"))
    assert found[0].study is not None and np.array_equal(found[0].study.image, np.moveaxis(shown, -1, 0))


def test_a_video_gives_the_same_pictures_with_their_time(clip: Truth) -> None:
    found, pictures = frames(clip.path / "clip.avi"), frames(clip.path / "frames")
    assert len(found) == 14 and [frame.time_s for frame in found] == pytest.approx([k / 20 for k in range(14)])
    for film, still in zip(found, pictures, strict=True):
        if still.study is not None:
            assert film.study is not None and film.study.image.shape == still.study.image.shape == (3, 96, 128)
            assert np.abs(film.study.image.astype(int) - still.study.image).mean() < 8, "colours in the same order"
    assert found[0].decode_s > 0 and found[0].study is not None and found[0].study.source.endswith("clip.avi#0")


def test_a_broken_frame_of_a_video_is_named_and_the_rest_is_read(clip: Truth, tmp_path: Path) -> None:
    found = frames(damaged(clip.path / "clip.avi", tmp_path / "hurt.avi", 4, 9))
    lost = [frame for frame in found if frame.study is None]
    assert len(found) == 14 and len(lost) == 2 and [frame.number for frame in lost] == [4, 9]
    assert lost[0].why == "hurt.avi: frame 4 cannot be decoded"


def test_a_video_that_is_cut_off_says_which_frames_are_absent(clip: Truth, tmp_path: Path) -> None:
    whole = (clip.path / "clip.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    found = frames(tmp_path / "cut.avi")
    readable = [frame.number for frame in found if frame.study is not None]
    assert 3 < len(readable) < 10 and readable == list(range(len(readable))) and len(found) == 14


def test_a_video_without_a_readable_frame_is_an_error(clip: Truth, tmp_path: Path) -> None:
    hurt = damaged(clip.path / "clip.avi", tmp_path / "all.avi", *range(14))
    with pytest.raises(FormatError, match="not one frame can be read .*all.avi.*: expected a video or pictures, got all.avi: frame 13 cannot be decoded"):
        frames(hurt)
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    (tmp_path / "all.avi").unlink()
    with pytest.raises(FormatError, match="not one frame can be read"):
        frames(tmp_path)


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.avi").write_text("hello")
    with pytest.raises(FormatError, match="the video cannot be opened .*notes.avi.*: expected a video that OpenCV reads .*, got 5 bytes; convert it"):
        open_frames(tmp_path / "notes.avi")
    with pytest.raises(DataError, match="the source of frames does not exist .*absent.mp4"):
        open_frames(tmp_path / "absent.mp4")
    (tmp_path / "notes.avi").rename(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="the folder holds no picture .*: expected frames as PNG, JPEG, TIFF or DICOM; give the folder of the frames"):
        open_frames(tmp_path)


def test_pictures_and_films_of_16_bits_keep_them(tmp_path: Path) -> None:
    image = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    for number in range(3):
        tifffile.imwrite(tmp_path / f"f{number}.tif", image + number)
    held = frames(tmp_path)
    assert [frame.study.image.dtype for frame in held if frame.study] == [np.uint16] * 3 and held[2].study is not None
    assert np.array_equal(held[2].study.image[0], image + 2)
    film = str(tmp_path / "deep.avi")
    deep = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    writer = cv2.VideoWriter(film, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10, (64, 48), deep)
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write FFV1")
    for number in range(3):
        writer.write(image + number)
    writer.release()
    study = frames(film)[1].study
    assert study is not None and study.bits == 16 and np.array_equal(study.image, (image + 1)[None])


def test_a_stack_is_its_pictures_and_a_volume_among_frames_is_broken(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (5, 20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "cine.tif", stack, photometric="minisblack")
    held = frames(tmp_path / "cine.tif")
    assert len(held) == 5 and all(frame.study is not None and np.array_equal(frame.study.image[0], stack[k]) for k, frame in enumerate(held))
    Image.fromarray(stack[0]).save(tmp_path / "a.png")
    assert [frame.why for frame in frames(tmp_path)] == ["", "cine.tif: a picture is needed, not a volume"]
    assert len(frames(tmp_path / "a.png")) == 1


class FakeCamera:
    """Answers twice, then no more."""

    opened = True

    def __init__(self, *_: Any) -> None:
        self.left = 2

    def isOpened(self) -> bool:
        return self.opened

    def set(self, *_: Any) -> bool:
        return True

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return self.left >= 0, np.full((4, 6, 3), [1, 2, 3], np.uint8)

    def release(self) -> None:
        self.left = 0


def test_a_camera_is_live_and_ends_when_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    camera = open_frames("0")
    assert camera.live and camera.fps == 30
    found = list(camera)
    assert [frame.study is not None for frame in found] == [True] * 2 + [False] * 5 and found[2].why == "camera 0: frame 2 did not come"
    assert found[0].study is not None and found[0].study.image[:, 0, 0].tolist() == [3, 2, 1], "red first"
    monkeypatch.setattr(FakeCamera, "opened", False)
    with pytest.raises(OptionError, match="no camera answers .camera 7.: expected the index of a camera that is connected and not in use"):
        open_frames(7)


def test_a_folder_called_0_is_no_camera(clip: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(clip.path / "frames", tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    assert not open_frames("0").live


def test_without_opencv_a_folder_is_still_read(clip: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(OptionError, match="videos and cameras need OpenCV: expected the extra 'video'; pip install 'vesalius\\[video\\]', or give pictures"):
        open_frames(clip.path / "clip.avi")
    assert len(frames(clip.path / "frames")) == 14


def test_grey_pictures_of_opencv_have_one_channel() -> None:
    assert picture(np.zeros((3, 4), np.uint16), "x").image.shape == (1, 3, 4) and picture(np.zeros((3, 4), np.uint16), "x").bits == 16
    assert video.natural("F10b2") == [(-1, "f"), (10, ""), (-1, "b"), (2, ""), (-1, "")]

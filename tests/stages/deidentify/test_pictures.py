"""Pictures and volumes beside DICOM, and a run that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from stages.deidentify.patientfiles import BORN, CANARIES, FAMILY, GIVEN, NUMBER, body, instance, left, put, read, text_on
from vesalius.guards.canary import scan
from vesalius.stages.deidentify import deidentify

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def pictures(folder: Path) -> None:
    folder.mkdir()
    facts = PngImagePlugin.PngInfo()
    facts.add_text("Patient", f"{FAMILY} {NUMBER}", zip=True)
    Image.fromarray(body()).save(folder / f"{FAMILY}.png", pnginfo=facts)
    exif = Image.Exif()
    exif[0x9C9D], exif[0x010E] = FAMILY.encode("utf-16-le"), f"{FAMILY} {BORN}"
    Image.fromarray(body()).save(folder / "b.jpg", exif=exif, comment=NUMBER.encode())
    tifffile.imwrite(folder / "c.tif", body(), description=f"{FAMILY} {NUMBER}", extratags=[(315, "s", 0, GIVEN, True)], datetime=True, metadata=None)
    volume = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    volume.header["descrip"], volume.header["aux_file"] = f"{FAMILY} {BORN}".encode(), NUMBER.encode()
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{FAMILY} {GIVEN} {NUMBER}".encode()))
    nib.save(volume, folder / f"{NUMBER}.nii.gz")
    Image.fromarray(text_on(body(), f"{FAMILY} {NUMBER}")).save(folder / "e.png")


def test_pictures_lose_what_they_say_and_keep_their_samples(tmp_path: Path) -> None:
    pictures(tmp_path / "in")
    assert {hit.canary for hit in scan([tmp_path / "in"], CANARIES)} >= {FAMILY, GIVEN, NUMBER, BORN}
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert (done.written, done.refused, left(done)) == (5, 0, [])
    out = {path.name.split(".", 1)[1]: path for path in (tmp_path / "out" / "pictures").iterdir() if path.suffix != ".png"}
    assert (np.asarray(Image.open(out["jpg"])) == np.asarray(Image.open(tmp_path / "in" / "b.jpg"))).all()
    assert (tifffile.imread(out["tif"]) == body()).all()
    assert (np.asarray(nib.load(out["nii.gz"]).dataobj).ravel() == np.arange(24)).all()
    arrays = [np.asarray(Image.open(path)) for path in (tmp_path / "out" / "pictures").glob("*.png")]
    drawn = text_on(body(), f"{FAMILY} {NUMBER}") != body()
    same = [bool((array == body()).all()) for array in arrays]
    assert sorted(same) == [False, True] and (arrays[same.index(False)][drawn] == 0).mean() > 0.98


CHILD = "import sys; from vesalius.stages.deidentify import deidentify; deidentify(sys.argv[1], sys.argv[2])"


@pytest.mark.slow
def test_a_killed_run_loses_and_repeats_nothing(tmp_path: Path) -> None:
    for k in range(24):
        put(instance(body(), k + 1), tmp_path / "in" / f"{k}")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "in"), str(tmp_path / "out")], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").rglob("*.dcm"))) < 5 and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert done.written == 24 and done.skipped >= 4
    items = read(done)
    assert len(items) == len({item.SOPInstanceUID for item in items}) == 24
    assert list((tmp_path / "out").rglob("*.part")) == []

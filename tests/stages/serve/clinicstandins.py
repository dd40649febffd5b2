"""Models whose answers are known by construction, and DICOM studies to read with them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from torch import nn

from vesalius.core.reads import Reads, TileReads
from vesalius.core.target import Kind, TargetSpec
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.phantoms import make_phantom
from vesalius.plan import Plan

ZHANG = "Zhang^Xiaoming=张^小明"


class Whole(nn.Module):
    """Raw values that depend on the mean of the image; their order is fixed, so that the answer is the last class."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, n_out, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.01)
        self.conv.bias.data = torch.arange(n_out, dtype=torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)).flatten(2).mean(2)


class Bright(nn.Module):
    """Marks samples by their number: from 0.4 on the first structure, from 0.7 on the second."""

    multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = ((x >= 0.4) & (x < 0.7)).float(), (x >= 0.7).float()
        return 10 * torch.cat([1 - first - second, first, second], 1) + self.bias


class Dots(nn.Module):
    """A box of 6 samples about the brightest sample of the tile."""

    multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
        d = x.ndim - 2
        made = torch.full((len(x), 4, 2 * d + 1), -50.0)
        for i, each in enumerate(x[:, 0]):
            place = torch.tensor(np.unravel_index(int(each.argmax()), tuple(each.shape)))
            made[i, 0, :d], made[i, 0, d : 2 * d], made[i, 0, 2 * d] = place + 0.5 - 3, place + 0.5 + 3, 2.0
        return made


def classes_model(kind: Kind = "binary", classes: tuple[str, ...] = ("normal", "pneumonia")) -> Mapping:
    output = output_for(TargetSpec(kind, classes, "age" if kind == "regression" else "label"))
    if kind == "regression":
        output.facts = {"centre": 50.0, "scale": 10.0}
    return Mapping(Reads((32, 32)), [Whole(max(len(classes), 1))], output, Plan())


def mask_model(size: tuple[int, ...], classes: tuple[str, ...] = ("liver", "结节 nodule")) -> TiledMapping:
    reads = TileReads(size, 1, schemes=("full",), mean=(0.0,), std=(1.0,))
    return TiledMapping(reads, [Bright()], output_for(TargetSpec("mask", classes)), Plan())


def box_model(size: tuple[int, ...], classes: tuple[str, ...] = ("nodule",)) -> BoxedMapping:
    reads = TileReads(size, 1, schemes=("full",), mean=(0.0,), std=(1.0,))
    return BoxedMapping(reads, [Dots()], output_for(TargetSpec("boxes", classes)), Plan())


def small_model(folder: Path) -> Path:
    """A tiny network with random weights, as a model folder."""
    torch.manual_seed(0)
    plan = Plan().decide("network.name", "small-resnet", "test").decide("network.options", {"width": 8}, "test")
    output = output_for(TargetSpec("binary", ("normal", "pneumonia")))
    network = build("small-resnet", channels=1, n_out=output.n_out, size=(32, 32), width=8)
    Mapping(Reads((32, 32), mean=(0.4,), std=(0.2,)), [network], output, plan).save(folder)
    return folder


def film(path: Path, *, patient: str = "P1", name: str = ZHANG, charset: str = "GB18030", series: str = "s", image: np.ndarray | None = None,
         **more: object) -> Path:
    """A chest film with a Chinese name; ``more`` attributes by keyword."""
    ds = Dataset()
    ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid(entropy_srcs=[str(path.name), patient])
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(entropy_srcs=[patient]), generate_uid(entropy_srcs=[patient, series])
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = patient, name, "19600101", "M", "066Y"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "20260101", "120000", "A1", "1", "Li^Si=李^四"
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "胸部正位", "胸部", "CHEST"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.ViewPosition, ds.PresentationIntentType = "DX", 1, 1, "PA", "FOR PRESENTATION"
    ds.ImagerPixelSpacing, ds.PixelIntensityRelationshipSign, ds.ImageType = [0.5, 0.5], -1, ["ORIGINAL", "PRIMARY"]
    stored = picture() if image is None else image
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *stored.shape, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = stored.astype("<u2").tobytes()
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def picture(seed: int = 0, shape: tuple[int, int] = (48, 40)) -> np.ndarray:
    """12-bit numbers with a darker field, a grey block and a bright one."""
    image = np.random.default_rng(seed).integers(0, 400, shape)
    image[8:20, 6:18] = 2200
    image[30:36, 20:32] = 3600
    return image


def series(folder: Path, name: str = ZHANG, **options: object) -> list[Path]:
    """A CT series with a Chinese name in the character set of a hospital there."""
    truth = make_phantom("dicom-masks", folder, n=1, size=32, slices=10, **options)
    files = sorted((Path(truth.data) / "P0000" / "ct").iterdir())
    for path in files:
        item = pydicom.dcmread(path)
        item.SpecificCharacterSet, item.PatientName = "GB18030", name
        item.PixelData = volume()[int(item.InstanceNumber) - 1].astype("<u2").tobytes()
        item.save_as(path)
    return files


def volume() -> np.ndarray:
    stored = np.random.default_rng(1).integers(0, 400, (10, 32, 32))
    stored[3:7, 8:20, 6:18] = 2200
    stored[5, 22:26, 20:26] = 3600
    return stored


def standard_errors(path: Path) -> list[str]:
    """What David Clunie's dciodvfy calls an error; the test is skipped where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]

"""Names, numbers and dates planted in DICOM headers are met in nothing that the verbs leave behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from vesalius.guards.canary import Hit, scan

from .conftest import SHORT, Command

FAMILY, GIVEN, ACCESSION, BORN, DAY, HOUSE, DOCTOR = "Zwickelbart", "Adelgunde", "AX9917731", "19470823", "20240229", "Wunderlichspital", "Hohlweg"
PERSONS = (FAMILY, GIVEN, ACCESSION, BORN, DAY, HOUSE, DOCTOR, "1947-08-23", "2024-02-29")
IDS = tuple(f"QX{7731900 + k}" for k in range(24))
WHO = ("cohort.parquet", "predictions.parquet", "baselines.parquet")
"""The run's own record of which patient is in which part: it is what a split by patient rests on, and stays with the run."""


def film(path: Path, patient: int, ill: bool, number: int) -> None:
    rng, item = np.random.default_rng(100 * patient + number), Dataset()
    pixels = rng.normal(90, 12, (40, 40)) + (80 if ill else 0) * (np.hypot(*(np.mgrid[:40, :40] - 20)) < 6)
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID, item.SOPInstanceUID, item.Modality = DigitalXRayImageStorageForPresentation, f"1.2.826.0.1.3680043.77.{patient}.{number}", "DX"
    item.StudyInstanceUID, item.SeriesInstanceUID = f"1.2.826.0.1.3680043.78.{patient}", f"1.2.826.0.1.3680043.79.{patient}.{number}"
    item.PatientName, item.PatientID, item.PatientBirthDate = f"{FAMILY}^{GIVEN}", IDS[patient], BORN
    item.AccessionNumber, item.StudyDate, item.InstitutionName, item.ReferringPhysicianName = ACCESSION, DAY, HOUSE, f"{DOCTOR}^Kunz"
    item.ImageComments = f"{GIVEN} {FAMILY}, {BORN}"
    item.set_pixel_data(pixels.clip(0, 255).astype(np.uint8), "MONOCHROME2", 8, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, item, enforce_file_format=True)


@pytest.fixture(scope="module")
def worked(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with what check, fit and predict left behind, and all that they said."""
    root = tmp_path_factory.mktemp("canaries")
    for patient in range(24):
        for number in range(2):
            film(root / "in" / ("ill" if patient % 2 else "well") / f"{patient:02d}-{number}.dcm", patient, bool(patient % 2), number)
    told = [cli("check", root / "in", "--json", root / "left" / "check.json", "--html", root / "left" / "check.html"),
            cli("fit", root / "in", "--out", root / "left" / "run", *SHORT, "--epochs", "1"),
            cli("predict", root / "left" / "run", root / "in" / "ill", "--out", root / "left" / "found", "--pictures", "2"),
            cli("deidentify", root / "in", root / "left" / "out", "--dates", "shift", "--key", root / "key")]
    assert [each.returncode for each in told] == [0, 0, 0, 0], told[-1].stderr
    return root, "\n".join(each.stdout + each.stderr for each in told)


def where(hits: list[Hit]) -> set[str]:
    return {f"{hit.path.name}: {hit.canary}" for hit in hits}


@pytest.mark.slow
def test_no_name_number_or_date_is_left_by_any_verb(worked: tuple[Path, str]) -> None:
    root, said = worked
    assert {hit.canary for hit in scan([root / "in"], PERSONS)} >= {FAMILY, GIVEN, ACCESSION, BORN, DAY, HOUSE, DOCTOR}
    assert where(scan([root / "left"], PERSONS)) == set()
    assert [word for word in (*PERSONS, *IDS) if word.lower() in said.lower()] == []


@pytest.mark.slow
def test_the_number_of_a_patient_stays_in_the_record_of_the_split(worked: tuple[Path, str]) -> None:
    root, _ = worked
    places = {hit.path.name for hit in scan([root / "left" / "run"], IDS)}
    assert places <= set(WHO) and "cohort.parquet" in places
    assert scan([root / "left" / "run" / "model", root / "left" / "found", root / "left" / "out"], IDS) == []
    assert len(list((root / "left" / "out").rglob("*.dcm"))) == 48

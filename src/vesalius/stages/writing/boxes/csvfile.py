"""A finding with boxes as a table: a row a box, in samples and in patient coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.geometry import Grid
from vesalius.errors import FormatError
from vesalius.stages.boxed.findings import Lesion, rounded, tidy
from vesalius.stages.writing.boxes._base import APART, BOX_WRITERS, BoxWriter, Found, Held

AXES = "zyx"


@BOX_WRITERS.register("csv")
class CsvWriter(BoxWriter):
    """Columns: see `row_of`; UTF-8 with a byte order mark, as spreadsheets expect. Without a box it has the header only."""

    name = "csv"
    suffix = ".csv"

    @classmethod
    def write(cls, found: Found, part: Path) -> None:
        part.write_bytes(table_bytes([row_of(str(found.source), lesion) for lesion in found.lesions], found.study.ndim))

    @classmethod
    def read(cls, found: Found, part: Path) -> list[Held]:
        try:
            table = pd.read_csv(part, encoding="utf-8-sig", dtype={"class": str}, keep_default_na=False, na_values=[""])
            return [_held(row, found.study.grid) for row in table.to_dict("records")]
        except (ValueError, KeyError, UnicodeDecodeError) as error:
            raise FormatError("the CSV file has no boxes", where=part, got=type(error).__name__) from error


def row_of(source: str, lesion: Lesion) -> dict[str, Any]:
    """One row: source, number, class, score, risk; ``low_*``, ``high_*`` in samples (edges of `core.boxes`); ``size_*`` along the array's axes, the longest
    edge and the volume (area) in ``unit``; the centre, the low and the high corner of the box (those of ``low_*`` and ``high_*``; on a turned grid
    they are not the least and the greatest) in LPS mm, empty where the file states no spacing."""
    axes = AXES[-len(lesion.low) :]
    made: dict[str, Any] = {"source": source, "number": lesion.number, "class": lesion.name, "score": round(lesion.score, 6), "risk": lesion.risk}
    for what, values in (("low", rounded(lesion.low)), ("high", rounded(lesion.high)), ("size", tidy(lesion.size))):
        made |= {f"{what}_{axis}": value for axis, value in zip(axes, values, strict=True)}
    made |= {"longest": max(tidy(lesion.size)), "volume" if len(axes) == 3 else "area": tidy([lesion.volume])[0], "unit": lesion.unit}
    if lesion.unit == "mm":
        places = (("centre", lesion.centre_mm), ("corner_low", lesion.corners_mm[0]), ("corner_high", lesion.corners_mm[-1]))
        made |= {f"{what}_{axis}_mm": v for what, values in places for axis, v in zip("LPS", tidy(values), strict=True)}
    return made


def table_bytes(rows: Sequence[dict[str, Any]], ndim: int = 2) -> bytes:
    """The file; of no rows the header of a study with so many axes."""
    axes = AXES[-ndim:]
    header = ["source", "number", "class", "score", "risk", *(f"{what}_{axis}" for what in ("low", "high", "size") for axis in axes)]
    frame = pd.DataFrame(list(rows)) if rows else pd.DataFrame(columns=header)
    return frame.to_csv(index=False).encode("utf-8-sig")


def _held(row: Mapping[Any, Any], grid: Grid) -> Held:
    """Through the patient where the row has mm, which must agree with its samples."""
    box = np.array([row[f"{what}_{axis}"] for what in ("low", "high") for axis in AXES[-grid.ndim :]], float)
    if "corner_low_L_mm" in row:
        world = np.array([[row[f"corner_{what}_{axis}_mm"] for axis in "LPS"] for what in ("low", "high")])
        placed = (grid.index(world) + 0.5).ravel()
        if np.abs(placed - box).max() > APART:
            raise FormatError("a row says two places", got=f"{box.tolist()} in samples and {placed.round(3).tolist()} through mm")
        box = placed
    risk = row.get("risk")
    return Held(str(row["class"]), box, float(row["score"]), None if risk is None or pd.isna(risk) else float(risk))

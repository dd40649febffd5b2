"""A doctor's decision as it comes in: its form, and the rules that hold for every kind of finding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vesalius.errors import DataError
from vesalius.stages.serve.masks import edited_path

Edge = Annotated[float, Field(allow_inf_nan=False)]


class BoxGiven(BaseModel):
    """A box: (low..., high...) in array order with continuous edges (`core.boxes`), and its class."""

    model_config = ConfigDict(extra="forbid")

    box: Annotated[list[Edge], Field(min_length=4, max_length=6)]
    label: Annotated[str, Field(max_length=200)]


class Decided(BaseModel):
    """``accept``, ``correct`` or ``reject``. A correction holds what is right: ``label`` (several joined by ``|``, a number for a regression), all
    ``boxes``, or the name of an edited ``mask`` that was stored before. ``seen``: how many decisions the reader knew of."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["accept", "correct", "reject"]
    comment: Annotated[str, Field(max_length=2000)] = ""
    seen: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    label: Annotated[str, Field(max_length=2000)] | None = None
    boxes: Annotated[list[BoxGiven], Field(max_length=2000)] | None = None
    mask: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


def correction_of(document: Mapping[str, Any], given: Decided, folder: Path) -> dict[str, Any] | None:
    """``label``, ``boxes`` or ``mask`` (the name of a file in ``folder``) of a correction, those that were given; None of another action. Whether they fit the
    model's classes and the study's grid is judged by `stages.serve.correction`.

    Raises
    ------
    DataError: an accepted or rejected finding that is changed too, a rejection without a reason, a refused study that is accepted, or a correction without a
        change.
    """
    told = given.model_dump(include={"label", "boxes", "mask"})
    held: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    if given.action != "correct":
        _check_unchanged(document, given, list(held))
        return None
    if not held:
        raise DataError("the correction says nothing", expected="a label, boxes or a mask", do="change something, or accept or reject")
    if given.mask is not None:
        held["mask"] = edited_path(folder, given.mask).name
    return held


def _check_unchanged(document: Mapping[str, Any], given: Decided, held: list[str]) -> None:
    if held:
        raise DataError(f"to {given.action} changes nothing", expected="no label, boxes or mask", got=", ".join(held), do="send them with the action correct")
    if given.action == "reject" and not given.comment.strip():
        raise DataError("a rejection needs its reason", expected="a comment", do="say in the comment what is wrong")
    if given.action == "accept" and document.get("refused") and not document.get("forced"):
        raise DataError("the model refused this study, so that there is nothing to accept", do="reject it, or correct it by the right answer")

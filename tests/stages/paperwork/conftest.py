"""The run folders that the tests of the report write, for every kind of target, without training anything."""

from __future__ import annotations

import importlib.util
from pathlib import Path

REPORT = Path(__file__).parents[1] / "report" / "conftest.py"
spec = importlib.util.spec_from_file_location("report_fixtures", REPORT)
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
made_runs, run_of, made_masks, mask_run, made_boxes, box_run = made.made_runs, made.run_of, made.made_masks, made.mask_run, made.made_boxes, made.box_run

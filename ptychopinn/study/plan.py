"""The design in the folder of a study, and the table of its jobs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import check_folder, write_json, write_provenance
from ptychopinn.json_reader import read_json
from ptychopinn.study.design import EMBEDDED, PRESETS, StudyDesign, combined, read_design
from ptychopinn.study.jobs import Job

DESIGN = "design.json"

PLAN = "plan.json"
"""Jobs that a run would start and skip, as a dry run found them."""

PLANNED = (PLAN, "skip_summary.json")
"""Files of a dry run, after which a folder is still new."""


def chosen_design(preset: str | None, path: Path | None, assigned: Mapping[str, Any]) -> StudyDesign | None:
    """The design of a call: a preset or a file, with assignments on top; None when the call names none.

    Raises:
        PtychoError: for both, or for what is no design.
    """
    if preset is not None and path is not None:
        raise PtychoError("--preset: given together with --design; give one of them.")
    if preset is not None and preset not in PRESETS:
        raise PtychoError(f"--preset {preset}: not a preset; {', '.join(PRESETS)} are.")
    if preset is None and path is None and not assigned:
        return None
    values = read_design(path) if path is not None else PRESETS[preset or "reference"]
    design = StudyDesign.of(combined(values, assigned), "--set" if assigned else "design")
    if design.base in EMBEDDED:
        return design
    base = Path(design.base)
    if not base.is_file():
        raise PtychoError(f"base: {design.base}: no such file; {', '.join(EMBEDDED)} or an NPZ file is needed.")
    return design.model_copy(update={"base": str(base.resolve())})


def stored_design(folder: Path) -> StudyDesign:
    """The design of an existing study.

    Raises:
        PtychoError: when the folder holds no study.
    """
    if not (folder / DESIGN).is_file():
        raise PtychoError(f"{folder}: holds no {DESIGN}; a folder that 'ptychopinn study run' made is needed.")
    return StudyDesign.of(read_design(folder / DESIGN), str(folder / DESIGN))


def known_design(folder: Path | None, given: StudyDesign | None, update: bool = False) -> StudyDesign:
    """The design of a new or existing study; the reference design when none is given.

    Args:
        folder: of the study, which may exist.
        given: design of the call.
        update: replace another design.

    Raises:
        PtychoError: when the folder belongs to another design, or to something else.
    """
    if folder is None or not (folder / DESIGN).is_file():
        if folder is not None and _is_planned(folder):
            planned = read_json(folder / PLAN, "a plan").get("design", {})
            return given or StudyDesign.of(planned, str(folder / PLAN))
        if folder is not None:
            check_folder(folder, "study")
        return given or StudyDesign()
    before = stored_design(folder)
    if given is None or given == before:
        return before
    if not update:
        name = next(name for name in StudyDesign.model_fields if getattr(given, name) != getattr(before, name))
        raise PtychoError(
            f"{folder}: has {name} {_text(before, name)}, now {_text(given, name)}; give another --out, or "
            "--update to use the new design; jobs that it does not change are kept."
        )
    return given


def begin(folder: Path, design: StudyDesign) -> None:
    """Write the design into the folder of a study where it is new."""
    values = design.model_dump(mode="json")
    if not (folder / DESIGN).is_file() or read_design(folder / DESIGN) != values:
        # Written first: a folder with a design is a study, which a killed run can resume.
        write_json(folder / DESIGN, values)
        write_provenance(folder, "study", {"design": values})


def write_plan(folder: Path, values: Mapping[str, Any]) -> None:
    """Write ``plan.json``; a folder that holds nothing else is still new, and its plan says for which design."""
    write_json(folder / PLAN, {"timestamp": datetime.now(UTC).isoformat(timespec="seconds"), **values})


def plan_row(job: Job, state: str) -> dict[str, Any]:
    """A job in a plan: what it is, its state, what it reads and writes."""
    return {**asdict(job), "state": state, "command": list(job.command)}


def _is_planned(folder: Path) -> bool:
    """Whether a folder holds the files of a dry run and nothing else."""
    return (folder / PLAN).is_file() and all(entry.name in PLANNED for entry in folder.iterdir())


def table(jobs: Sequence[Job], states: Mapping[str, str]) -> str:
    """A line per job: its properties and its state."""
    rows = [("job", "dose", "view", "split", "gridsize", "state")]
    for job in jobs:
        cells = (job.view or "-", job.split or "-", str(job.gridsize or "-"))
        rows.append((job.name, f"{job.dose:g}", *cells, states[job.name]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _text(design: StudyDesign, name: str) -> str:
    return json.dumps(design.model_dump(mode="json", include={name})[name])

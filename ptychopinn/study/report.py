"""The report of a study: one HTML page that needs nothing beside it, and a table of all numbers as CSV."""

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ptychopinn.figures.page.templates import write_from
from ptychopinn.figures.study import curves_png, images_png
from ptychopinn.files.output_folder import VIEW, write_table
from ptychopinn.study.design import SPLITS, StudyDesign, dose_name
from ptychopinn.study.feasibility import still_impossible
from ptychopinn.study.jobs import STAGES, jobs_of, summary
from ptychopinn.study.results import Results, Row, best_arms, gather, images_of

PAGE: Final = "report.html"
TABLE: Final = "report.csv"

LARGEST: Final = 4_500_000
"""Bytes of all pictures of a page; the resolution falls until they fit."""

FINEST: Final = 110
COARSEST: Final = 36
"""Dots per inch of the pictures."""

MAIN: Final = {
    "phase_mae": "phase MAE (rad)",
    "phase_ms_ssim": "phase MS-SSIM",
    "ms_ssim_k": "scales",
    "phase_ssim": "phase SSIM",
    "amplitude_mae": "amplitude MAE",
    "complex_error": "complex error",
    "covered_phase_ssim": "phase SSIM, all covered",
    "covered_error": "complex error, all covered",
    "frc50": "FRC50 (1/px)",
    "efficiency": "efficiency",
    "deviance_per_pixel": "deviance",
    "seconds_total": "seconds",
}
"""Columns of the tables of a view, with their titles; columns without a value are omitted."""

SHARED: Final = {
    "shared_phase_mae": "phase MAE (rad)",
    "shared_phase_ssim": "phase SSIM",
    "shared_error": "complex error",
}
"""Metrics of the tables that have all views side by side, on the same pixels, with their titles."""

CURVES: Final = {
    "shared_phase_ssim": "phase SSIM,\nsame pixels",
    "shared_phase_mae": "phase MAE (rad),\nsame pixels",
    "phase_ms_ssim": "phase MS-SSIM",
    "frc50": "FRC50 (1/px)",
}
"""Metrics that are drawn against dose, with their titles."""


def write_report(folder: Path, design: StudyDesign) -> Path:
    """Write ``report.html`` and ``report.csv`` of the finished jobs; returns the page."""
    jobs = jobs_of(design)
    results = gather(folder, design, jobs, still_impossible(design, jobs))
    write_table(folder / TABLE, [row.flat() for row in results.rows] or [{"dose": "", "view": "", "split": ""}])
    return write_from(
        folder / PAGE,
        "ptychopinn.study",
        summary=summary(jobs),
        counts=Counter(each.state for each in results.jobs),
        pictures=_pictures(folder, results),
        looks=_looks(folder, results),
        side_by_side=_side_by_side(results),
        tables=_tables(results, tuple(MAIN)),
        full_tables=_tables(results, _numbers(results.rows)),
        titles=MAIN,
        overlaps=_unrepeated(results.overlaps),
        timings=_timings(results),
        unfinished=[(each.job.name, each.state, each.reason) for each in results.jobs if each.state != "done"],
        versions=_versions(results),
        design=json.dumps(design.model_dump(mode="json"), indent=1),
    )


def _groups(rows: Sequence[Row]) -> list[tuple[str, str, dict[float, list[Row]]]]:
    """Rows of every split and view, by dose."""
    found: dict[tuple[str, str], dict[float, list[Row]]] = {}
    for row in rows:
        group = found.setdefault((row.job.split or "", row.job.view or ""), {})
        group.setdefault(row.job.dose, []).append(row)
    return [(split, view, of_doses) for (split, view), of_doses in found.items()]


def _numbers(rows: Sequence[Row]) -> tuple[str, ...]:
    """Every metric that is a number somewhere."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    return tuple(name for name in names if any(isinstance(row.values.get(name), float) for row in rows))


def _tables(results: Results, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """A table per view and split: a line per dose and arm, the best of each dose marked."""
    known = set(_numbers(results.rows))
    shown = [metric for metric in metrics if metric in known]
    tables = []
    for split, view, of_doses in sorted(_groups(results.rows)):
        lines = []
        for dose, rows in of_doses.items():
            best = {metric: best_arms(rows, metric) for metric in shown}
            for row in rows:
                cells = [(_number(row.values.get(metric)), row.arm in best[metric]) for metric in shown]
                lines.append({"dose": f"{dose:g}", "arm": row.arm, "cells": cells})
        tables.append({"title": f"View {view}: {split}", "metrics": shown, "lines": lines})
    return tables


def _looks(folder: Path, results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """Pages of the comparisons beside the report: a title, and text and address by dose."""
    found = []
    for split, view, of_doses in sorted(_groups(results.rows)):
        pages = {dose: f"{rows[0].job.out}/{VIEW}" for dose, rows in of_doses.items()}
        there = [(f"{dose:g} photons", quote(page)) for dose, page in pages.items() if (folder / page).is_file()]
        if there:
            found.append((f"view {view}, {split}", there))
    return found


def _side_by_side(results: Results) -> list[dict[str, Any]]:
    """A table per split: a line per dose and arm, every metric of all views on the same pixels."""
    tables = []
    rows = [row for row in results.rows if any(row.values.get(metric) is not None for metric in SHARED)]
    for split in dict.fromkeys(row.job.split for row in rows):
        of_split = [row for row in rows if row.job.split == split]
        views, arms = (
            tuple(dict.fromkeys(names)) for names in zip(*((r.job.view, r.arm) for r in of_split), strict=True)
        )
        lines = []
        for dose in dict.fromkeys(row.job.dose for row in of_split):
            found = {view: [row for row in of_split if (row.job.dose, row.job.view) == (dose, view)] for view in views}
            best = {(metric, view): best_arms(found[view], metric) for metric in SHARED for view in views}
            for arm in arms:
                own = {view: row for view in views for row in found[view] if row.arm == arm}
                cells = [
                    (_number(own[view].values.get(metric) if view in own else None), arm in best[metric, view])
                    for metric in SHARED
                    for view in views
                ]
                pixels = next((row.values.get("shared_pixels") for row in own.values()), None)
                shown = f"{pixels:.0f}" if isinstance(pixels, float) else "–"
                lines.append({"dose": f"{dose:g}", "arm": arm, "pixels": shown, "cells": cells})
        tables.append({"title": f"Part {split}", "views": views, "metrics": list(SHARED.values()), "lines": lines})
    return sorted(tables, key=lambda table: str(table["title"]))


def _number(value: Any) -> str:
    """Four digits, or a dash where there is no number."""
    if not isinstance(value, float) or not math.isfinite(value):
        return "–"
    return f"{value:.4g}"


def _pictures(folder: Path, results: Results) -> list[tuple[str, str]]:
    """Titles and data URLs of all pictures, in the finest resolution that the limit allows."""
    if not results.rows:
        return []
    dpi, curves = FINEST, _curves(results, FINEST)  # lines take few bytes, and must stay readable
    while True:
        pictures = [*curves, *_images(folder, results, dpi)]
        size = sum(len(data) for _, data in pictures) * 4 / 3
        if size <= LARGEST or dpi == COARSEST:
            break
        # The size grows slower than the number of pixels.
        dpi = max(COARSEST, min(dpi - 1, int(dpi * (LARGEST / size) ** 0.7)))
    return [(title, "data:image/png;base64," + base64.b64encode(data).decode()) for title, data in pictures]


def _curves(results: Results, dpi: int) -> list[tuple[str, bytes]]:
    """A picture of the metrics against dose for each split."""
    pictures = []
    for split in SPLITS[::-1]:
        views = {view: of_doses for part, view, of_doses in _groups(results.rows) if part == split}
        if views:
            curves = {metric: {view: _lines(of_doses, metric) for view, of_doses in views.items()} for metric in CURVES}
            pictures.append((f"Metrics against dose, {split}", curves_png(curves, CURVES, dpi)))
    return pictures


def _lines(of_doses: Mapping[float, Sequence[Row]], metric: str) -> dict[str, list[tuple[float, float]]]:
    """Points (dose, value) of a metric by arm."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for dose, rows in of_doses.items():
        for row in rows:
            value = row.values.get(metric)
            lines.setdefault(row.arm, []).extend([(dose, value)] if isinstance(value, float) else [])
    return lines


def _images(folder: Path, results: Results, dpi: int) -> list[tuple[str, bytes]]:
    """Pictures of phases and amplitudes, one per view and split, a row per dose."""
    pictures = []
    for split, view, of_doses in sorted(_groups(results.rows)):
        found = [images_of(folder, rows[0].job, results.design) for rows in of_doses.values()]
        titles = [f"{dose_name(dose)} photons" for dose in of_doses]
        for kind in ("phase", "amplitude"):
            data = images_png(
                [images for images, _ in found], [mask for _, mask in found], titles, dpi, kind == "phase"
            )
            pictures.append((f"{kind.capitalize()}, view {view}: {split}", data))
    return pictures


def _unrepeated(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Overlap rows, those of equal numbers merged: all doses share their positions."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        values = {name: value for name, value in row.items() if name != "dose"}
        same = found.setdefault(json.dumps(values), {**values, "doses": []})
        same["doses"].append(f"{row['dose']:g}")
    return list(found.values())


def _timings(results: Results) -> list[dict[str, Any]]:
    """Wall time and memory by stage."""
    lines = []
    for stage in STAGES:
        records = [each.record for each in results.jobs if each.job.stage == stage]
        seconds = [record.seconds for record in records if record.seconds is not None]
        if seconds:
            line = {"stage": stage, "jobs": len(seconds), "total": f"{sum(seconds):.0f}"}
            line |= {"mean": f"{sum(seconds) / len(seconds):.1f}", "longest": f"{max(seconds):.1f}"}
            line["cpu"] = f"{sum(record.cpu_seconds for record in records):.0f}"
            line["memory"] = f"{max(record.peak_memory_gib for record in records):.2f}"
            lines.append(line)
    return lines


def _versions(results: Results) -> dict[str, list[str]]:
    """All versions that the jobs used, by library."""
    found: dict[str, dict[str, None]] = {}
    for record in (each.record for each in results.jobs):
        for name, version in record.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: list(versions) for name, versions in found.items()}

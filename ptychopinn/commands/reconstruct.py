"""``reconstruct``: from the file of a detector to an image; every step decides and says one line."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ptychopinn.commands.refine import refine_scan
from ptychopinn.commands.report import write_report
from ptychopinn.commands.shared.live import Live
from ptychopinn.commands.shared.live_fit import FitShown
from ptychopinn.commands.shared.messages import deviance_record, report_notes, report_result, report_scan, scan_record
from ptychopinn.commands.shared.probes import lit_scan
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_reconstruction
from ptychopinn.commands.view import draw_view
from ptychopinn.config import Settings
from ptychopinn.engines.gauge import levelled
from ptychopinn.engines.judging.starts import compared
from ptychopinn.engines.judging.verdict import misplaced
from ptychopinn.engines.probe_search import Found
from ptychopinn.engines.progress import BY_ITSELF
from ptychopinn.errors import PtychoError
from ptychopinn.figures.probe import draw_probe
from ptychopinn.files.detector.masks import read_frame_list
from ptychopinn.files.output_folder import DROPPED, VIEW, check_apart, file_hash, write_json, write_provenance
from ptychopinn.files.reading import open_unlit
from ptychopinn.files.record import Record
from ptychopinn.files.replacing import holding
from ptychopinn.inference.infer import infer
from ptychopinn.model.execution import device_of
from ptychopinn.model.pretrained import NAME, pretrained
from ptychopinn.physics.probe import probe_power
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.beam import centre_of, mean_root, pattern_offset
from ptychopinn.scan.checks import check_scan
from ptychopinn.scan.detector import wording
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

OFF_CENTRE = 0.05
"""Share of the edge of a frame by which the light lies off before it is moved: a probe takes up what is less."""

EXPLAINED = 1.05
"""Deviance over that of noise up to which nothing is left to explain, and positions are not touched."""

SEARCH = 0.5
"""Share of the time left that a search for the probe may take."""

TERMS: Final = {
    "flux": "refine_flux",
    "smooth_background": "refine_background",
    "background": "free_background",
    "affine": "refine_affine",
}
"""Settings of the terms of a fit."""

MOST_FRAMES = 0.05
"""Share of the frames that may be left out: more of them are no exceptions."""

GAIN = 0.05
"""Share of the excess deviance that moved positions must take off to be kept."""


@dataclass(frozen=True)
class Course:
    """How far a reconstruction has come.

    Attributes:
        record: of the file.
        scan: as prepared so far.
        settings: effective settings; a step puts in what it decided.
        given: whether the probe is that of a file.
        end: when the time is over, of :func:`time.monotonic`; None without a limit.
        report: receives lines.
        found: result of the search for a probe.
        start: image to start from; None for vacuum.
        result: the image.
        decided: settings that were decided here and not by the user.
        live: page of the run.
        dropped: numbers of the frames in the file that are left out; None where the reader left out what there is.
    """

    record: Record
    scan: Scan
    settings: Settings
    given: bool
    end: float | None
    report: Report
    found: Found | None = None
    start: Reconstruction | None = None
    result: Reconstruction | None = None
    decided: dict[str, Any] = field(default_factory=dict)
    live: Live | None = None
    dropped: np.ndarray | None = None

    def deciding(self, **values: Any) -> "Course":
        """With settings that were decided."""
        return replace(self, settings=self.settings.changed(**values), decided={**self.decided, **values})

    @property
    def seconds_left(self) -> float | None:
        """Wall-clock seconds left; None without a limit."""
        return None if self.end is None else max(1e-3, self.end - time.monotonic())


Step = Callable[[Course], Course]


def reconstruct_folder(source: Path, request: Request) -> Reconstruction:
    """:func:`reconstruct_file`, and write all that was found.

    Args:
        source: scan file, with or without a probe.
        request: settings and folder.
    """
    out, said = request.out, list[str]()

    def report(line: str) -> None:
        said.append(line)
        live.report(line)

    live = Live(request, f"reconstruct {source.name}", along="epoch")
    check_apart([out], request.reads(source))
    with holding(out, "reconstruct", request.overwrite) as place, live.beside(place):
        sha256 = file_hash(source)
        course, result = reconstruct_file(source, replace(request, report=report), live)
        report_result(result, course.scan, report, judged=True)
        place.publish(lambda folder: _save(folder, source, sha256, request, course, said))
        live.link(("Report", "report.html"), ("Look closer", VIEW))
    return result


def reconstruct_file(source: Path, request: Request, live: Live | None = None) -> tuple[Course, Reconstruction]:
    """Reconstruct a scan file of which nothing but the geometry is known; write nothing.

    Args:
        source: scan file, with or without a probe.
        request: settings.
        live: page of the run.
    """
    limit = request.settings.refinement.refine_seconds
    end = None if limit is None else time.monotonic() + limit
    course = replace(_opened(source, request, end, request.report), live=live)
    for step in STEPS:
        if live is not None:
            live.know({"step": step.__name__})
        course = step(course)
    assert course.result is not None
    return course, course.result


def _opened(source: Path, request: Request, end: float | None, report: Report) -> Course:
    """Read the file; faults of the detector are masked."""
    settings = request.settings
    if request.sources["refine_probe"] == "default":
        settings = settings.changed(refine_probe=True)
    if request.sources["engine"] == "default":
        settings = settings.changed(engine="native")
    if request.sources["model"] == "default":
        settings = settings.changed(model="auto")
    if settings.baseline.engine != "native":
        raise PtychoError(f"engine: {settings.baseline.engine} given; reconstruct has one engine, use baseline.")
    course = Course(Record(""), None, settings, False, end, report)  # type: ignore[arg-type]
    if settings.data.mask is None:
        course = course.deciding(mask="auto")
    if request.sources["centre"] == "default":
        course = course.deciding(centre="auto")
    data = course.settings.data
    whole = {"centre": "keep", "crop": None}
    if data.semiangle is None:
        whole["defocus"] = None
    record, scan, given = open_unlit(source, data.model_copy(update=whole))
    report_notes(scan, report)
    check_scan(scan)
    given = given and settings.probe.probe_from is None
    return replace(course, record=record, scan=scan, given=given)


def centre(course: Course) -> Course:
    """Move the light to the middle of the frames, and crop them.

    With a probe its far field says where the beam belongs; without one the light itself does.
    """
    data, scan, half = course.settings.data, course.scan, course.scan.N // 2
    row, column = half, half
    if data.centre == "auto" and not course.given:
        offset = pattern_offset(mean_root(scan))
        far = bool((abs(offset) > OFF_CENTRE * scan.N).any())
        row, column = (half + (offset.round().astype(int) if far else np.zeros(2, int))).tolist()
        where = f"the light lies ({offset[0]:+.1f}, {offset[1]:+.1f}) px (y, x) from the middle of the frames"
        course.report(f"centre: {where}; {f'pixel {row},{column} is moved there' if far else 'they stay'}")
    elif data.centre != "keep":
        row, column = centre_of(scan, data.centre)
        course.report(f"centre: pixel {row},{column} of the detector")
    scan = scan.centred(row, column)
    scan = scan if data.crop is None else scan.crop(data.crop)
    return replace(course.deciding(centre=f"{row},{column}"), scan=scan)


def light(course: Course) -> Course:
    """Take the probe of the file, make one of optics, or search it."""
    device = device_of(course.settings)
    left = course.seconds_left
    end = math.inf if left is None else time.monotonic() + SEARCH * left
    lit = lit_scan(course.record, course.scan, course.settings, device, course.report, course.given, end)
    found = course if course.given else course.deciding(probe_from=lit.source, modes=len(lit.scan.probe))
    report_scan(replace(lit.scan, notes=()), course.report)
    return replace(found, scan=lit.scan, found=lit.found)


def start(course: Course) -> Course:
    """Start from the image of the package's network where that explains pixels held out better than vacuum does."""
    wanted, moving = course.settings.start.start_image, course.settings.baseline.refine_positions
    if wanted == "vacuum" or (wanted == "auto" and moving):  # positions are first looked for in single frames
        return course.deciding(start_image="vacuum")
    device = device_of(course.settings)
    try:
        image = infer(pretrained(), course.scan, course.settings.inference, device)
    except PtychoError as error:
        if wanted == "network":
            raise
        course.report(f"start: vacuum; no image of {NAME}: {error}")
        return course.deciding(start_image="vacuum")
    if wanted == "auto":
        refinement, seed = course.settings.refinement, course.settings.training.seed
        network, vacuum = compared(course.scan, image, refinement.subpixel, seed, device)
        wanted = "network" if network < vacuum else "vacuum"
        course.report(
            f"start: {NAME if wanted == 'network' else wanted}; after a short fit the deviance of pixels held out is "
            f"{network:.4g} from {NAME}, {vacuum:.4g} from vacuum"
        )
    return replace(course.deciding(start_image=wanted), start=image if wanted == "network" else None)


def fit(course: Course) -> Course:
    """Fit the image and the probe down to the noise, with the terms that pixels held out ask for."""
    result = _fitted(course, course.settings.changed(error_draws=0), course.start)
    found = replace(course, result=result)
    if course.settings.refinement.model != "auto":
        return found
    opr = 0 if result.opr_modes is None else len(result.opr_modes)
    return found.deciding(model="basic", opr=opr, **{flag: name in result.fitted for name, flag in TERMS.items()})


def frames(course: Course) -> Course:
    """Leave out frames that fit far worse than the others, and fit these again, until none does."""
    before, given, scan = course.result, course.settings.data.drop_frames, course.scan
    assert before is not None
    over = (course.seconds_left or math.inf) < before.seconds["native"] / 2
    bad = misplaced(before)
    gone = course.dropped
    if gone is None:
        gone = np.empty(0, np.int64) if given in (None, "auto", "none") else read_frame_list(given, None)
    if not len(bad) or given in ("auto", "none") or over or len(bad) + len(gone) > MOST_FRAMES * len(scan):
        return course
    course.report(
        f"left out: {wording.frames(scan.numbers[bad])}, worse by far than all around; the others are fitted again "
        "(--drop-frames none: keep all)"
    )
    others, dropped = scan.subset(np.setdiff1d(np.arange(len(scan)), bad)), np.union1d(gone, scan.numbers[bad])
    without = replace(course, scan=others, dropped=dropped).deciding(drop_frames=DROPPED)
    if "model" in course.decided:
        without = replace(without, settings=without.settings.changed(model="auto"))
    return frames(fit(without))


def positions(course: Course) -> Course:
    """Fit the positions too where much is left to explain; keep them when that explains some of it."""
    before, settings = course.result, course.settings
    assert before is not None
    over = course.seconds_left is not None and course.seconds_left < before.seconds.get("native", 0.0) / 2
    if settings.baseline.refine_positions or over or before.deviance < EXPLAINED * before.expected_deviance:
        return course
    moving = settings.changed(refine_positions=True, error_draws=0)
    after = _fitted(_at(course, before), moving, before)
    gain = (before.deviance - after.deviance) / (before.deviance - before.expected_deviance)
    kept = gain > GAIN
    course.report(f"positions: fitting them takes off {gain:.0%} of the excess deviance; {'kept' if kept else 'left'}")
    return replace(course.deciding(refine_positions=True), result=after) if kept else course


def finish(course: Course) -> Course:
    """Level the phase of the image where the probe is free, and add error bars."""
    from ptychopinn.commands.refine import with_error_bars

    assert course.result is not None
    result = course.result
    if not course.given:
        result, slope = levelled(result)
        course.report(f"phase ramp of ({slope[0]:+.3f}, {slope[1]:+.3f}) rad per pixel (y, x) moved to the probe")
    return replace(course, result=with_error_bars(result, course.scan, course.settings, device_of(course.settings)))


STEPS: Final[tuple[Step, ...]] = (centre, light, start, fit, frames, positions, finish)
"""In their order. A step takes what was found so far, decides, says one line."""


def _fitted(course: Course, settings: Settings, start: Reconstruction | None) -> Reconstruction:
    settings = settings.changed(refine_seconds=course.seconds_left)
    shown = BY_ITSELF if course.live is None else BY_ITSELF._replace(keep=FitShown(course.live, course.scan))
    return refine_scan(course.scan, settings, device_of(settings), start, course.report, shown)


def _at(course: Course, result: Reconstruction) -> Course:
    """The scan with the probe and the positions of a result."""
    probe = course.scan.probe if result.probe is None else result.probe
    return replace(course, scan=replace(course.scan, probe=probe, positions=result.positions))


def _save(out: Path, source: Path, sha256: str, request: Request, course: Course, said: list[str]) -> None:
    """Files, pictures and the report."""
    result, scan, settings = course.result, course.scan, course.settings
    assert result is not None
    names = (settings.data, settings.probe, settings.start, settings.baseline, settings.refinement)
    _, origins = request.used(*names, names=("seed",))
    flat = settings.flat()
    used = {name: flat[name] for name in origins} | {"refine_seconds": request.settings.refinement.refine_seconds}
    origins |= {name: "found" for name in course.decided}
    if course.dropped is not None:
        used["drop_frames"] = str(request.out / DROPPED)
        (out / DROPPED).write_text("\n".join(map(str, course.dropped)) + "\n")
    found: dict[str, Any] = {"seconds": result.seconds, **deviance_record(result), **scan_record(scan)}
    if course.found is not None:
        found["probe_search"] = {
            "start": course.found.name,
            "trials": [[name, value] for name, value in course.found.trials],
            "rival": course.found.rival,
        }
    if result.probe is not None:
        power = probe_power(torch.from_numpy(result.probe)).double()
        found["power_of_modes"] = (power / power.sum()).tolist()
    write_json(out / "settings.json", used)
    inputs = {"scan": str(source), "sha256": sha256, "settings": used, "sources": origins}
    write_provenance(out, "reconstruct", {**inputs, **found})
    save_reconstruction(out, result, scan)
    draw_probe(out / "probe.png", scan.probe if result.probe is None else result.probe)
    draw_view(out / VIEW, {source.name: result}, scan, source.name)
    write_report(out / "report.html", result, scan, source.name, said, course.found, VIEW)

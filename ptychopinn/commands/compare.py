"""``compare``: make or load all images of one scan, compare them, write tables and figures."""

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.commands.shared.arms import REFINED, ArmFile
from ptychopinn.commands.shared.messages import deviance_record, report_notes, scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import check_pixels
from ptychopinn.commands.view import draw_view
from ptychopinn.config import Settings
from ptychopinn.engines import native
from ptychopinn.engines.error_bars import noise_bound
from ptychopinn.engines.projections import Estimate
from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.comparison import Arm, Comparison, compare, flat
from ptychopinn.evaluation.frc import half_bit
from ptychopinn.figures.comparison import draw_comparison
from ptychopinn.files.atomic import writing
from ptychopinn.files.formats.npz import read_object_and_probe
from ptychopinn.files.output_folder import (
    PROVENANCE,
    VIEW,
    check_apart,
    file_hash,
    hashes,
    read_provenance,
    write_json,
    write_provenance,
    write_table,
)
from ptychopinn.files.reading import files_of, open_scan
from ptychopinn.files.reconstruction import read_reconstruction, reconstruction_file
from ptychopinn.files.replacing import holding
from ptychopinn.inference.infer import infer
from ptychopinn.model import bundle
from ptychopinn.model.bundle import Run, reading_of, with_trained_probe
from ptychopinn.model.execution import device_of
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

T = TypeVar("T")

SAME_PLACE = 10.0
"""Largest position update of a refinement, in pixels along an axis."""

TABLE = (
    ("phase MAE (rad)", "phase_mae"),
    ("amplitude MAE", "amplitude_mae"),
    ("complex error", "complex_error"),
    ("phase MS-SSIM", "phase_ms_ssim"),
    ("scales", "ms_ssim_k"),
    ("phase SSIM, all covered", "covered_phase_ssim"),
    ("FRC50 (1/px)", "frc50"),
    ("efficiency", "efficiency"),
    ("deviance", "deviance_per_pixel"),
    ("seconds", "seconds_total"),
)
"""Columns of the printed table: title and key."""


@dataclass(frozen=True)
class Wanted:
    """What to compare and how.

    Attributes:
        runs: trained networks.
        images: reconstruction files.
        refine: add the image of every network that learned from counts after refinement on the counts.
        truth: file that holds the object, if the scan does not.
        trusts_object: take the scan's own object for the truth.
        alignment: further arguments of :func:`ptychopinn.evaluation.comparison.compare`.
        save_npz: write the images too.
    """

    runs: Sequence[ArmFile]
    images: Sequence[ArmFile]
    refine: bool = False
    truth: Path | None = None
    trusts_object: bool = True
    alignment: Mapping[str, Any] = field(default_factory=dict)
    save_npz: bool = True


def compare_folder(source: Path | None, wanted: Wanted, request: Request) -> str:
    """Compare reconstructions and write ``comparison_metrics.csv`` and ``.json``, curves, images and a picture.

    Args:
        source: scan file; None when two files are compared without one.
        wanted: what to compare.
        request: its settings win over how the networks' scans were read.

    Returns:
        A table of the scores.
    """
    out = request.out
    paths = (each.path for each in (*wanted.runs, *wanted.images))
    check_apart([out], request.reads(source, wanted.truth, *paths))
    with holding(out, "compare", request.overwrite) as place:
        settings, scan, arms, result, bound = _compared(source, wanted, request)
        rows = [_row(arm, result, bound) for arm in arms]
        frames = None if scan is None else scan.numbers.tolist()
        used = settings.flat() | {"refine": wanted.refine}
        record = {**_inputs(source, wanted, settings), "settings": used, "frames": frames}
        size = next((arm.result.pixel_size_m for arm in arms if arm.result.pixel_size_m), None)

        def write(folder: Path) -> None:
            write_provenance(folder, "compare", record | ({} if scan is None else scan_record(scan)))
            _write(folder, rows, result, wanted.save_npz)
            draw_comparison(folder / "comparison.png", result, size)
            draw_view(folder / VIEW, {arm.name: arm.result for arm in arms}, scan, "Comparison")

        place.publish(write)
    return _table(rows, result)


def _inputs(source: Path | None, wanted: Wanted, settings: Settings) -> dict[str, Any]:
    """What was compared, for the provenance: path of every input by name, kind and file of every arm, SHA-256."""
    given = {each.name: each.path for each in (*wanted.runs, *wanted.images)}
    given |= {name: path for name, path in (("scan", source), ("truth", wanted.truth)) if path is not None}
    files = {each.name: bundle.bundle_file(each.path) for each in wanted.runs}
    files |= {each.name: reconstruction_file(each.path) for each in wanted.images}
    arms = [
        {"name": each.name, "kind": each.kind, "path": str(each.path), "sha256": file_hash(files[each.name])}
        for each in (*wanted.runs, *wanted.images)
    ]
    others = [path for path in (source, wanted.truth) if path is not None and path.is_file()]
    return {
        "inputs": {name: str(path) for name, path in given.items()},
        "arms": arms,
        "inputs_sha256": hashes((*others, *files_of(settings.data))),
    }


def _compared(
    source: Path | None, wanted: Wanted, request: Request
) -> tuple[Settings, Scan | None, list[Arm], Comparison, float | None]:
    """Settings, scan, images, their comparison, and the noise bound."""
    loaded = {each.name: _measured(partial(_run_of, each)) for each in wanted.runs}
    runs = {name: run for name, (run, _, _) in loaded.items()}
    settings, report = request.over(_shared_reading(runs, request)).settings, request.report
    scan = None if source is None else open_scan(source, settings.data)
    _check_crop(settings, scan)
    if scan is not None:
        report_notes(scan, report)
    truth = _truth(wanted, scan)
    if truth is not None and wanted.truth is None:
        report(f"objectGuess of {source} is taken for the truth; --no-truth if it is an earlier reconstruction.")
    arms = []
    if scan is not None:
        for name, (run, seconds, _) in loaded.items():
            arms.append(_predict(name, run, seconds, scan, settings, truth is None, report))
            if wanted.refine and run.settings.model.model_type == "pinn":
                arms.append(_refine(arms[-1], run, scan, settings, report))
    arms += [_load(each.name, each.path, scan, report) for each in wanted.images]
    _check_pixels(arms)
    result = compare(arms, truth, None if scan is None else scan.scan_box, **wanted.alignment)
    return settings, scan, arms, result, None if scan is None or truth is None else _bound(scan, truth, result)


def _run_of(arm: ArmFile) -> Run:
    """The run of an arm; refuses one that learned from something else than its flag says."""
    run = bundle.load_run(arm.path)
    kind = run.settings.model.model_type
    if kind != arm.kind:
        raise PtychoError(f"--{arm.kind} {arm.path}: was trained with model_type {kind}; give it by --{kind}.")
    return run


def _check_crop(settings: Settings, scan: Scan | None) -> None:
    """Refuse to stitch more pixels than a patch has."""
    size = settings.inference.middle_trim
    if size is not None and scan is not None and size > scan.N:
        raise PtychoError(
            f"--stitch-crop-size (middle_trim): {size} given; at most {scan.N}, the edge of a patch, is possible."
        )


def _check_pixels(arms: Sequence[Arm]) -> None:
    """Refuse images with different known pixel sizes."""
    known = [(arm.name, arm.result.pixel_size_m) for arm in arms if arm.result.pixel_size_m]
    for name, size in known[1:]:
        check_pixels(size, known[0][1], name, known[0][0])


def _shared_reading(runs: Mapping[str, Run], request: Request) -> dict[str, Any]:
    """How the runs read their scans; where no flag decides, they must agree."""
    readings = {name: reading_of(run) for name, run in runs.items()}
    first = next(iter(readings.items()), ("", {}))
    for name, reading in readings.items():
        for key in reading.keys() | first[1].keys():
            if request.sources[key] != "flag" and reading.get(key) != first[1].get(key):
                raise PtychoError(
                    f"{key}: {name} was trained with {reading.get(key)!r}, {first[0]} with {first[1].get(key)!r}; "
                    f"give --set {key}=VALUE to say which holds for both."
                )
    return first[1]


def _truth(wanted: Wanted, scan: Scan | None) -> Reconstruction | None:
    """The true object as a reconstruction with full coverage; None if unknown."""
    image, origin = scan.object if scan is not None and wanted.trusts_object else None, (0, 0)
    path = wanted.truth
    if path is not None:
        found: dict[str, Any] = read_object_and_probe(path) if path.suffix == ".npz" else {}
        if found and "object" not in found:
            raise PtychoError(f"{path}: holds no objectGuess; a file with the true object is needed.")
        if not found:
            other = read_reconstruction(path)
            found, origin = {"object": other.object}, other.origin
        image = found["object"].astype(np.complex64)
    if image is None:
        return None
    return Reconstruction(image, origin, np.ones(image.shape, np.float32), np.empty((0, 2)))


def _predict(name: str, run: Run, load: float, scan: Scan, settings: Settings, halves: bool, report: Report) -> Arm:
    """Infer the image of a run that took ``load`` seconds to read; with ``halves`` also of the even and odd frames."""
    image = partial(infer, run, chosen=settings.inference, device=device_of(settings))
    result, seconds, peak = _measured(partial(image, scan))
    times = {
        "load": load,
        "infer": result.seconds["network"],
        # A network that sees the whole canvas has nothing to stitch.
        "stitch": sum(spent for step, spent in result.seconds.items() if step != "network"),
        "total": load + seconds,
    }
    report(f"{name}: {len(scan)} frames in {seconds:.1f} s, deviance per pixel {result.deviance:.3g}")
    even, odd = _halves(scan)
    return Arm(name, result, (image(even), image(odd)) if halves else None, times, peak)


def _refine(arm: Arm, run: Run, scan: Scan, settings: Settings, report: Report) -> Arm:
    """Refine an arm on the counts; its seconds include those of the refinement."""
    seed, device = settings.training.seed, device_of(settings)
    scan = with_trained_probe(run, scan)

    def image(part: Scan, start: Reconstruction) -> Reconstruction:
        return native.reconstruct(part, settings.baseline, settings.refinement, seed, device, start)

    result, seconds, peak = _measured(lambda: image(scan, arm.result))
    report(f"{arm.name} refined: {seconds:.1f} s more, deviance per pixel {result.deviance:.3g}")
    halves = None
    if arm.halves is not None:
        even, odd = _halves(scan)
        halves = (image(even, arm.halves[0]), image(odd, arm.halves[1]))
    times = {**arm.seconds, "refine": seconds, "total": arm.seconds["total"] + seconds}
    return Arm(f"{arm.name}{REFINED}", result, halves, times, peak)


def _halves(scan: Scan) -> tuple[Scan, Scan]:
    """The even and the odd frames."""
    return scan.subset(slice(0, None, 2)), scan.subset(slice(1, None, 2))


def _bound(scan: Scan, truth: Reconstruction, result: Comparison) -> float:
    """Smallest squared error that photon noise allows an unbiased image of the scan, summed where arms are scored."""
    image = reframe(truth.object, truth.origin, scan.canvas_origin, scan.canvas_shape)
    mask = reframe(result.mask.astype(np.complex64), result.origin, scan.canvas_origin, scan.canvas_shape).real > 0
    known = Estimate.of(scan, image=torch.from_numpy(np.where(image == 0, np.complex64(1), image)))
    return noise_bound(scan, known, "fourier", mask)


def _load(name: str, path: Path, scan: Scan | None, report: Report) -> Arm:
    """Load an image, the seconds in its provenance, and its deviance on the frames of the other arms."""
    result, seconds, peak = _measured(lambda: read_reconstruction(path))
    if scan is not None:
        if len(result.positions) != len(scan):
            report(f"{name}: was made of {len(result.positions)} frames, the others of {len(scan)}.")
        check_pixels(result.pixel_size_m, scan.pixel_size_m, str(path), "the scan")
        probe = scan.probe if result.probe is None else result.probe
        result = result.with_deviance(replace(scan, positions=_own_positions(result, scan), probe=probe))
    folder = path if path.is_dir() else path.parent
    made = read_provenance(folder).get("seconds", {}) if (folder / PROVENANCE).is_file() else {}
    spent = sum(float(value) for value in made.values())
    return Arm(name, result, None, {"load": seconds, "infer": spent, "total": seconds + spent}, peak)


def _own_positions(result: Reconstruction, scan: Scan) -> NDArray[np.float64]:
    """Refined positions of the scan's frames in a reconstruction; the measured ones if it lacks a frame."""
    numbers = result.frame_numbers
    if numbers is None:  # an older file: as many frames at about the same places are the same
        near = len(result.positions) == len(scan) and (abs(result.positions - scan.positions) < SAME_PLACE).all()
        return result.positions if near else scan.positions
    rows = {int(number): row for row, number in enumerate(numbers)}
    found = [rows.get(int(number)) for number in scan.numbers]
    if None in found:
        return scan.positions
    return result.positions[np.array(found)]


def _measured(make: Callable[[], T]) -> tuple[T, float, int]:
    """A result, the seconds it took, and the peak resident memory in bytes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: starts the peak anew
    start = time.perf_counter()
    result = make()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return result, seconds, peak


def _row(arm: Arm, result: Comparison, bound: float | None) -> dict[str, Any]:
    """Table row of an arm; None for unknown values."""
    row: dict[str, Any] = {"arm": arm.name}
    if arm.name in result.scores:
        row |= flat(result.scores[arm.name])
    if bound is not None:
        image, truth = (result.aligned[name][result.mask].astype(np.complex128) for name in (arm.name, "truth"))
        squared = float(np.square(abs(image - truth)).sum())
        row |= {"squared_error": squared, "noise_bound": bound, "efficiency": bound / squared if squared else None}
    removed = result.removed.get(arm.name)
    if removed is not None:
        row |= {"removed_shift_y": removed.shift[0], "removed_shift_x": removed.shift[1]}
        row |= {"removed_phase": removed.phase, "removed_scale": removed.scale}
        row |= {"removed_ramp_y": removed.ramp[0], "removed_ramp_x": removed.ramp[1]}
    row |= deviance_record(arm.result)
    row |= {f"seconds_{name}": value for name, value in arm.seconds.items()}
    row["peak_memory_gib"] = None if arm.peak_bytes is None else arm.peak_bytes / 2**30
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _write(out: Path, rows: list[dict[str, Any]], result: Comparison, save_npz: bool) -> None:
    write_table(out / "comparison_metrics.csv", rows)
    pairs = [{"pair": list(pair), **flat(values)} for pair, values in result.agreement.items()]
    summary = {"reference": result.reference, "origin": result.origin, "pixels": int(result.mask.sum())}
    write_json(out / "comparison_metrics.json", {**summary, "arms": rows, "agreement": pairs})
    curves = [
        {"curve": label, "cycles_per_px": q, "correlation": value, "half_bit": threshold}
        for label, curve in result.curves.items()
        for q, value, threshold in zip(curve.frequencies, curve.correlation, half_bit(curve), strict=True)
    ]
    write_table(out / "frc_curves.csv", curves or [{"curve": "", "cycles_per_px": "", "correlation": ""}])
    if save_npz:
        for name, images in (("reconstructions", result.images), ("reconstructions_aligned", result.aligned)):
            with writing(out / f"{name}.npz") as temporary, temporary.open("wb") as stream:
                arrays = {key: np.asarray(image, np.complex64) for key, image in images.items()}
                np.savez_compressed(stream, **arrays, mask=result.mask, origin=np.array(result.origin))  # type: ignore[arg-type]


def _table(rows: list[dict[str, Any]], result: Comparison) -> str:
    """Scores as a Markdown table; without a truth, agreement of pairs below it."""
    columns = [(title, key) for title, key in TABLE if any(row.get(key) is not None for row in rows)]
    lines = ["| arm | " + " | ".join(title for title, _ in columns) + " |", "|---|" + "---|" * len(columns)]
    for row in rows:
        cells = ["" if row.get(key) is None else f"{row[key]:.4g}" for _, key in columns]
        lines.append(f"| {row['arm']} | " + " | ".join(cells) + " |")
    if not result.scores:
        for (a, b), values in result.agreement.items():
            lines.append(f"{a} and {b}: complex error {values.complex_error:.3g}, phase {values.phase.mae:.3g} rad")
    return "\n".join(lines)

"""Files and figures of a reconstruction."""

import math
from pathlib import Path

import numpy as np
import torch

from ptychopinn.errors import WARNING, PtychoError, RunFailedError
from ptychopinn.figures.frames import draw_frames
from ptychopinn.figures.patterns import draw_patterns
from ptychopinn.figures.reconstruction import draw_reconstruction
from ptychopinn.files.output_folder import PROVENANCE, write_columns
from ptychopinn.files.reconstruction import write_reconstruction
from ptychopinn.physics.conditions import expected_counts
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report, readable_length

PATTERNS_SHOWN = 3
SAME_PIXEL = 1e-3
"""Relative difference up to which two pixel sizes are one, rounded on their way through files."""


def check_pixels(size: float | None, other: float | None, name: str, other_name: str) -> None:
    """Refuse an image whose pixel size differs from that of a scan or another image, where both are known.

    Args:
        size: edge of its pixels, m.
        other: of those of the other.
        name: the image, as the user gave it.
        other_name: with what it does not go together.
    """
    if size and other and not math.isclose(size, other, rel_tol=SAME_PIXEL):
        raise PtychoError(
            f"{name}: its pixels are {readable_length(size)} wide and those of {other_name} {readable_length(other)}; "
            "equal pixels are needed (was one made with another --crop?)."
        )


def save_reconstruction(
    out: Path, result: Reconstruction, scan: Scan, truth: bool = False, report: Report = lambda line: None
) -> None:
    """Write ``reconstruction.h5``, ``.npz`` and the pictures; with the scan's object beside it when ``truth``."""
    save_frames(out, result, scan)
    save_image(out, result, scan, truth, report)


def save_image(
    out: Path, result: Reconstruction, scan: Scan, truth: bool = False, report: Report = lambda line: None
) -> None:
    """:func:`save_reconstruction` but for how the image explains every frame.

    ``patterns.png`` needs frames: where they can no longer be read, ``report`` says so, and the rest is written.
    """
    _save_image(out, result, scan, truth)
    try:
        save_patterns(out, result, scan)
    except RunFailedError:
        raise
    except PtychoError as error:
        report(f"{WARNING}No patterns.png: {error}")


def _save_image(out: Path, result: Reconstruction, scan: Scan, truth: bool) -> None:
    provenance = out / PROVENANCE
    write_reconstruction(out, result, scan.probe, provenance.read_text() if provenance.is_file() else None)
    beside = scan.on_canvas(scan.object, outside=np.nan) if truth and scan.object is not None else None
    bars = None
    if result.amplitude_std is not None and result.phase_std is not None:
        bars = (result.amplitude_std, result.phase_std)
    draw_reconstruction(
        out / "reconstruction.png",
        result.object,
        result.coverage,
        pixel_size_m=result.pixel_size_m,
        truth=beside,
        bars=bars,
        bars_are="spread of patches" if result.std_of == "patches" else "error bar",
    )


def save_frames(out: Path, result: Reconstruction, scan: Scan) -> None:
    """Write ``frames.csv`` and ``frames.png``: how the image explains every frame; nothing where that is not known."""
    if result.frame_deviance is None or result.expected_frame_deviance is None or result.frame_photons is None:
        return
    ratio = result.frame_deviance / np.maximum(result.expected_frame_deviance, 1e-12)
    measured, predicted = result.frame_photons
    columns = {
        "frame": scan.numbers,
        "y": result.positions[:, 0],
        "x": result.positions[:, 1],
        "deviance": result.frame_deviance,
        "expected_deviance": result.expected_frame_deviance,
        "photons": measured,
        "predicted_photons": predicted,
    }
    write_columns(out / "frames.csv", columns)
    draw_frames(out / "frames.png", scan.numbers, result.positions, ratio, measured, predicted)


def save_patterns(out: Path, result: Reconstruction, scan: Scan) -> None:
    """Write ``patterns.png``: some measured frames beside those predicted from the image."""
    shown = np.linspace(0, len(scan) - 1, PATTERNS_SHOWN).round().astype(np.int64)
    places = torch.from_numpy(result.positions[shown] - np.array(result.origin))
    probe = scan.probe if result.probe is None else result.probe
    image, conditions = torch.from_numpy(result.object), result.conditions.of(torch.from_numpy(shown))
    predicted = expected_counts(image, torch.from_numpy(probe), places, result.subpixel, conditions).numpy()
    measured = scan.frames(shown).numpy()
    if scan.good_pixels is not None:
        measured[:, ~scan.good_pixels] = np.nan
    draw_patterns(out / "patterns.png", measured, predicted)

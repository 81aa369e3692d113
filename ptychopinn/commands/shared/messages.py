"""Lines about a scan or an image, and the deviance that files record."""

from typing import Any

import numpy as np

from ptychopinn.errors import WARNING
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import dark_frames, doubts, flux_changes, warned_of
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

BAD_DEVIANCE = 5.0
"""Warn when deviance / expected deviance exceeds this."""

OTHERWISE = "probe, positions or sub-pixel model may be wrong, or it was made with too few steps"


def report_notes(scan: Scan, report: Report) -> None:
    """Report what the reader of a scan assumed or changed."""
    for note in scan.notes:
        report(note)


def scan_record(scan: Scan) -> dict[str, Any]:
    """What the reader assumed or changed, by its names in ``provenance.json``."""
    return {"notes": list(scan.notes), "probe_factor": scan.probe_factor}


def report_scan(scan: Scan, report: Report, passes: bool = True) -> None:
    """Report what the reader of a scan assumed, and warn of what looks wrong in it.

    Args:
        scan: as it was read.
        report: receives the lines.
        passes: whether the work begins with a pass over all frames; then dark frames are counted here.
    """
    report_notes(scan, report)
    dark = dark_frames(scan.dark, len(scan)) if passes and scan.photons > 0 else []
    drift = flux_changes(scan, scan.totals) if passes and scan.photons > 0 else []
    for doubt in (*dark, *drift, *doubts(scan)):
        report(f"{WARNING}{doubt}")


def deviance_record(result: Reconstruction) -> dict[str, float]:
    """Deviances of an image by their names in files."""
    return {"deviance_per_pixel": result.deviance, "expected_deviance_per_pixel": result.expected_deviance}


def deviance_in_words(result: Reconstruction) -> str:
    """``deviance per pixel 0.31 (noise alone 0.32)``."""
    if np.isnan(result.deviance):
        return "deviance per pixel unknown"
    few = "" if result.deviance_frames is None else f" in {result.deviance_frames} of the frames"
    return f"deviance per pixel {result.deviance:.3g}{few} (noise alone {result.expected_deviance:.3g})"


def report_result(result: Reconstruction, scan: Scan, report: Report, judged: bool = False) -> None:
    """Report seconds and deviance of an image; warn where it explains the counts badly, unless an engine has judged."""
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    report(f"{len(scan)} frames in {sum(result.seconds.values()):.1f} s ({parts}); {deviance_in_words(result)}")
    if not judged and result.deviance > BAD_DEVIANCE * result.expected_deviance:
        report(
            f"{WARNING}{deviance_in_words(result)}: this image explains the counts badly; "
            f"{'; '.join(scan.doubted) or warned_of(scan) or OTHERWISE}."
        )

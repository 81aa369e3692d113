"""What commands say of a scan and of an image, and what files say of its deviance."""

import numpy as np

from ptychopinn.errors import WARNING
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import dark_frames, doubts
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

BAD_DEVIANCE = 5.0
"""Times the deviance of noise alone from which on an image explains the counts badly."""


def report_scan(scan: Scan, report: Report, passes: bool = True) -> None:
    """Say what the reader of a scan assumed, and what looks wrong in it.

    Args:
        scan: to speak about.
        report: receives the lines.
        passes: whether the frames are passed over anyhow before the work begins: then dark ones are counted.
    """
    for note in scan.notes:
        report(note)
    dark = dark_frames(scan.dark, len(scan)) if passes and scan.photons > 0 else []
    for doubt in (*dark, *doubts(scan)):
        report(f"{WARNING}{doubt}")


def deviance_record(result: Reconstruction) -> dict[str, float]:
    """What files say of an image's deviance."""
    return {"deviance_per_pixel": result.deviance, "expected_deviance_per_pixel": result.expected_deviance}


def deviance_in_words(result: Reconstruction) -> str:
    """``deviance per pixel 0.31 (noise alone 0.32)``."""
    if np.isnan(result.deviance):
        return "deviance per pixel unknown"
    few = "" if result.deviance_frames is None else f" in {result.deviance_frames} of the frames"
    return f"deviance per pixel {result.deviance:.3g}{few} (noise alone {result.expected_deviance:.3g})"


def report_result(result: Reconstruction, scan: Scan, report: Report) -> None:
    """Say what an image took and how well it explains the counts; warn where it hardly does."""
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    report(f"{len(scan)} frames in {sum(result.seconds.values()):.1f} s ({parts}); {deviance_in_words(result)}")
    if result.deviance > BAD_DEVIANCE * result.expected_deviance:
        report(
            f"{WARNING}{deviance_in_words(result)}: this image explains the counts badly; probe, positions or "
            "sub-pixel model may be wrong, or it was made with too few steps."
        )

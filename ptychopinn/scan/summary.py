"""What a scientist checks first about a scan: light, probe, positions, overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import shortened
from ptychopinn.scan.checks import dark_frames, doubts, flux_changes
from ptychopinn.scan.probe import light
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable, readable_length

Row = tuple[str, str]


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """Numbers of one pass over the frames, bad pixels counted as 0.

    Attributes:
        mean: (N, N) photons, the mean diffraction pattern.
        totals: (n,) photons of each frame.
        brightest: photons in the brightest pixel of all frames.
        brightest_frame: number of the frame that holds it, from 0.
    """

    mean: NDArray[np.float64]
    totals: NDArray[np.float64]
    brightest: float
    brightest_frame: int


def frame_statistics(scan: Scan) -> FrameStatistics:
    """Read all frames once, block by block."""
    total = np.zeros(scan.counts.shape[1:])
    totals, peaks = np.empty(len(scan)), np.empty(len(scan))
    for rows in scan.blocks():
        frames = scan.array(rows)
        total += frames.sum(axis=0, dtype=np.float64)
        totals[rows] = frames.sum(axis=(1, 2), dtype=np.float64)
        peaks[rows] = frames.max(axis=(1, 2))
    return FrameStatistics(total / len(scan), totals, float(peaks.max()), int(scan.numbers[peaks.argmax()]))


def summarise(scan: Scan) -> list[Row]:
    """Rows (label, value) of text about a scan, in reading order."""
    statistics = frame_statistics(scan)
    dark = dark_frames(scan.numbers[statistics.totals == 0], len(scan))
    warnings = (*dark, *flux_changes(scan, statistics.totals), *doubts(scan))
    return [
        *_frame_rows(scan, statistics),
        *([] if scan.health is None else [("detector", scan.health.summary)]),
        *_probe_rows(scan, float(statistics.totals.mean())),
        *_position_rows(scan),
        ("object", _object(scan)),
        ("pixel size", "not given" if scan.pixel_size_m is None else readable_length(scan.pixel_size_m)),
        *(("note", note) for note in scan.notes),
        *(("warning", doubt) for doubt in warnings),
    ]


def _frame_rows(scan: Scan, statistics: FrameStatistics) -> list[Row]:
    totals = statistics.totals
    spread = f"{readable(totals.mean())} mean, {readable(totals.min())} to {readable(totals.max())}"
    dark = int((totals == 0).sum())
    return [
        ("frames", f"{len(scan)} of {scan.N} x {scan.N} pixels, {scan.counts.dtype}"),
        ("photons per frame", spread + (f"; {dark} frames without a photon" if dark else "")),
        ("brightest pixel", f"{_photons(statistics.brightest)} photons, in frame {statistics.brightest_frame}"),
        ("bad pixels", _bad_pixels(scan)),
    ]


def _photons(value: float) -> str:
    """Whole numbers in full, others rounded."""
    return f"{value:.0f}" if value == round(value) else readable(value)


def _bad_pixels(scan: Scan) -> str:
    if scan.good_pixels is None:
        return "no mask given"
    bad = int((~scan.good_pixels).sum())
    return f"{bad} of {scan.good_pixels.size} ({readable(100 * bad / scan.good_pixels.size, 2)} %)" if bad else "none"


def _probe_rows(scan: Scan, photons: float) -> list[Row]:
    power = light.power(scan.probe).astype(np.float64)
    shares = shortened(", ".join(f"{100 * share:.1f} %" for share in (power / power.sum()).tolist()))
    total = float(power.sum())
    ratio = f", {readable(total / photons)} times the mean frame" if photons > 0 else ""
    part = 100 * scan.probe_diameter / scan.N
    diameter = f"{_pixels(scan.probe_diameter, scan)} at 10 % of the peak, {part:.0f} % of the frame's edge"
    return [
        ("probe modes", f"{len(scan.probe)}, with {shares} of the power"),
        ("probe photons", readable(total) + ratio),
        ("probe diameter", diameter),
        ("probe FWHM", _pixels(light.width(scan.probe), scan)),
    ]


def _position_rows(scan: Scan) -> list[Row]:
    low, high = scan.positions.min(axis=0).tolist(), scan.positions.max(axis=0).tolist()
    rows = [
        (f"positions {name}", f"{first:.1f} to {last:.1f} px, {_pixels(last - first, scan)} wide")
        for name, first, last in zip("yx", low, high, strict=True)
    ]
    places = np.unique(scan.positions, axis=0)
    if len(places) < 2:
        return [*rows, ("step", "none: all frames are at one position")]
    nearest, _ = cKDTree(places).query(places, k=[2])
    step, repeats = float(np.median(nearest)), len(scan) - len(places)
    lit = cKDTree(scan.positions).query_ball_point(scan.positions, scan.probe_diameter / 2, return_length=True)
    return [
        *rows,
        ("step", f"{_pixels(step, scan)} to the nearest neighbour" + (f"; {repeats} repeats" if repeats else "")),
        ("linear overlap", _overlap(step, scan.probe_diameter, light.width(scan.probe))),
        ("frames per probe area", readable(float(np.median(lit)), 2)),
    ]


def _overlap(step: float, diameter: float, fwhm: float) -> str:
    """Linear overlap ``1 - step / diameter``, also with the full width at half maximum."""
    if step >= diameter:
        return "none: the step exceeds the probe diameter"
    return f"{100 * (1 - step / diameter):.0f} % of the diameter, {100 * max(0.0, 1 - step / fwhm):.0f} % of the FWHM"


def _pixels(length: float, scan: Scan) -> str:
    """A length in object pixels, and in metres when the pixel size is known."""
    metres = "" if scan.pixel_size_m is None else f" ({readable_length(length * scan.pixel_size_m)})"
    return f"{readable(length)} px{metres}"


def _object(scan: Scan) -> str:
    if scan.object is None:
        return "not given"
    shape = f"given, {scan.object.shape[0]} x {scan.object.shape[1]} pixels"
    low, high = scan.positions.min(axis=0) - scan.N / 2, scan.positions.max(axis=0) + scan.N / 2
    if (low < -1).any() or (high > np.array(scan.object.shape) + 1).any():
        return f"{shape}; patches reach from ({low[0]:.0f}, {low[1]:.0f}) to ({high[0]:.0f}, {high[1]:.0f}), beyond it"
    return shape

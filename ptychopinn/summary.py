"""What a scientist checks first about a scan: light, probe, positions, overlap."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import PtychoError
from ptychopinn.frames import light_in_corners
from ptychopinn.physics.patches import place_patches
from ptychopinn.physics.probe import probe_intensity, probe_power, probe_width
from ptychopinn.scan import NO_LIGHT, Scan

MAX_CANVAS = 50_000_000
"""Pixels of the largest coverage map; positions in a wrong unit ask for more."""

LIKELY_FACTOR = 4.0
"""Between the photons of a probe and of its mean frame; more light than this no usual object takes away."""

LOOKED_AT = 64
"""Frames, spread over the scan, that tell a wrong scan from a right one."""

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
        frames = scan.frames(rows).double()
        total += frames.sum(dim=0).numpy()
        totals[rows] = frames.sum(dim=(1, 2)).numpy()
        peaks[rows] = frames.amax(dim=(1, 2)).numpy()
    return FrameStatistics(total / len(scan), totals, float(peaks.max()), int(peaks.argmax()))


def coverage_map(scan: Scan) -> tuple[NDArray[np.float64], int, int] | None:
    """Photons that the whole scan puts on each object pixel.

    Points are placed bilinearly and convolved with the probe intensity: the same as placing every probe.

    Returns:
        The map (H, W), and the object row and column of its first pixel; None where the map would be huge.
    """
    from scipy.signal import fftconvolve  # it takes a second to import

    half = scan.N // 2
    low = np.floor(scan.positions.min(axis=0)).astype(int) - half
    height, width = (np.floor(scan.positions.max(axis=0)).astype(int) + half + 1 - low).tolist()
    if height * width > MAX_CANVAS:
        return None
    points = torch.ones(len(scan), 1, 1, dtype=torch.float64)
    dots = place_patches(points, torch.from_numpy(scan.positions - low), (height, width)).numpy()
    intensity = probe_intensity(torch.from_numpy(scan.probe)).double().numpy()
    light = fftconvolve(dots, intensity)[half : half + height, half : half + width]
    return light.clip(min=0), int(low[0]), int(low[1])


def summarise(scan: Scan) -> list[Row]:
    """Rows (label, value) of text about a scan, in reading order."""
    statistics = frame_statistics(scan)
    return [
        *_frame_rows(scan, statistics),
        *_probe_rows(scan, float(statistics.totals.mean())),
        *_position_rows(scan),
        ("object", _object(scan)),
        ("pixel size", "not given" if scan.pixel_size_m is None else readable_length(scan.pixel_size_m)),
        *(("note", note) for note in scan.notes),
        *(
            ("warning", doubt)
            for doubt in (*dark_frames(scan.numbers[statistics.totals == 0], len(scan)), *doubts(scan))
        ),
    ]


def check_light(scan: Scan) -> None:
    """Refuse a scan without a photon; frames are read until one holds some.

    Raises:
        PtychoError: when all frames are zero.
    """
    parts = (slice(start, start + LOOKED_AT) for start in range(0, len(scan), LOOKED_AT))
    if not any(scan.compact_frames(part).numpy().any() for part in parts):
        raise PtychoError(NO_LIGHT)


def dark_frames(numbers: NDArray[np.int64], frames: int) -> list[str]:
    """A line about the frames, out of so many, that hold no photon; none where there are none."""
    if not len(numbers):
        return []
    first = f"frame {numbers[0]}" if len(numbers) == 1 else f"the first is frame {numbers[0]}"
    return [
        f"no photon in {len(numbers)} of {frames} frames ({first}), as with a closed shutter; they make holes in the "
        "image: --set drop_dark=true leaves them out."
    ]


def check_moves(scan: Scan) -> None:
    """Refuse frames that all lie at one position.

    Raises:
        PtychoError: saying where.
    """
    if distinct(scan.positions) < 2:
        raise PtychoError(f"positions: {_still(scan)}; overlapping frames at several positions are needed.")


def distinct(positions: NDArray[np.float64]) -> int:
    """How many different positions there are among (n, 2)."""
    ordered = positions[np.lexsort(positions.T)]  # a fifth of the time of np.unique
    return 1 + int((np.diff(ordered, axis=0) != 0).any(axis=1).sum())


def _still(scan: Scan) -> str:
    y, x = scan.positions[0]
    return f"all {len(scan)} frames lie at one position, y {y:.1f}, x {x:.1f} (did the motors move?)"


def doubts(scan: Scan) -> list[str]:
    """Why a valid scan is probably not what was measured: a line for each unit or order that looks wrong."""
    shown = np.linspace(0, len(scan) - 1, min(len(scan), LOOKED_AT)).round().astype(np.int64)
    mean = scan.frames(shown).double().mean(dim=0).numpy()
    power, photons = float(probe_power(torch.from_numpy(scan.probe)).double().sum()), float(mean.sum())
    extent = float(np.ptp(scan.positions, axis=0).max())
    found = []
    places = distinct(scan.positions)
    if 1 == places < len(scan):
        found.append(f"{_still(scan)}; an image needs overlapping frames at several positions.")
    elif places <= len(scan) / 2:
        found.append(
            f"the {len(scan)} frames lie at {places} different positions only; did a motor not move, or are several "
            "scans in one file?"
        )
    if photons > 0 and not 1 / LIKELY_FACTOR < power / photons < LIKELY_FACTOR:
        found.append(
            f"the probe holds {readable(power / photons)} times the photons of a mean frame; about 1 is expected of a "
            "probe in sqrt(photons), and what is missing goes into the amplitude of the object."
        )
    if 0 < extent < scan.probe_diameter / 4:
        found.append(
            f"all positions lie within {readable(extent)} px, and the probe is {readable(scan.probe_diameter)} px "
            "wide; positions are object pixels, are these metres or micrometres?"
        )
    if light_in_corners(mean):
        found.append(
            f"the frames are brightest in their corners; the zero frequency belongs at [{scan.N // 2}, {scan.N // 2}]: "
            "numpy.fft.fftshift over rows and columns brings it there."
        )
    return found


def readable(value: float, digits: int = 3) -> str:
    """A number rounded to ``digits`` significant digits: 461212.9 -> 4.61e5, 12.345 -> 12.3."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if -3 <= exponent < 5:
        return f"{rounded:.{max(0, digits - 1 - exponent)}f}"
    return f"{rounded / 10.0**exponent:.{digits - 1}f}e{exponent}"


def readable_length(metres: float) -> str:
    """A length in the unit that suits it: 5e-8 -> 50.0 nm."""
    for unit, size in (("m", 1.0), ("mm", 1e-3), ("µm", 1e-6), ("nm", 1e-9)):
        if abs(metres) >= size:
            return f"{readable(metres / size)} {unit}"
    return f"{readable(metres / 1e-12)} pm"


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
    probe = torch.from_numpy(scan.probe)
    power = probe_power(probe).double()
    shares = ", ".join(f"{100 * share:.1f} %" for share in (power / power.sum()).tolist())
    total = float(power.sum())
    ratio = f", {readable(total / photons)} times the mean frame" if photons > 0 else ""
    part = 100 * scan.probe_diameter / scan.N
    diameter = f"{_pixels(scan.probe_diameter, scan)} at 10 % of the peak, {part:.0f} % of the frame's edge"
    return [
        ("probe modes", f"{len(probe)}, with {shares} of the power"),
        ("probe photons", readable(total) + ratio),
        ("probe diameter", diameter),
        ("probe FWHM", _pixels(probe_width(probe), scan)),
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
        ("linear overlap", _overlap(step, scan.probe_diameter, probe_width(torch.from_numpy(scan.probe)))),
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

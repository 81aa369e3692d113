"""``report.html``: one page about a reconstruction that needs no other file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.engines.probe_search import Found
from ptychopinn.errors import WARNING
from ptychopinn.figures.fit import embedded, moves_figure, residual_figure
from ptychopinn.figures.frames import frames_figure
from ptychopinn.figures.page.templates import write_from
from ptychopinn.figures.patterns import patterns_figure
from ptychopinn.figures.probe import probe_figure
from ptychopinn.figures.reconstruction import reconstruction_figure
from ptychopinn.physics.conditions import expected_counts
from ptychopinn.physics.exit_waves import frames_per_chunk
from ptychopinn.physics.likelihood import expected_deviance, poisson_deviance
from ptychopinn.physics.probe import probe_power
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable, readable_length

SHOWN: Final = 3
"""Frames drawn beside the fitted ones."""

MOST: Final = 1024
"""Frames, spread over the scan, of the residual on the detector."""

TRIALS: Final = 12
"""Starts of a search that are listed."""

EXPLAINED: Final = 1.05
"""Deviance over that of noise up to which nothing is left to explain."""

Picture = tuple[str, str, str]


class Residual(NamedTuple):
    """Means over frames on the detector, (N, N) each: photons, rate, deviance over that of noise."""

    measured: NDArray[np.float64]
    fitted: NDArray[np.float64]
    deviance: NDArray[np.float64]


def write_report(
    path: Path,
    result: Reconstruction,
    scan: Scan,
    name: str,
    said: Sequence[str],
    found: Found | None = None,
    page: str = "",
) -> None:
    """Write the page.

    Args:
        path: of the page.
        result: image, with its deviance per frame.
        scan: that it was made of.
        name: of the scan.
        said: lines of the run; warnings among them are what is not explained.
        found: search for the probe.
        page: address of the page of ``view``, if there is one.
    """
    write_from(
        path,
        "ptychopinn.commands",
        "report.html.j2",
        name=name,
        facts=facts(result, scan),
        open=open_ends(result, said),
        pictures=list(pictures(result, scan)),
        trials=[] if found is None else [(start, readable(value, 4)) for start, value in found.trials[:TRIALS]],
        said="\n".join(said),
        page=page,
    )


def facts(result: Reconstruction, scan: Scan) -> list[tuple[str, str]]:
    """Rows of the table at the top."""
    probe = torch.from_numpy(scan.probe if result.probe is None else result.probe)
    power = probe_power(probe).double()
    shares = ", ".join(f"{share:.1%}" for share in (power / power.sum()).tolist())
    ratio = result.deviance / result.expected_deviance
    rows = [
        ("frames", f"{len(scan)} of {scan.N} x {scan.N} pixels, {readable(scan.photons)} photons each"),
        ("deviance per pixel", f"{result.deviance:.4g}; noise alone {result.expected_deviance:.4g}; ratio {ratio:.3f}"),
        ("probe", f"{len(probe)} mode{'s' if len(probe) > 1 else ''}: {shares}"),
        ("pixel", "not known" if result.pixel_size_m is None else readable_length(result.pixel_size_m)),
        ("time", ", ".join(f"{what} {seconds:.1f} s" for what, seconds in result.seconds.items())),
    ]
    if scan.health is not None:
        rows.append(("detector", scan.health.summary))
    return rows


def open_ends(result: Reconstruction, said: Sequence[str]) -> list[str]:
    """What the image does not explain, and what to try: the warnings, and the excess deviance."""
    found = list(dict.fromkeys(line.removeprefix(WARNING) for line in said if line.startswith(WARNING)))
    ratio = result.deviance / result.expected_deviance
    if ratio > EXPLAINED:
        found.append(
            f"The deviance is {ratio:.2f} times that of noise: {ratio - 1:.0%} more than photon noise is left, and the "
            "error bars do not know of it. Look where it lies below: single frames (drop them), all frames at one side "
            "of the detector (background, mask), everywhere in the light (more --modes, --refine-positions, --epochs)."
        )
    return found


def pictures(result: Reconstruction, scan: Scan) -> Iterator[Picture]:
    """Title, text and address of each picture."""
    bars = None
    if result.amplitude_std is not None and result.phase_std is not None:
        bars = (result.amplitude_std, result.phase_std)
    image = reconstruction_figure(result.object, result.coverage, pixel_size_m=result.pixel_size_m, bars=bars)
    under = "Amplitude and phase" + ("; below, their standard deviations from photon noise." if bars else ".")
    yield "Image", under, embedded(image)
    probe = scan.probe if result.probe is None else result.probe
    yield "Probe", "Incoherent modes, the strongest first.", embedded(probe_figure(probe[:6]))
    measured, fitted = _shown(result, scan)
    yield (
        "Frames",
        "Measured, fitted, and their difference over the noise.",
        embedded(patterns_figure(measured, fitted)),
    )
    rest = residual(result, scan)
    text = "Means over the frames. What is left in single pixels is the detector's; in rings or streaks, the probe's."
    yield "Detector", text, embedded(residual_figure(*rest, scan.good_pixels))
    if result.frame_deviance is not None and result.expected_frame_deviance is not None:
        assert result.frame_photons is not None
        ratio = result.frame_deviance / np.maximum(result.expected_frame_deviance, 1e-12)
        figure = frames_figure(scan.numbers, result.positions, ratio, *result.frame_photons)
        yield "Frame by frame", "Deviance over the time of the scan and over its field.", embedded(figure)
    if len(result.positions) == len(scan) and not np.array_equal(result.positions, scan.positions):
        yield (
            "Positions",
            "From the measured to the fitted places.",
            embedded(moves_figure(scan.positions, result.positions)),
        )


def _rates(result: Reconstruction, scan: Scan, rows: NDArray[np.int64]) -> torch.Tensor:
    """Fitted photons of some frames, (k, N, N)."""
    probe = torch.from_numpy(scan.probe if result.probe is None else result.probe)
    places = torch.from_numpy(result.positions[rows] - np.array(result.origin))
    image, conditions = torch.from_numpy(result.object), result.conditions.of(torch.from_numpy(rows))
    return expected_counts(image, probe, places, result.subpixel, conditions)


def _shown(result: Reconstruction, scan: Scan) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows = np.linspace(0, len(scan) - 1, min(SHOWN, len(scan))).round().astype(np.int64)
    measured = scan.frames(rows).numpy()
    if scan.good_pixels is not None:
        measured[:, ~scan.good_pixels] = np.nan
    return measured, _rates(result, scan, rows).numpy()


def residual(result: Reconstruction, scan: Scan) -> Residual:
    """What is left on each detector pixel, mean over at most ``MOST`` frames."""
    rows = np.unique(np.linspace(0, len(scan) - 1, min(MOST, len(scan))).astype(np.int64))
    sums = torch.zeros(4, scan.N, scan.N, dtype=torch.float64)
    probe = torch.from_numpy(scan.probe if result.probe is None else result.probe)
    for some in np.array_split(rows, max(1, -(-len(rows) // frames_per_chunk(probe)))):
        rate, counts = _rates(result, scan, some).double().clamp_min(1e-6), scan.frames(some).double()
        parts = (counts, rate, poisson_deviance(rate, counts), expected_deviance(rate))
        sums += torch.stack([part.sum(dim=0) for part in parts])
    measured, fitted, deviance, noise = (sums / len(rows)).numpy()
    return Residual(measured, fitted, deviance / np.maximum(noise, 1e-12))

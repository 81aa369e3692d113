"""Scale of a probe: that of its file where it can be in sqrt(photons), else that of the brightest frames.

``|object| <= 1`` means that no frame holds more photons than the probe.
"""

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.config import ProbeScale
from ptychopinn.errors import PtychoError
from ptychopinn.scan.frames import blocks
from ptychopinn.scan.probe.far_field import NOT_THAT_PROBE, explained
from ptychopinn.scan.probe.light import far_intensity, intensity
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable

LOWEST, HIGHEST = 0.9, 2.0
"""Plausible photons of a probe, in those of the brightest frames: few objects take more than half of every frame."""

BRIGHT = 0.95
"""Share of the frames that are darker than the brightest ones: a single hot frame must not decide."""

APART = 1.18
"""Factor between what all pixels hold and what half of them explain from which on they do not agree: right scans stay
below 1.13."""

FAR_APART = 10.0
"""Photons of the frames over those that the far field of the probe explains, beyond which it is not that probe's."""

EVEN = 0.15
"""Median misfit of pixels from which on nothing is said of a few that differ: the orders of a grating leave 0.2."""

HARDLY = 0.01
"""Share of the probe's far field on good pixels below which the frames do not tell its power."""

NEIGHBOURS = 8
"""Frames about a frame that say whether it is brighter than its place."""

NOISE = 0.5
"""Error of :func:`brightest` in standard deviations of a frame."""

SAMPLE = 128
"""Frames, spread over the scan, that tell the brightest."""


class Light(NamedTuple):
    """Photons of a probe and of the brightest frames behind it.

    Attributes:
        probe: ``sum |P|^2``.
        frames: what a probe without loss needs to make the brightest frames.
        least: the same by the quarter of the pixels that reads least for its light.
        total: the same by all that good pixels hold.
        seen: share of the probe's own far field that falls on good pixels.
        noise: relative, of a frame.
        misfit: median of the pixels, of what the far field of the probe explains.
    """

    probe: float
    frames: float
    least: float
    total: float
    seen: float
    noise: float
    misfit: float = float("inf")

    @property
    def ratio(self) -> float:
        """Photons of the probe per photon of the brightest frames."""
        return self.probe / self.frames

    @property
    def uneven(self) -> bool:
        """Whether pixels do not agree about the light: a gain, a background, a beam stop that no mask marks."""
        return self.misfit < EVEN and not 1 / APART < self.total / self.frames < APART

    def within(self, lowest: float, highest: float) -> bool:
        """Whether the probe can be in sqrt(photons): a fault of the detector that explains a ratio does not count.

        Both limits give way by the noise of a dim frame.
        """
        noise = 1 + NOISE * self.noise
        low, high = min(self.frames, self.least), max(self.frames, self.total)
        return lowest / noise <= self.probe / low and self.probe / high <= highest * noise

    @property
    def plausible(self) -> bool:
        """Whether the probe can be in sqrt(photons)."""
        return self.within(LOWEST, HIGHEST)


def brightest(totals: NDArray[np.float64]) -> float:
    """Photons of the brightest frames: a high quantile without the part that Poisson noise adds to it.

    The variance of totals is that of the light and, by Poisson noise, their mean. The distance of the quantile from the
    mean shrinks to the share of the light in the standard deviation.

    Args:
        totals: (n,) photons of frames.
    """
    mean, variance = float(totals.mean()), float(totals.var())
    top = float(np.quantile(totals, BRIGHT, method="lower"))
    light = max(0.0, variance - mean) / variance if variance > 0 else 0.0
    return mean + (top - mean) * light**0.5


def light_of(scan: Scan) -> Light | None:
    """Photons of probe and frames; None where no frame can be read or holds light on good pixels."""
    good = _sound(scan)
    rows, totals, mean = _sample(scan, good)
    photons = brightest(among_neighbours(totals, scan.positions[rows])) if len(rows) else 0.0
    if not photons > 0:
        return None
    spectrum = far_intensity(scan.probe.astype(np.complex128)).astype(np.float64)
    power = float(spectrum.sum())
    seen = float(spectrum[good].sum()) / power
    noise = photons**-0.5
    if seen < HARDLY:  # the frames tell only what the probe has at least
        return Light(power, photons, photons, float("inf"), seen, noise)
    found = explained(mean, spectrum, good, len(rows))
    stray = not found.middle * found.seen * FAR_APART > float(totals.mean())
    if found.misfit > NOT_THAT_PROBE or stray or not found.seen > 0:
        return Light(power, photons / seen, photons / seen, photons / seen, seen, noise)
    part = photons / float(totals.mean())
    least, middle, total = part * found.least, part * found.middle, photons / found.seen
    agree = 1 / APART < total / middle < APART
    return Light(power, total if agree else middle, least, total, seen, noise, found.misfit)


def _sound(scan: Scan) -> NDArray[np.bool_]:
    """Pixels (N, N) that neither the mask nor a survey of the detector doubts."""
    good = np.ones(scan.counts.shape[1:], bool) if scan.good_pixels is None else scan.good_pixels
    known = scan.health is not None and scan.health.doubtful.shape == good.shape
    return good & ~scan.health.doubtful if known and scan.health is not None else good


def _sample(scan: Scan, good: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Frames spread over the scan, their photons, and their mean; those that cannot be used are for others to name."""
    chosen = np.linspace(0, len(scan) - 1, min(len(scan), SAMPLE)).round().astype(np.int64)
    rows: list[int] = []
    found: list[float] = []
    mean = np.zeros(scan.counts.shape[1:])

    def add(some: NDArray[np.int64]) -> None:
        frames = scan.array(some) * good
        found.extend(frames.sum(axis=(1, 2), dtype=np.float64).tolist())
        rows.extend(some.tolist())
        np.add(mean, frames.sum(axis=0, dtype=np.float64), out=mean)

    for block in blocks((len(chosen), *scan.counts.shape[1:])):
        try:
            add(chosen[block])
        except PtychoError:
            for row in chosen[block, None]:
                with suppress(PtychoError):
                    add(row)
    return np.array(rows, np.int64), np.array(found), mean / max(1, len(rows))


def among_neighbours(totals: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of the photons of every frame and the eight nearest, which share its light: (n,).

    A flash of the beam, or a fault of the detector in a few frames, is no light of the object.
    """
    count = min(len(totals), 1 + NEIGHBOURS)
    _, near = cKDTree(places).query(places, k=range(1, count + 1))
    return np.asarray(np.median(totals[near], axis=1))


def with_probe_scale(scan: Scan, how: ProbeScale = "auto") -> Scan:
    """A scan with its probe in sqrt(photons), and what its brightest frames hold; a note says what changed.

    Args:
        scan: as its file has it; all its frames, so that parts of it get one scale.
        how: "auto" keeps a plausible probe (:attr:`Light.plausible`) and scales others to the brightest frames,
            "counts" scales every probe, "keep" none; a number multiplies its amplitude.
    """
    light = light_of(scan)
    scan = replace(scan, brightest=None if light is None else light.frames)
    if how == "keep":
        return scan
    if not isinstance(how, str):
        power = how**2 * float(intensity(scan.probe.astype(np.complex128)).sum())
        return _scaled(scan, how, f"Probe multiplied by {how:g}: {readable(power)} photons.")
    if light is None or (how == "auto" and light.plausible):
        return scan
    hidden = f", estimated: a mask hides {1 - light.seen:.0%} of its light" if light.seen < 0.5 else ""
    hidden += ", as most of the pixels have it" if light.uneven else ""
    return _scaled(
        scan,
        light.ratio**-0.5,
        f"Probe of {readable(light.probe)} photons scaled to the {readable(light.frames)} of the brightest frames"
        f"{hidden}; amplitudes of the object are relative to these. --probe-scale keep keeps the probe as it is.",
    )


def as_networks_see(scan: Scan) -> tuple[Scan, float]:
    """A scan with its probe scaled to the brightest frames, and by how much its object is weaker than that of the scan.

    ``(P f) (O / f) = P O`` leaves all frames as they are. A network sees one scale of the probe in training and at
    inference, whatever the scale of the file; its object times f is that of the scan.

    Returns:
        The scan with ``P f`` and ``O / f``, and f.
    """
    light = None if scan.brightest is not None else light_of(scan)
    brightest = scan.brightest if light is None else light.frames
    if brightest is None:
        return scan, 1.0
    factor = (brightest / float(intensity(scan.probe).astype(np.float64).sum())) ** 0.5
    image = None if scan.object is None else (scan.object / factor).astype(np.complex64)
    return replace(_scaled(scan, factor), object=image, probe_factor=scan.probe_factor), factor


def _scaled(scan: Scan, factor: float, *note: str) -> Scan:
    with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses values that are not finite
        probe = (scan.probe.astype(np.complex128) * factor).astype(np.complex64)
    return replace(scan, probe=probe, probe_factor=scan.probe_factor * factor, notes=(*scan.notes, *note))

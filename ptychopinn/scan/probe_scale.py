"""Scale of a probe: that of its file where it can be in sqrt(photons), else that of the brightest frames.

``|object| <= 1`` means that no frame holds more photons than the probe.
"""

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.config import ProbeScale
from ptychopinn.errors import PtychoError
from ptychopinn.physics.fourier import to_detector
from ptychopinn.physics.probe import probe_power
from ptychopinn.scan.frames import blocks
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable

LOWEST, HIGHEST = 0.9, 2.0
"""Plausible photons of a probe, in those of the brightest frames: few objects take more than half of every frame."""

BRIGHT = 0.95
"""Share of the frames that are darker than the brightest ones: a single hot frame must not decide."""

NOISE = 0.5
"""Error of :func:`brightest` in standard deviations of a frame."""

SAMPLE = 128
"""Frames, spread over the scan, that tell the brightest."""


class Light(NamedTuple):
    """Photons of a probe and of the brightest frames behind it.

    Attributes:
        probe: ``sum |P|^2``.
        frames: what a probe without loss needs to make the brightest frames: their photons / ``seen``.
        seen: share of the probe's own far field that falls on good pixels.
    """

    probe: float
    frames: float
    seen: float

    @property
    def ratio(self) -> float:
        """Photons of the probe per photon of the brightest frames."""
        return self.probe / self.frames

    @property
    def plausible(self) -> bool:
        """Whether the probe can be in sqrt(photons).

        Where a mask hides the direct beam, light that the object scatters past it raises ``frames``: the lower limit
        falls with the root of ``seen``. Both limits give way by the noise of a dim frame.
        """
        noise = 1 + NOISE * (self.frames * self.seen) ** -0.5
        return LOWEST * self.seen**0.5 / noise <= self.ratio <= HIGHEST * noise


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
    totals = _totals(scan)
    photons = brightest(totals) if len(totals) else 0.0
    field = to_detector(torch.from_numpy(scan.probe).to(torch.complex128))
    spectrum = (field.real.square() + field.imag.square()).sum(dim=0).numpy()
    power = float(spectrum.sum())
    seen = 1.0 if scan.good_pixels is None else float(spectrum[scan.good_pixels].sum()) / power
    if not (seen > 0 and photons > 0):
        return None
    return Light(power, photons / seen, seen)


def _totals(scan: Scan) -> NDArray[np.float64]:
    """Photons of frames spread over the scan; those that cannot be used are for others to complain of."""
    chosen = np.linspace(0, len(scan) - 1, min(len(scan), SAMPLE)).round().astype(np.int64)
    found: list[float] = []

    def add(rows: NDArray[np.int64]) -> None:
        found.extend(scan.frames(rows).double().sum(dim=(1, 2)).tolist())

    for block in blocks((len(chosen), *scan.counts.shape[1:])):
        try:
            add(chosen[block])
        except PtychoError:
            for row in chosen[block, None]:
                with suppress(PtychoError):
                    add(row)
    return np.array(found)


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
        power = how**2 * float(probe_power(torch.from_numpy(scan.probe).to(torch.complex128)).sum())
        return _scaled(scan, how, f"Probe multiplied by {how:g}: {readable(power)} photons.")
    if light is None or (how == "auto" and light.plausible):
        return scan
    hidden = f", estimated: a mask hides {1 - light.seen:.0%} of its light" if light.seen < 0.5 else ""
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
    factor = (brightest / float(probe_power(torch.from_numpy(scan.probe)).double().sum())) ** 0.5
    image = None if scan.object is None else (scan.object / factor).astype(np.complex64)
    return replace(_scaled(scan, factor), object=image, probe_factor=scan.probe_factor), factor


def _scaled(scan: Scan, factor: float, *note: str) -> Scan:
    with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses values that are not finite
        probe = (scan.probe.astype(np.complex128) * factor).astype(np.complex64)
    return replace(scan, probe=probe, probe_factor=scan.probe_factor * factor, notes=(*scan.notes, *note))

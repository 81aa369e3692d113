"""What no frame determines once the probe is unknown: a phase ramp shared by object and probe."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.reconstruction import Reconstruction

Slope = tuple[float, float]
Complex = NDArray[np.complex64]


def levelled(result: Reconstruction) -> tuple[Reconstruction, Slope]:
    """An image without its mean phase slope, which its refined probe takes; and that slope k (y, x) in rad per pixel.

    ``O(r) exp(-i k r)`` under ``P(x) exp(i k x)`` makes the same frames. A fit of both leaves k where the start had it,
    which is where the beam was thought to lie on the detector.
    """
    if result.probe is None:
        return result, (0.0, 0.0)
    slope = mean_slope(result.object, result.coverage)
    rows, columns = (np.arange(size) for size in result.object.shape)
    image = result.object * np.exp(-1j * (slope[0] * rows[:, None] + slope[1] * columns))
    image = image * np.exp(-1j * np.angle((result.coverage * image).sum()))
    modes = None if result.opr_modes is None else tilted(result.opr_modes, slope)
    return replace(result, object=image.astype(np.complex64), probe=tilted(result.probe, slope), opr_modes=modes), slope


def tilted(probe: Complex, slope: Slope) -> Complex:
    """A probe (m, N, N) times ``exp(i k x)``, x from its middle."""
    places = np.arange(probe.shape[-1]) - probe.shape[-1] // 2
    ramp = np.exp(1j * (slope[0] * places[:, None] + slope[1] * places))
    return (probe * ramp).astype(np.complex64)


def mean_slope(image: NDArray[np.complexfloating], light: NDArray[np.floating]) -> Slope:
    """Phase (y, x) of ``sum w O(r + 1) O(r)^*``, w the light on the darker of the two pixels."""
    found = []
    for axis in (0, 1):
        values, lit = np.moveaxis(image, axis, 0), np.moveaxis(light, axis, 0)
        found.append(float(np.angle((np.minimum(lit[1:], lit[:-1]) * values[1:] * values[:-1].conj()).sum())))
    return found[0], found[1]

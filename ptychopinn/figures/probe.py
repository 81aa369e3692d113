"""PNG figures of probe modes."""

import math

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.figures.panels import AMPLITUDE_MAP, PHASE_MAP, Complex, new_figure, panel, to_png
from ptychopinn.scan.probe import light
from ptychopinn.text import readable

MAX_MODES = 3


def _power(probe: Complex) -> NDArray[np.float64]:
    """Photons of each mode (m,)."""
    return light.power(probe).astype(np.float64)


def probe_title(probe: Complex) -> str:
    """With the photons of all modes."""
    return f"Probe, {readable(float(_power(probe).sum()))} photons"


def probe_figure(probe: Complex) -> Figure:
    """Amplitude and phase of the probe modes (m, N, N), complex, in sqrt(photons)."""
    modes = len(probe)
    figure = new_figure(0.8 + 3.6 * modes, 7.2)
    draw_modes(probe, figure.subplots(2, modes, squeeze=False).T)
    figure.suptitle(probe_title(probe))
    return figure


def draw_modes(probe: Complex, cells: NDArray[np.object_]) -> None:
    """Amplitude and phase of the leading modes on ``cells`` (modes, 2); faint pixels have no phase."""
    power = _power(probe)
    for mode, field, (left, right) in zip(range(len(probe)), probe, cells, strict=False):
        amplitude, share = abs(field), 100 * power[mode] / power.sum()
        panel(left, amplitude, "amplitude (√photons)", Normalize(0, float(amplitude.max()) or 1.0), AMPLITUDE_MAP)
        lit = amplitude > 0.03 * amplitude.max()
        panel(right, np.where(lit, np.angle(field), np.nan), "phase (rad)", Normalize(-math.pi, math.pi), PHASE_MAP)
        left.set_title(f"Mode {mode + 1}: {share:.1f} % of power")
        right.set_title(f"Phase of mode {mode + 1}")


draw_probe = to_png(probe_figure)

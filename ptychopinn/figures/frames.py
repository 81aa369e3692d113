"""PNG figure of how an image explains every frame."""

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.figures.panels import AMPLITUDE_MAP, new_figure, to_png

Vector = NDArray[np.float64]

WIDE = 5.0
"""Largest deviance over that of noise that a linear scale shows."""


def frames_figure(
    numbers: NDArray[np.int64], positions: Vector, ratio: Vector, measured: Vector, predicted: Vector
) -> Figure:
    """Deviance over that of noise and photons, over the frame number; the deviance over the field.

    Args:
        numbers: (n,) of the frames in the file.
        positions: (n, 2) object pixels (y, x).
        ratio: (n,) deviance of each frame over what noise alone would leave.
        measured: (n,) photons of each frame over the good pixels.
        predicted: (n,) those of the image.
    """
    figure = new_figure(15, 4.4, images_only=False)
    deviance, photons, field = figure.subplots(1, 3, width_ratios=(1.3, 1.3, 1))
    size = min(14.0, max(1.0, 6000 / len(numbers)))
    ratio = np.maximum(ratio, 1e-3)
    low, high = min(0.8, float(ratio.min())), max(2.0, float(ratio.max()))
    scale, norm = ("log", LogNorm(low, high)) if high > WIDE else ("linear", Normalize(low, high))
    deviance.scatter(numbers, ratio, s=size, color="tab:blue", linewidths=0)
    deviance.axhline(1, color="0.5", linewidth=1)
    deviance.set(xlabel="frame", ylabel="deviance / noise alone", yscale=scale, title="Deviance of each frame")
    photons.plot(numbers, measured, ".", markersize=4, color="tab:blue", label="measured")
    photons.plot(numbers, predicted, ".", markersize=2, color="tab:orange", label="image")
    photons.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    photons.set(
        xlabel="frame",
        ylabel="photons",
        title="Photons of each frame",
        ylim=(0, 1.1 * float(max(measured.max(), predicted.max(), 1))),
    )
    photons.legend(loc="lower left")
    y, x = positions.T
    dots = field.scatter(x, y, s=4 * size, c=ratio, norm=norm, cmap=AMPLITUDE_MAP, linewidths=0)
    figure.colorbar(dots, ax=field, label="deviance / noise alone")
    field.set(xlabel="x (px)", ylabel="y (px)", title="Deviance over the field", aspect="equal", adjustable="datalim")
    field.invert_yaxis()
    return figure


draw_frames = to_png(frames_figure)

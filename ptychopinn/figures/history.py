"""PNG figures of loss curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.figures.panels import new_figure, to_png


def history_figure(columns: Mapping[str, Sequence[float]], validated: str = "") -> Figure:
    """Loss curves, one panel per quantity, with a logarithmic axis where values allow.

    Args:
        columns: ``epoch`` or ``step``, the horizontal axis, and any of ``train_NAME``, ``val_NAME``; NaN where a
            curve has no value.
        validated: what the curves ``val_NAME`` are of, for the legend.

    Raises:
        PtychoError: when there is no curve.
    """
    curves: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, values in columns.items():
        stage, _, quantity = name.partition("_")
        if stage in ("train", "val") and quantity:
            curves.setdefault(quantity, {})[stage] = np.asarray(values, dtype=np.float64)
    if not curves:
        raise PtychoError(f"history: columns {', '.join(columns) or 'none'}; train_loss or val_loss is needed.")
    validation = f"validation ({validated})" if validated else "validation"
    along = "step" if "step" in columns else "epoch"
    figure = new_figure(1.0 + 4.6 * len(curves), 4.2, images_only=False)
    for axes, quantity in zip(figure.subplots(1, len(curves), squeeze=False).flat, curves, strict=True):
        for stage, curve in curves[quantity].items():
            numbers = np.asarray(columns.get(along, range(1, len(curve) + 1)), dtype=np.float64)
            known = np.isfinite(curve)
            label, style = ("training", "-") if stage == "train" else (validation, "--")
            axes.plot(numbers[known], curve[known], style, marker="." if known.sum() < 60 else "", label=label)
        drawn = np.concatenate([curve[np.isfinite(curve)] for curve in curves[quantity].values()])
        axes.set_yscale("log" if drawn.size and drawn.min() > 0 else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.margins(x=0.05 if drawn.size > 2 else 0.5)
        axes.grid(True, which="both", alpha=0.25)
        axes.set(xlabel=along, ylabel=quantity.replace("_", " "))
        axes.legend()
    return figure


draw_history = to_png(history_figure)

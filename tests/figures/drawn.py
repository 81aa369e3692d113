"""What the tests of figures look at: panels by title, their data and limits, and whole files."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

N = 32


def panels(figure: Figure) -> dict[str, Axes]:
    """Panels by title, subfigures included."""
    parts = [figure, *figure.subfigs]
    return {axes.get_title(): axes for part in parts for axes in part.axes if axes.get_title()}


def data(axes: Axes) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(np.ma.asarray(axes.images[0].get_array()))


def limits(axes: Axes) -> tuple[float, float]:
    return axes.images[0].get_clim()


def check_png(path: Path, least: tuple[int, int] = (300, 300)) -> None:
    picture = imread(path)
    assert picture.shape[0] >= least[0] and picture.shape[1] >= least[1] and max(picture.shape) < 4000
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture[..., :3].std() > 0.05
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "a temporary file was left"

"""The pictures of docs/bad_images.md: runs its blocks of commands and draws ``bad`` beside ``cured``.

    python packaging/site/pictures.py [NAME...]

The first line of a block names the picture, and may say ``amplitude`` in place of the phase.
"""

import contextlib
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ptychopinn.cli.app import main
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.scan.canvas import covered

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```sh\n# (\w+)(?: (amplitude))?\n(.*?)```", re.DOTALL)


def call(line: str) -> None:
    """Run one command of ours in this process: each import of torch would take longer than the command."""
    program, *sys.argv[1:] = shlex.split(line)
    assert program == "ptychopinn", line
    with contextlib.suppress(SystemExit):
        main()


def values(folder: Path, amplitude: bool) -> np.ndarray:
    """What is drawn of an image: the middle of it, the phase without its mean."""
    image = read_reconstruction(folder)
    lit = covered(image.coverage)
    turned = image.object * np.exp(-1j * np.angle(image.object[lit].sum()))
    shown = np.where(lit, abs(turned) if amplitude else np.angle(turned), np.nan)
    (top, left), (y, x) = image.origin, np.round(image.positions.mean(axis=0)).astype(int)
    rows, cols = y - top, x - left
    return shown[rows - 34 : rows + 34, cols - 34 : cols + 34]


def draw(path: Path, pair: list[np.ndarray]) -> None:
    """Both images on the colours of the second one."""
    low, high = np.nanpercentile(pair[1], [0.5, 99.5])
    figure = Figure(figsize=(3.1, 1.5), dpi=100)
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.05)
    for axes, shown in zip(figure.subplots(1, 2), pair, strict=True):
        axes.imshow(shown, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.axis("off")
    figure.savefig(path)


if __name__ == "__main__":
    wanted, home = sys.argv[1:], Path.cwd()
    for name, amplitude, commands in BLOCK.findall((DOCS / "bad_images.md").read_text(encoding="utf-8")):
        if wanted and name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for line in commands.strip().splitlines():
                call(line)
            draw(DOCS / f"images/bad/{name}.png", [values(Path(part), bool(amplitude)) for part in ("bad", "cured")])
            os.chdir(home)

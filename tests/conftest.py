"""Shared small data: one simulated scan and one network trained on it, made once per session."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ptychopinn.config import Settings
from ptychopinn.model.bundle import Run, save_run
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, siemens_star, simulate
from tests.cli.refusing import SIZE, write_scan


@pytest.fixture(scope="session")
def tiny_scan() -> Scan:
    """64 frames of 32 x 32 pixels of a star of 80 x 80, a disc probe of radius 7, 1e5 photons per frame."""
    positions = raster((80, 80), 32, step=6.0)
    return simulate(siemens_star(80), curved_disc(32, 7.0, 2.5).numpy(), positions, nphotons=1e5)


@pytest.fixture(scope="session")
def tiny_truth(tiny_scan) -> torch.Tensor:
    """The object of ``tiny_scan`` on the scan's canvas, complex64. Not to be changed."""
    (y, x), (height, width) = tiny_scan.canvas_origin, tiny_scan.canvas_shape
    truth = torch.from_numpy(tiny_scan.object[y : y + height, x : x + width])
    assert truth.shape == tiny_scan.canvas_shape
    return truth


@pytest.fixture(scope="session")
def tiny_run(tiny_scan):
    """A narrow network of two stages, trained on ``tiny_scan`` for a few seconds. Not to be changed."""
    from ptychopinn.training.train import train

    values = {"n_filters_scale": 0.25, "stages": 2, "nepochs": 6, "batch_size": 8, "learning_rate": 5e-3}
    return train(tiny_scan, Settings.of({**values, "accelerator": "cpu"}))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was never trained."""
    chosen = Settings.of({"gridsize": 2, "n_filters_scale": 0.1, "stages": 1, "depth": 1})
    light = Illumination(1e3 * curved_disc(SIZE, 4.0, 1.0), None, SIZE)
    folder = tmp_path_factory.mktemp("template")
    return save_run(folder, Run(PtychoModel(chosen.model, 0.01).eval(), light, chosen))


@pytest.fixture
def place(tmp_path: Path, template: Path) -> Path:
    """A folder with a valid scan, a valid run, and things that are neither."""
    write_scan(tmp_path / "scan.npz")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / template.name).write_bytes(template.read_bytes())
    (tmp_path / "run/provenance.json").write_text("{}")
    (tmp_path / "run/settings.json").write_text("{}")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/thesis.txt").write_text("four years of work")
    (tmp_path / "notes.txt").write_text("remember the milk")
    (tmp_path / "old.png").touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def quick_pictures() -> Iterator[None]:
    """Each picture is drawn once in a module; one of the same name that follows is built, but saved as one pixel.

    To draw takes most of the time of a command on a small scan.
    """
    drawn: set[str] = set()
    draw = Figure.savefig

    def save(figure: Figure, path: Path, **options: Any) -> None:
        name = path.name.partition(".png")[0]
        if name in drawn:
            imsave(path, np.zeros((1, 1)), format="png")
        else:
            drawn.add(name)
            draw(figure, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield

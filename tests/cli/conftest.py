"""A place to make mistakes in."""

from pathlib import Path

import pytest

from ptychopinn.bundle import Run, save_run
from ptychopinn.config import Settings
from ptychopinn.model import Illumination, PtychoModel
from ptychopinn.physics.probe import curved_disc
from tests.cli.refusing import SIZE, write_scan


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was never trained."""
    chosen = Settings.of({"gridsize": 2, "n_filters_scale": 0.1, "stages": 1, "depth": 1})
    light = Illumination(1e3 * curved_disc(SIZE, 4.0, 1.0), None, SIZE, 0.01)
    folder = tmp_path_factory.mktemp("template")
    return save_run(folder, Run(PtychoModel(chosen.model).eval(), light, chosen))


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

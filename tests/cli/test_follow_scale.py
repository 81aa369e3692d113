"""``infer --follow`` of a scan whose probe has another unit, and of amplitudes."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.config import DataConfig, Settings
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.growing.reader import growing_reader
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.model.bundle import save_run
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import call

FRAMES = "entry_1/instrument_1/detector_1/data"


def write_cxi(path: Path, scan: Scan) -> None:
    record = registry.prepared(replace(record_of(scan), object=None), "cxi", Geometry(dummy=True))
    registry.write(path, "cxi", record)


@pytest.fixture
def beamline(tmp_path, tiny_scan, tiny_run):
    """A run, and the whole scan with its probe in photons and of unit power."""
    save_run(tmp_path / "run", tiny_run)
    write_cxi(tmp_path / "right.cxi", tiny_scan)
    power = (np.abs(tiny_scan.probe) ** 2).sum()
    write_cxi(tmp_path / "unit.cxi", replace(tiny_scan, probe=tiny_scan.probe / np.sqrt(power)))
    return tmp_path


def test_the_scale_is_said_and_the_image_is_that_of_the_right_probe(beamline, quick_pictures):
    images = {}
    for name in ("right", "unit"):
        done = call(beamline, f"infer run {name}.cxi --out {name} --follow --follow-timeout 0.3 --accelerator cpu")
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        assert done.stdout.count("of the brightest frames") == (name == "unit")
        images[name] = read_reconstruction(beamline / name).object
        record = json.loads((beamline / name / "provenance.json").read_text())
        assert (record["probe_factor"] == 1) == (name == "right")
    ratio = np.vdot(images["unit"], images["right"]) / np.vdot(images["unit"], images["unit"])
    assert np.linalg.norm(ratio * images["unit"] - images["right"]) < 1e-3 * np.linalg.norm(images["right"])


def test_the_first_frames_with_light_decide(tmp_path, tiny_scan):
    scan = replace(tiny_scan, probe=1e-3 * tiny_scan.probe)
    for name, counts in (("first", tiny_scan.counts), ("later", 4 * tiny_scan.counts)):
        write_cxi(tmp_path / f"{name}.cxi", replace(scan, counts=counts))
    write_cxi(tmp_path / "dark.cxi", replace(scan, counts=0 * tiny_scan.counts))
    growing = tmp_path / "growing.cxi"
    read = growing_reader(growing, DataConfig())
    factors, notes = [], []
    for name in ("first", "later"):
        growing.unlink(missing_ok=True)  # a handle of the old file may be open
        growing.write_bytes((tmp_path / f"{name}.cxi").read_bytes())
        found = read().scan
        factors.append(found.probe_factor)
        notes.append(found.notes)
    assert factors[0] == factors[1] != 1
    assert notes[0] == notes[1]
    with pytest.raises(PtychoError, match="its 64 frames hold one value everywhere, as room for frames does"):
        growing_reader(tmp_path / "dark.cxi", DataConfig())()


def test_amplitudes_cannot_grow_to_a_mean_of_all(tmp_path, tiny_scan):
    write_cxi(tmp_path / "scan.cxi", tiny_scan)
    with h5py.File(tmp_path / "scan.cxi", "r+") as file:
        values, attributes = np.sqrt(file[FRAMES][()]).astype("f4"), dict(file[FRAMES].attrs)
        del file[FRAMES]
        file[FRAMES] = values
        file[FRAMES].attrs.update(attributes)
    told = Settings.of({"nphotons": 1e4, "measurement": "amplitude"}).data
    with pytest.raises(IncurableError, match=r"scan.cxi: holds amplitudes, .* needs a complete scan"):
        growing_reader(tmp_path / "scan.cxi", told)()

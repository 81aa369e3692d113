"""``infer`` of a scan without a probe: that of the run is taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.config import Settings
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.formats.npz import write as write_record
from ptychopinn.files.reading import open_scan
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.model.bundle import Run, save_run
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import assert_refused, call

INFER = "infer run bare.npz --accelerator cpu"
LINE = "bare.npz holds no probe: the one that the run was trained with is taken."


@pytest.fixture
def folder(tmp_path: Path, tiny_scan: Scan, tiny_run: Run) -> Path:
    """A run, its scan, and that scan without probe and object."""
    save_run(tmp_path / "run", tiny_run)
    (tmp_path / "run/provenance.json").write_text("{}")
    record = record_of(tiny_scan)
    write_record(tmp_path / "whole.npz", record)
    write_record(tmp_path / "bare.npz", replace(record, probe=None, object=None))
    return tmp_path


def test_the_image_is_the_same_and_a_line_says_so(folder: Path, tiny_scan: Scan) -> None:
    for name, source in (("bare", "bare.npz"), ("whole", "whole.npz")):
        done = call(folder, f"infer run {source} --accelerator cpu --out {name}")
        assert done.exit_code == 0, done.output
        assert (LINE in done.output) == (name == "bare")
    bare, whole = read_reconstruction(folder / "bare"), read_reconstruction(folder / "whole")
    np.testing.assert_allclose(bare.object, whole.object, atol=5e-3)
    scan = read_scan(folder / "bare/reconstruction.h5", frames=str(folder / "bare.npz"))
    np.testing.assert_allclose(scan.probe, tiny_scan.probe, atol=1e-3)


def test_refining_uses_it_too(folder: Path) -> None:
    done = call(folder, f"{INFER} --refine --set epochs=1 --set error_draws=0 --out image")
    assert done.exit_code == 0, done.output
    assert LINE in done.output


def test_a_given_probe_wins(folder: Path) -> None:
    done = call(folder, f"{INFER} --probe whole.npz --out image")
    assert done.exit_code == 0, done.output
    assert LINE not in done.output


@pytest.mark.parametrize("crop", [16, 24])
def test_a_cropped_scan_has_the_probe_of_the_run_as_it_is(folder: Path, tiny_scan: Scan, crop: int) -> None:
    """Neither crop nor mask of the settings comes a second time."""
    small = tiny_scan.mask_probe(12.0).crop(crop)
    data = Settings.of({"crop": crop, "probe_scale": "keep", "probe_mask": True, "probe_mask_diameter": 12.0}).data
    scan = open_scan(folder / "bare.npz", data, spare=Illumination.of(small).probe.numpy())
    np.testing.assert_allclose(scan.probe, small.probe, atol=1e-4)
    np.testing.assert_array_equal(scan.counts, small.counts)


def test_a_probe_of_another_size_is_refused(folder: Path, tiny_scan: Scan) -> None:
    write_record(folder / "small.npz", replace(record_of(tiny_scan.crop(16)), probe=None, object=None))
    words = ("small.npz", "no probe", "32 pixels for frames of 16", "--probe FILE")
    assert_refused(folder, "infer run small.npz --out image", words)
    wide = np.pad(tiny_scan.counts, [(0, 0), (8, 8), (8, 8)])
    write_record(folder / "wide.npz", replace(record_of(tiny_scan), counts=wide, probe=None, object=None))
    assert_refused(folder, "infer run wide.npz --out image", ("wide.npz", "frames of 48", "--crop 32"))

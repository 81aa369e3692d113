"""Scans of PtyPy."""

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.files import reading
from ptychopinn.files.record import Reading
from ptychopinn.scan.frames import Frames
from tests.files.writers import (
    assert_same,
    write_ptyd,
)


def test_ptypy(scan, pixel, probe, tmp_path):
    write_ptyd(tmp_path / "scan.ptyd", scan, pixel)
    found = read_scan(tmp_path / "scan.ptyd", probe=probe)
    assert_same(found, scan)
    assert found.pixel_size_m == pytest.approx(pixel)
    assert found.good_pixels.all()
    assert found.notes == (f"Probe of {probe}.",)


def test_ptypy_weights_mark_bad_pixels(scan, pixel, probe, tmp_path):
    """Common ones in ``meta``, or of single frames, of which an empty array is none."""
    common, single = np.ones((scan.N, scan.N)), np.ones((10, scan.N, scan.N))
    common[3, 4], single[7, 5, 6] = 0, 0
    write_ptyd(tmp_path / "scan.ptyd", scan, pixel, weight2d=common)
    with h5py.File(tmp_path / "scan.ptyd", "r+") as file:
        file["chunks/0/weights"][...] = single
        del file["chunks/1/weights"]
        file["chunks/1/weights"] = np.zeros(0)
    found = read_scan(tmp_path / "scan.ptyd", probe=probe)
    assert np.argwhere(~found.good_pixels).tolist() == [[3, 4], [5, 6]]
    assert not found.frames(slice(None))[:, 5, 6].any()


def test_ptypy_chunks_in_files_of_their_own(scan, pixel, probe, tmp_path):
    """``save: link`` leaves external links; frames are read through them, also when they stay in their files."""
    write_ptyd(tmp_path / "whole.ptyd", scan, pixel)
    with h5py.File(tmp_path / "whole.ptyd") as whole, h5py.File(tmp_path / "scan.ptyd", "w") as file:
        whole.copy("meta", file)
        for name in whole["chunks"]:
            with h5py.File(tmp_path / f"scan.ptyd.part00{name}", "w") as part:
                for key in whole[f"chunks/{name}"]:
                    whole.copy(f"chunks/{name}/{key}", part)
            file[f"chunks/{name}"] = h5py.ExternalLink(f"scan.ptyd.part00{name}", "/")
    assert_same(read_scan(tmp_path / "scan.ptyd", probe=probe), scan)
    lazy = reading.read(tmp_path / "scan.ptyd", Reading(in_memory=0)).counts
    assert isinstance(lazy, Frames)
    np.testing.assert_array_equal(lazy[np.array([20, 3])], scan.counts[[20, 3]])


def test_ptypy_says_where_it_differs(scan, pixel, tmp_path):
    write_ptyd(tmp_path / "near.ptyd", scan, pixel, propagation=b"nearfield")
    with pytest.raises(PtychoError, match=r"near-field data \(meta/propagation is nearfield\)"):
        read_scan(tmp_path / "near.ptyd")
    write_ptyd(tmp_path / "bare.ptyd", scan, pixel, energy=None)
    with pytest.raises(PtychoError, match="meta/energy: not there; a positive number is needed"):
        read_scan(tmp_path / "bare.ptyd")
    write_ptyd(tmp_path / "shifted.ptyd", scan, pixel, center=[12.0, 20.0])
    notes = reading.read(tmp_path / "shifted.ptyd").notes
    assert notes == ("meta/center: [12.0, 20.0]; the zero frequency is taken at [16, 16].",)

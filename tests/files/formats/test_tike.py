"""Scans of tike."""

from pathlib import Path

import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.scan.scan import Scan
from tests.files.writers import assert_same, corner_first


@pytest.mark.parametrize("older", [False, True], ids=["newer", "with an axis of views"])
def test_tike(scan, tmp_path, older):
    """Zero frequency at [0, 0]; ``scan`` is the corner of a patch; the probe is (1, 1, modes, N, N)."""
    data, corners = corner_first(scan.counts).astype(np.float32), scan.positions - scan.N / 2
    psi, probe = scan.object, scan.probe[None, None]
    arrays = {"data": data, "scan": corners, "psi": psi, "probe": probe[None] if older else probe}
    if older:
        arrays |= {name: arrays[name][None] for name in ("data", "scan", "psi")}
    np.savez(tmp_path / "tike.npz", **arrays)
    found = read_scan(tmp_path / "tike.npz")
    assert_same(found, scan)
    np.testing.assert_array_equal(found.positions, scan.positions)
    np.testing.assert_array_equal(found.object, scan.object)
    with pytest.raises(PtychoError, match="data: not there; a file of tike has data and scan"):
        read_scan(probe_only(tmp_path, scan), format="tike")


def probe_only(folder: Path, scan: Scan) -> Path:
    np.savez(folder / "probe.npz", probeGuess=scan.probe)
    return folder / "probe.npz"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scan": np.ones((5, 2))}, r"positions: shape \(5, 2\)"),
        ({"scan": np.ones((22, 3))}, r"scan: shape \(22, 3\).* two numbers per frame"),
        ({"data": np.ones((32, 32))}, r"data: shape \(32, 32\)"),
        ({"probe": np.array("light")}, "probe: dtype <U5; complex numbers are needed"),
        ({"probe": None}, "holds no probe; give one by --probe FILE"),
    ],
)
def test_a_wrong_file_of_tike_is_one_sentence(scan, tmp_path, changes, words):
    arrays = {"data": scan.counts, "scan": scan.positions, "probe": scan.probe} | changes
    np.savez(tmp_path / "tike.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(PtychoError, match=words):
        read_scan(tmp_path / "tike.npz")

"""Results of other programs as sources: object, probe and positions must reproduce the frames they were made of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.files.reading import read
from ptychopinn.files.record import Record
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan
from tests.files.results.writers import BORDER, PIXEL_M, WRITERS


def frames_of(record: Record) -> torch.Tensor:
    """Expected frames (n, N, N) of what a record holds."""
    assert record.object is not None
    assert record.positions is not None
    assert record.probe is not None
    patches = extract_patches(
        torch.from_numpy(record.object.astype(np.complex64)),
        torch.from_numpy(record.positions),
        record.probe.shape[-1],
    )
    return diffract(torch.from_numpy(record.probe.astype(np.complex64)), patches)


@pytest.mark.parametrize("name", WRITERS)
def test_a_result_reproduces_the_frames(tmp_path: Path, tiny_scan: Scan, name: str) -> None:
    WRITERS[name](tmp_path / name, tiny_scan)
    record = read(tmp_path / name)
    expected = frames_of(Record("", positions=tiny_scan.positions, probe=tiny_scan.probe, object=tiny_scan.object))
    found = frames_of(record)
    if name.startswith("model"):  # PtyRAD's probe has unit power
        found = found * (abs(tiny_scan.probe) ** 2).sum()
        assert any("not in photons" in note for note in record.notes)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3 * float(expected.mean()))
    np.testing.assert_allclose(record.positions, tiny_scan.positions + BORDER, atol=1e-4)
    np.testing.assert_allclose(record.pixel_m, PIXEL_M, rtol=1e-6)
    if record.origin_m is not None:  # the metre of the file that coordinate 0 has
        assert record.metric

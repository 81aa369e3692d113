"""Numbers of any byte order and precision, in memory and in a file, reach torch as the same numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.scan.dtypes import plain_dtype
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan

TYPES = ["<u2", ">u2", ">i2", ">u4", ">i4", ">f4", ">f8", "f2", "i8", "u8", ">u8", "g", "b1", "u1"]
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda values: values,
    "Fortran order": np.asfortranarray,
    "mirrored twice": lambda values: np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1],
    "every second": lambda values: np.repeat(values, 2, axis=0)[::2],
}


def whole(scan: Scan, dtype: str) -> np.ndarray:
    """Counts that the type can hold: at most 1 for booleans."""
    largest = 1 if dtype == "b1" else 100
    return np.minimum(scan.counts, largest).astype(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
def test_frames_in_memory(tiny_scan: Scan, dtype: str, layout: str) -> None:
    counts = LAYOUTS[layout](whole(tiny_scan, dtype))
    scan = replace(tiny_scan, counts=counts)
    np.testing.assert_array_equal(scan.frames(slice(None)).numpy(), counts.astype(np.float32))
    np.testing.assert_array_equal(scan.crop(16).compact_frames(np.array([3, 1])).numpy(), counts[[3, 1], 8:24, 8:24])
    np.testing.assert_array_equal(scan.totals, counts.astype(np.float64).sum(axis=(1, 2)))


@pytest.mark.parametrize("dtype", [name for name in TYPES if name != "g"])
def test_frames_in_a_file(tiny_scan: Scan, tmp_path: Path, dtype: str) -> None:
    counts = whole(tiny_scan, dtype)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = counts
    with hdf5.opened(tmp_path / "frames.h5") as file:
        lazy = hdf5.frames_of(hdf5.stack(file["frames"]), in_memory=0)
    assert isinstance(lazy, Frames)
    scan = replace(tiny_scan, counts=lazy)
    np.testing.assert_array_equal(scan.frames(slice(5, 60)).numpy(), counts[5:60].astype(np.float32))
    assert scan.compact_frames(np.array([9, 2])).numpy().tolist() == counts[[9, 2]].astype(np.float64).tolist()


@pytest.mark.parametrize("real", [">f8", ">f4", "g"])
def test_positions_probe_and_object(tiny_scan: Scan, real: str) -> None:
    def changed(values: np.ndarray) -> Any:
        return values.astype(real if values.dtype.kind == "f" else np.result_type(real, np.complex64).newbyteorder(">"))

    parts = {name: changed(getattr(tiny_scan, name)) for name in ("positions", "probe", "object")}
    scan = replace(tiny_scan, **parts)
    np.testing.assert_allclose(scan.canvas_positions, tiny_scan.canvas_positions, atol=1e-4)
    np.testing.assert_allclose(scan.probe, tiny_scan.probe, rtol=1e-6)
    assert scan.probe_diameter == pytest.approx(tiny_scan.probe_diameter, rel=1e-5)
    assert scan.positions.dtype == np.float64


def test_text_as_positions_is_refused(tiny_scan: Scan) -> None:
    with pytest.raises(PtychoError, match="positions: dtype <U32; numbers are needed"):
        replace(tiny_scan, positions=tiny_scan.positions.astype(str))


@pytest.mark.parametrize(
    ("stored", "needed"), [(">f4", "f4"), ("f2", "f4"), ("g", "f8"), ("G", "c16"), (">c8", "c8"), (">i2", "i2")]
)
def test_type(stored: str, needed: str) -> None:
    found = plain_dtype(np.dtype(stored))
    assert found == np.dtype(needed)
    assert found.isnative

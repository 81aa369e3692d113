"""NPZ files of tike. Read only."""

from pathlib import Path

import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz import load_arrays
from ptychopinn.files.record import NO_PROBE, Array, Record, as_complex, as_modes, pairs


def read_tike(path: Path) -> Record:
    """NPZ with ``data`` (n, N, N), zero frequency at [0, 0], and ``scan`` (n, 2), (row, col) of the patch corner.

    Older files have an axis of views, of length 1, before the others.
    """
    arrays = load_arrays(path)
    try:
        missing = [name for name in ("data", "scan") if name not in arrays]
        if missing:
            raise PtychoError(f"{missing[0]}: not there; a file of tike has data and scan.")
        data, scan = _one_view(arrays["data"], 3), _one_view(arrays["scan"], 2)
        if data.ndim != 3 or data.dtype.kind not in "uif":
            raise PtychoError(f"data: shape {data.shape}, dtype {data.dtype}; real frames (n, N, N) are needed.")
        corners = pairs(scan, "scan")
        return Record(
            "tike",
            counts=np.fft.fftshift(data, axes=(1, 2)),
            positions=corners + np.array(data.shape[1:]) / 2,
            probe=as_modes(as_complex(arrays["probe"], "probe")) if "probe" in arrays else None,
            object=as_complex(_one_view(arrays["psi"], 2), "psi") if "psi" in arrays else None,
            notes=("tike: zero frequency moved from [0, 0] to the middle; positions from patch corners to centres.",),
            absent={"probe": NO_PROBE},
            frames_key="data",
        )
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def _one_view(values: Array, axes: int) -> Array:
    """Without the leading axis of length 1."""
    return values[0] if values.ndim == axes + 1 and len(values) == 1 else values

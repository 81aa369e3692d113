"""NPZ files of tike. Read only."""

from collections.abc import Mapping

import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files.record import NO_PROBE, Reading, Record
from ptychopinn.files.values import Array, as_complex, as_modes, as_pairs, as_stack


def read(file: Mapping[str, Array], how: Reading) -> Record:
    """NPZ with ``data`` (n, N, N), zero frequency at [0, 0], and ``scan`` (n, 2), (row, col) of the patch corner.

    Older files have an axis of views, of length 1, before the others.
    """
    missing = [name for name in ("data", "scan") if name not in file]
    if missing:
        raise PtychoError(f"{missing[0]}: not there; a file of tike has data and scan.")
    data = as_stack(file["data"], "data")
    corners = as_pairs(_one_view(file["scan"], 2), "scan")
    return Record(
        "tike",
        counts=np.fft.fftshift(data, axes=(1, 2)),
        positions=corners + np.array(data.shape[1:]) / 2,
        probe=as_modes(as_complex(file["probe"], "probe")) if "probe" in file else None,
        object=as_complex(_one_view(file["psi"], 2), "psi") if "psi" in file else None,
        notes=("tike: zero frequency moved from [0, 0] to the middle; positions from patch corners to centres.",),
        absent={"probe": NO_PROBE},
        frames_key="data",
    )


def _one_view(values: Array, axes: int) -> Array:
    """Without the leading axis of length 1."""
    return values[0] if values.ndim == axes + 1 and len(values) == 1 else values

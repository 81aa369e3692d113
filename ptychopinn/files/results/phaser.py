"""States of phaser (``iter*.h5``). Read only.

phaser takes lengths in angstrom, (y, x). ``corner`` is the position of object pixel [0, 0], and a patch of N pixels has
its middle, index (N - 1) / 2, on the position: in our pixels, whose patch centre is N / 2,
``y = (scan - corner) / sampling + 1/2``. Its Fourier transform is unitary, so sum |probe|^2 is in units of its frames.
"""

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.record import Reading, Record
from ptychopinn.files.results.parts import ABSENT, ANGSTROM, pair_of, pixel_of, stack_of, told, usable
from ptychopinn.files.values import as_product

KIND = "phaser_state"


def read(file: h5py.File, how: Reading) -> Record:
    """Read ``object/{data, sampling, corner}``, ``probe/data`` and ``scan``; each may be missing.

    Raises:
        PtychoError: naming the dataset.
    """
    kind = np.asarray(hdf5.array(hdf5.find(file, "type"))).tolist()
    kind = kind.decode(errors="replace") if isinstance(kind, bytes) else kind
    if kind != KIND:
        raise PtychoError(f"type: {kind!r}; {KIND!r} is needed.")
    probe, notes = None, []
    if "probe/data" in file:
        probe = stack_of(hdf5.find(file, "probe/data"))
    if "object/data" not in file:
        return Record("phaser", probe=probe, absent=ABSENT)
    layers = stack_of(hdf5.find(file, "object/data"))
    notes += told(len(layers), 1)
    pixel = pixel_of(hdf5.find(file, "object/sampling"), ANGSTROM)
    corner = ANGSTROM * pair_of(hdf5.find(file, "object/corner"))
    positions, name = None, "scan/data" if isinstance(file.get("scan"), h5py.Group) else "scan"  # 0.2, 0.1
    if name in file:
        scan = usable(hdf5.array(hdf5.find(file, name)), name)
        positions = (ANGSTROM * scan - corner) / np.array(pixel) + 0.5
    origin = corner - np.array(pixel) / 2
    return Record(
        "phaser",
        positions=positions,
        probe=probe,
        object=as_product(layers),
        pixel_m=pixel,
        origin_m=(float(origin[0]), float(origin[1])),
        metric=True,
        notes=tuple(notes),
        absent=ABSENT,
    )

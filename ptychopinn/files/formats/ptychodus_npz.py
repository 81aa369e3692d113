"""NPZ files of ptychodus 1.7: its product, and its assembled frames. Read only.

The product has the names of the HDF5 product; what is an attribute of ``probe`` or ``object`` there has their name
before it here: ``object_pixel_width_m``. Source: ptychodus 1.7.0, ``plugins/npz_product_file.py``,
``plugins/npz_diffraction_file.py``.
"""

from dataclasses import replace
from typing import Final

import h5py

from ptychopinn.errors import PtychoError
from ptychopinn.files.formats import ptychodus
from ptychopinn.files.record import NO_FRAMES, NO_POSITIONS, Reading, Record
from ptychopinn.files.values import Array, as_good, check_frames

DATASETS: Final = (
    *("probe", "object", "object_layer_spacing_m", "opr_weights", "probe_photon_counts"),
    *("probe_position_indexes", "probe_position_x_m", "probe_position_y_m", "loss_epochs", "loss_values"),
)
ON_IMAGES: Final = {
    "probe": ("pixel_width_m", "pixel_height_m"),
    "object": ("pixel_width_m", "pixel_height_m", "center_x_m", "center_y_m"),
}
"""Attributes of the probe and the object."""

LOSSES_BEFORE: Final = "costs"
"""What older versions called ``loss_values``."""


def read_product(arrays: dict[str, Array], how: Reading) -> Record:
    """A product; its frames lie in another file.

    Raises:
        PtychoError: naming the array and what is needed.
    """
    if LOSSES_BEFORE in arrays:
        arrays.setdefault("loss_values", arrays[LOSSES_BEFORE])
    # The same values under the names of the HDF5 product, in memory: one reader, one convention.
    with h5py.File("product", "w", driver="core", backing_store=False) as file:
        _as_hdf5(file, arrays)
        return replace(ptychodus.read_product(file, how), format="ptychodus-npz", absent={"counts": NO_FRAMES})


def _as_hdf5(file: h5py.File, arrays: dict[str, Array]) -> None:
    for name, values in arrays.items():
        if values.dtype.kind not in "biufcUS":
            raise PtychoError(f"{name}: dtype {values.dtype}; numbers or a text are needed.")
        if name in DATASETS:
            file[name] = values
        elif values.dtype.kind in "US":
            file.attrs[name] = str(values.reshape(-1)[0]) if values.size else ""
        elif values.size == 1:
            file.attrs[name] = values.reshape(())[()]
    for image, names in ON_IMAGES.items():
        if image not in file:
            continue
        for name in names:
            if (stored := f"{image}_{name}") in file.attrs:
                file[image].attrs[name] = file.attrs[stored]


def read_frames(arrays: dict[str, Array], how: Reading) -> Record:
    """Assembled frames: ``patterns``, their ``indexes`` and ``bad_pixels``."""
    check_frames(arrays["patterns"], "patterns")
    return Record(
        "ptychodus-frames-npz",
        counts=arrays["patterns"],
        good_pixels=as_good(arrays["bad_pixels"], "bad_pixels") if "bad_pixels" in arrays else None,
        extra={"indexes": arrays["indexes"]} if "indexes" in arrays else {},
        absent={"positions": NO_POSITIONS},
        frames_key="patterns",
    )

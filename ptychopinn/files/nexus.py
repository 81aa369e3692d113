"""NeXus in HDF5 files, by which viewers (silx, h5web, napari, nexpy) find what to show.

A viewer follows ``default`` from the file to an NXentry, from there to an NXdata, and draws its ``signal`` over its
``axes``, with ``<signal>_errors`` as error bars (NeXus manual, NXdata, 2024).
"""

from importlib import metadata
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.reconstruction import Reconstruction

ENTRY: Final = "entry"

PLOTS: Final = {
    "phase": ("phase of the object", "rad"),
    "amplitude": ("amplitude of the object", ""),
    "coverage": ("light on each pixel", "photons"),
}
"""What each plot of a reconstruction shows, and its unit; the first is shown at once."""


def add_plots(file: h5py.File, result: Reconstruction, provenance: str | None) -> None:
    """Add phase, amplitude and coverage of an image as plots of their own, and what made them.

    Axes are in metres, or in pixels where their size is not known; pixels without light are NaN.

    Args:
        file: to add the group ``entry`` to.
        result: the image.
        provenance: JSON text of command, version and settings, if known.
    """
    _is_a(file, "NXroot", default=ENTRY)
    entry = file.create_group(ENTRY)
    _is_a(entry, "NXentry", default=next(iter(PLOTS)))
    entry["title"] = "Reconstruction"
    lit = result.coverage > 0
    values = {
        "phase": np.where(lit, np.angle(result.object), np.nan).astype(np.float32),
        "amplitude": np.where(lit, np.abs(result.object), np.nan).astype(np.float32),
        "coverage": None,
    }
    for name, (title, units) in PLOTS.items():
        plot = entry.create_group(name)
        _is_a(plot, "NXdata", signal=name, axes=["y", "x"], y_indices=0, x_indices=1)
        plot["title"] = title
        if (image := values[name]) is None:
            plot[name] = h5py.SoftLink(f"/{name}")
        else:
            plot.create_dataset(name, data=image, compression="gzip", compression_opts=1, shuffle=True)
        plot[name].attrs.update({"units": units, "long_name": f"{name} ({units})" if units else name})
        if f"{name}_std" in file:
            plot[f"{name}_errors"] = h5py.SoftLink(f"/{name}_std")
        for axis, (start, count) in enumerate(zip(result.origin, result.object.shape, strict=True)):
            _axis(plot, "yx"[axis], start + np.arange(count), result.pixel_size_m)
    _process(entry, provenance)


def mark(file: h5py.File, classes: dict[str, str]) -> None:
    """Give the groups of a file their NeXus classes; an NXdata, or NXentry, shows its member ``data`` first.

    Args:
        file: with the groups, or some of them.
        classes: class of each, by path; outer ones first.
    """
    _is_a(file, "NXroot")
    for path, name in classes.items():
        if path not in file:
            continue
        _is_a(file[path], name)
        if name == "NXdata" and "data" in file[path]:
            # Axes without values; the names that CXI gives to the axes of an image would be taken for datasets.
            file[path].attrs.update({"signal": "data", "axes": ["."] * file[path]["data"].ndim})
            parent, _, own = path.rpartition("/")
            file[parent].attrs.setdefault("default", own)
            file.attrs.setdefault("default", parent)


def _is_a(group: h5py.Group, name: str, **more: Any) -> None:
    group.attrs.update({"NX_class": name, **more})


def _axis(plot: h5py.Group, name: str, pixels: NDArray[np.int64], size: float | None) -> None:
    units = "px" if size is None else "m"
    plot[name] = pixels * (1.0 if size is None else size)
    plot[name].attrs.update({"units": units, "long_name": f"{name} ({units})"})


def _process(entry: h5py.Group, provenance: str | None) -> None:
    """Program and version, and the settings as they stand in ``provenance.json``."""
    process = entry.create_group("process")
    _is_a(process, "NXprocess")
    process["program"], process["version"] = "ptychopinn", metadata.version("ptychopinn")
    if provenance is None:
        return
    note = process.create_group("settings")
    _is_a(note, "NXnote")
    note["type"], note["data"] = "application/json", provenance

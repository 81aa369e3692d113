"""Scans of electrons: what changes in a record when the user gives a voltage, and the probe of a lens."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import WARNING, PtychoError
from ptychopinn.files.geometry.microscope import Microscope
from ptychopinn.files.geometry.pixels import in_pixels
from ptychopinn.files.record import ELECTRON_ENERGY, Record
from ptychopinn.physics.wavelength import energy
from ptychopinn.scan.frames import blocks

LARGEST_PHOTON_EV: Final = 6e4
"""Energy from which on a scan is more likely one of electrons: no X-ray ptychography has been done there."""

LARGEST_ELECTRON_EV: Final = 1e8
"""No microscope has more."""

RASTERS: Final = ("py4dstem", "ptyrad", "quantem", "npy", "empad")
"""Formats whose positions are a raster."""

ON_RASTERS: Final = ("scan_step", "scan_shape", "scan_rotation", "q_pixel")
"""Settings of a raster."""


def check_used(record: Record, given: Microscope) -> None:
    """Refuse settings of a raster for a file with positions of its own.

    Raises:
        PtychoError: naming the setting.
    """
    for name in ON_RASTERS:
        if getattr(given, name) is not None and record.format not in RASTERS:
            raise PtychoError(f"{name}: has no effect, the file has positions of its own; it is for a 4D-STEM raster.")


def as_written(record: Record, to: str) -> Record:
    """A record of electrons for a format whose programs know photons only; the others as they are.

    They are given the photons of the same wavelength, so that all lengths are right there, and the energy of the
    electrons beside it, which :func:`as_read` takes.
    """
    if record.particle == "photon" or record.wavelength_m is None:
        return record
    extra = dict(record.extra) | {ELECTRON_ENERGY: record.energy_eV}
    if to == "npz":
        return replace(record, energy_eV=None, particle="photon", extra=extra)
    remark = f"ptychopinn: electrons of {record.energy_eV:g} eV, written as photons of their wavelength."
    said = str(extra.get("comments", ""))
    extra["comments"] = said if remark in said else f"{said} {remark}".strip()
    note = f"{to} knows photons only: the electrons' wavelength is kept, their energy is {ELECTRON_ENERGY} in the file."
    photons = energy(record.wavelength_m, "photon")
    return replace(record, energy_eV=photons, particle="photon", extra=extra, notes=(*record.notes, note))


def as_read(record: Record) -> Record:
    """A record of electrons, where :func:`as_written` left their energy."""
    stored = record.extra.get(ELECTRON_ENERGY)
    if not isinstance(stored, int | float) or not 0 < stored < LARGEST_ELECTRON_EV:
        return record
    return replace(record, energy_eV=float(stored), particle="electron")


def as_electrons(record: Record, given: Microscope) -> Record:
    """A record as one of electrons, where the user gives their voltage; a line where photons are hard to believe.

    An object pixel that was worked out from the energy of photons is worked out anew, and so are positions in metres.
    """
    if given.energy_eV is None or record.format in RASTERS:
        return _doubted(record)
    before = record.energy_eV
    found = replace(record, particle="electron", energy_eV=given.energy_eV)
    if before is None or record.pixel_m is None or record.object is not None:
        return found
    if record.particle == "electron" and np.isclose(before, given.energy_eV, rtol=1e-6):
        return found
    if (pixel := record.far_field_pixel) is None or not np.allclose(pixel, record.pixel_m, rtol=1e-3, atol=0):
        return found
    assert found.wavelength_m is not None and record.wavelength_m is not None
    shorter = found.wavelength_m / record.wavelength_m
    pixel = pixel[0] * shorter, pixel[1] * shorter
    note = f"The object pixel is that of electrons of {given.voltage:g} kV; the file has another energy."
    found = replace(found, notes=(*found.notes, note))
    if record.positions is None or record.origin_m is None or not record.metric or record.counts is None:
        return replace(found, pixel_m=pixel)
    places = np.asarray(record.origin_m) + record.positions * record.pixel_m
    return in_pixels(found, places, pixel)


def _doubted(record: Record) -> Record:
    told = (record.energy_eV or 0) / 1e3
    if record.particle == "electron" or record.made_up or 1e3 * told < LARGEST_PHOTON_EV:
        return record
    note = (
        f"{WARNING}energy {told:g} keV is taken as that of photons; if the scan is one of electrons, give "
        f"--set voltage={told:g}, and the object pixel is another one."
    )
    doubted = f"the energy may be that of electrons (--set voltage={told:g})"
    return replace(record, notes=(*record.notes, note), doubted=(*record.doubted, doubted))


def with_lens_probe(record: Record, given: Microscope) -> Record:
    """A record with the probe of a lens, where the user gives its semi-angle; its power is that of a mean frame.

    Raises:
        PtychoError: when frames, wavelength or object pixel are not known, or the aperture is wider than a frame.
    """
    if given.semiangle is None:
        if given.defocus is not None:
            raise PtychoError("defocus: has no effect without semiangle, the aperture's; give both, or none.")
        return record
    if record.counts is None or record.pixel_m is None or record.wavelength_m is None:
        need = "frames" if record.counts is None else "voltage" if record.wavelength_m is None else "an object pixel"
        raise PtychoError(f"semiangle: {need} is needed to make a probe of it, and is not known.")
    shape = record.counts.shape[-2:]
    step = (1 / (shape[0] * record.pixel_m[0]), 1 / (shape[1] * record.pixel_m[1]))
    edge = given.semiangle * 1e-3 / record.wavelength_m
    reach = min(shape[0] * step[0], shape[1] * step[1]) / 2
    if edge > reach:
        most = 1e3 * reach * record.wavelength_m
        raise PtychoError(f"semiangle: {given.semiangle:g} mrad given; the frames reach to {most:.3g} mrad only.")
    defocus, power = given.defocus_m() or 0.0, np.sqrt(_mean_total(record))
    from ptychopinn.physics.aperture import aperture_probe  # torch takes a second to import

    probe = aperture_probe((shape[0], shape[1]), step, record.wavelength_m, given.semiangle * 1e-3, defocus).numpy()
    note = f"Probe of an aperture of {given.semiangle:g} mrad, defocus {1e9 * defocus:g} nm."
    return replace(record, probe=(power * probe).astype(np.complex64), notes=(*record.notes, note))


def _mean_total(record: Record) -> float:
    """Electrons in a mean frame, of at most one block of frames spread over the scan."""
    assert record.counts is not None
    count = len(record.counts)
    size = next(blocks(record.counts.shape)).stop
    rows: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(size, count)).astype(np.int64))
    frames = np.asarray(record.counts[rows], dtype=np.float64)
    if record.good_pixels is not None:
        frames = frames * record.good_pixels
    return float(frames.sum() / len(rows))

"""The probe of optics that the user describes: zone plate, pinhole, Gaussian; and a given probe moved or resampled."""

import re
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.conventions.units import dimension_of, unit
from ptychopinn.files.geometry.microscope import NUMBER
from ptychopinn.files.record import Record
from ptychopinn.files.values import object_pixel
from ptychopinn.physics.aperture import aperture_probe, pinhole_probe
from ptychopinn.physics.probe import normalise_probe
from ptychopinn.physics.start_probes import gaussian_probe, propagated, resampled
from ptychopinn.physics.wavelength import wavelength
from ptychopinn.text import readable, readable_length

OPTICS: Final = ("zone-plate", "aperture", "gaussian")
"""Kinds of optics."""

NEEDED: Final = {
    "zone-plate": ("aperture_diameter", "focal_length"),
    "aperture": ("aperture_diameter",),
    "gaussian": ("aperture_diameter",),
}
USED: Final = {
    "zone-plate": ("aperture_diameter", "focal_length", "central_stop", "defocus"),
    "aperture": ("aperture_diameter", "defocus"),
    "gaussian": ("aperture_diameter", "defocus"),
}
"""Settings that describe each kind, and those of them that must be given."""

SAME_PIXEL = 1e-3
"""Relative difference of pixels that are one."""


class Beam(NamedTuple):
    """Wavelength, and the object pixel (square) of frames of N pixels; None where not known."""

    size: int
    pixel_m: float | None
    wavelength_m: float | None

    def known(self, kind: str) -> tuple[float, float]:
        """Pixel and wavelength in metres.

        Raises:
            PtychoError: naming what to give.
        """
        if self.wavelength_m is None:
            raise PtychoError(
                f"{kind}: the energy is not known; give --photon-energy '8.8 keV', or --set voltage=300 (kV)."
            )
        if self.pixel_m is None:
            raise PtychoError(
                f"{kind}: the object pixel is not known; give --pixel-size M, or --detector-distance "
                "and --detector-pixel."
            )
        return self.pixel_m, self.wavelength_m


def quantity(text: str, name: str, *dimensions: str) -> tuple[float, str]:
    """A number with its unit, in metres, electronvolts or pixels; and the text of the unit.

    Raises:
        PtychoError: naming the setting.
    """
    found = re.fullmatch(rf"\s*({NUMBER})\s*([^\d\s]\S*)\s*", text)
    example = {"energy": "8.8 keV", "pixels": "12 px"}.get(dimensions[-1], "180 um")
    if found is None:
        raise PtychoError(f"{name}: {shortened(text)!r} given; a number and its unit are needed, as '{example}'.")
    return float(found[1]) * unit(found[2], name, *dimensions), found[2]


def length(settings: dict[str, str | None], name: str, signed: bool = False) -> float | None:
    """A length in metres; None where it is not given."""
    if (text := settings.get(name)) is None:
        return None
    value, _ = quantity(text, name, "length")
    if not (signed or value > 0):
        raise PtychoError(f"{name}: {shortened(text)!r} given; it must be positive.")
    return value


def beam_of(record: Record, size: int, pixel_m: float | None, settings: dict[str, str | None]) -> Beam:
    """What is known of the beam, by the file or else by the user.

    Args:
        record: of the file; its electrons keep their wavelength.
        size: edge of the frames.
        pixel_m: object pixel of the scan, where it is known.
        settings: photon_energy, detector_distance, detector_pixel.
    """
    energy, particle = record.energy_eV, record.particle
    if energy is None and settings.get("photon_energy") is not None:
        energy, _ = quantity(str(settings["photon_energy"]), "photon_energy", "energy")
        if not energy > 0:
            raise PtychoError(f"photon_energy: {settings['photon_energy']!r} given; it must be positive.")
    distance = record.distance_m or length(settings, "detector_distance")
    edge = length(settings, "detector_pixel")
    detector = record.detector_pixel_m or (None if edge is None else (edge, edge))
    if pixel_m is None and energy and distance and detector:
        pixel_m = float(np.mean(object_pixel(energy, distance, detector, (size, size), particle)))
    return Beam(size, pixel_m, wavelength(energy, particle) if energy else None)


def optics_probe(kind: str, beam: Beam, settings: dict[str, str | None]) -> tuple[torch.Tensor, str]:
    """The probe (1, N, N) of optics, of unit power, and a sentence about it.

    Raises:
        PtychoError: for a description that is not complete, or optics that the frames cannot show.
    """
    _check_described(kind, settings)
    defocus, text = length(settings, "defocus", signed=True) or 0.0, str(settings["aperture_diameter"])
    if kind == "zone-plate":
        return _zone_plate(beam, settings, defocus), f"Probe of a zone plate of {text}{_at(defocus)}."
    diameter = _in_pixels(text, beam)
    pixel, wave = beam.known(kind) if defocus else (1.0, 1.0)
    if kind == "aperture":
        made = pinhole_probe(beam.size, (pixel, pixel), diameter * pixel, wave, defocus)
    else:
        made = gaussian_probe(beam.size, diameter)
        made = propagated(made, (pixel, pixel), wave, -defocus) if defocus else made
    return made, f"Probe of {'a pinhole' if kind == 'aperture' else 'a Gaussian'} of {text}{_at(defocus)}."


def _check_described(kind: str, settings: dict[str, str | None]) -> None:
    for name in NEEDED[kind]:
        if settings.get(name) is None:
            raise PtychoError(f"--probe-from {kind}: needs --{name.replace('_', '-')}.")
    for name in ("focal_length", "central_stop"):
        if settings.get(name) is not None and name not in USED[kind]:
            raise PtychoError(f"{name}: has no effect with --probe-from {kind}; omit it.")


def _in_pixels(text: str, beam: Beam) -> float:
    """A diameter in object pixels."""
    diameter, told = quantity(text, "aperture_diameter", "length", "pixels")
    if dimension_of(told) == "length":
        if beam.pixel_m is None:
            raise PtychoError(
                f"aperture_diameter: {text} given, and the object pixel is not known; give --pixel-size M, or a "
                "diameter in pixels, '12 px'."
            )
        diameter /= beam.pixel_m
    if not 2 <= diameter <= beam.size:
        raise PtychoError(
            f"aperture_diameter: {text} is {readable(diameter)} object pixels; 2 to {beam.size}, the edge of the "
            "frames, can be shown."
        )
    return diameter


def _at(defocus: float) -> str:
    return f", defocus {readable_length(defocus)}" if defocus else ""


def _zone_plate(beam: Beam, settings: dict[str, str | None], defocus: float) -> torch.Tensor:
    pixel, wave = beam.known("zone-plate")
    diameter, focal = length(settings, "aperture_diameter"), length(settings, "focal_length")
    stop = length(settings, "central_stop") or 0.0
    assert diameter is not None and focal is not None
    if stop >= diameter:
        raise PtychoError(
            f"central_stop: {settings['central_stop']} given; less than the {settings['aperture_diameter']} of the "
            "zone plate is needed."
        )
    frequency = 1 / (beam.size * pixel)
    semiangle, reach = diameter / (2 * focal), beam.size * frequency * wave / 2
    if semiangle > reach:
        raise PtychoError(
            f"aperture_diameter: the zone plate opens {1e3 * semiangle:.3g} mrad; the frames reach to "
            f"{1e3 * reach:.3g} mrad only; check diameter, focal length, energy and pixel size."
        )
    edge = (frequency, frequency)
    return aperture_probe((beam.size, beam.size), edge, wave, semiangle, defocus, stop / (2 * focal))


def fitted_to(
    probe: NDArray[np.complex64], beam: Beam, pixel_m: float | None, refocus: float | None
) -> tuple[NDArray[np.complex64], list[str]]:
    """A given probe for the frames of another scan: on its pixels, and moved down the beam.

    Args:
        probe: (m, M, M).
        beam: of the scan.
        pixel_m: object pixel of the probe; taken for that of the scan where one of them is not known.
        refocus: metres down the beam.
    """
    field, notes, size = torch.from_numpy(probe), [], probe.shape[-1]
    zoom = beam.pixel_m / pixel_m if beam.pixel_m and pixel_m else 1.0
    if size != beam.size or abs(zoom - 1) > SAME_PIXEL:
        field = resampled(field, beam.size, (zoom, zoom))
        notes.append(f"Probe resampled from {size} to {beam.size} pixels, each {zoom:.4g} times as wide.")
    if refocus:
        pixel, wave = beam.known("refocus")
        field = propagated(field, (pixel, pixel), wave, refocus)
        notes.append(f"Probe moved {readable_length(refocus)} down the beam.")
    return normalise_probe(field, float(np.sum(np.abs(probe) ** 2))).numpy().astype(np.complex64), notes

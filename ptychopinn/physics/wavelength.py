"""Wavelength of photons and of electrons from their energy, and back."""

import math
from typing import Final, Literal

Particle = Literal["photon", "electron"]

HC_EV_M: Final = 1.239841984332e-06
"""Photon energy times wavelength, eV m (CODATA 2018, exact to the digits given)."""

ELECTRON_REST_EV: Final = 510998.95
"""Rest energy of the electron, eV (CODATA 2018)."""


def wavelength(energy_eV: float, particle: Particle = "photon") -> float:
    """Wavelength in metres.

    Photons: ``h c / E``. Electrons of kinetic energy E = e V: ``h c / sqrt(E (E + 2 m c^2))``, which is
    ``h / sqrt(2 m e V (1 + e V / (2 m c^2)))``; 300 keV gives 1.9687 pm (Reimer, Transmission Electron Microscopy).

    Args:
        energy_eV: energy of the photon, or kinetic energy of the electron; positive.
        particle: which of them.
    """
    if particle == "photon":
        return HC_EV_M / energy_eV
    return HC_EV_M / math.sqrt(energy_eV * (energy_eV + 2 * ELECTRON_REST_EV))


def energy(wavelength_m: float, particle: Particle = "photon") -> float:
    """Energy in electronvolts of a photon, or kinetic energy of an electron, of a wavelength in metres."""
    momentum = HC_EV_M / wavelength_m
    if particle == "photon":
        return momentum
    return math.sqrt(momentum**2 + ELECTRON_REST_EV**2) - ELECTRON_REST_EV

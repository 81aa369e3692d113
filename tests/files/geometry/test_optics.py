"""Probes of optics that the user describes."""

import numpy as np
import pytest
import torch

from ptychopinn.errors import PtychoError
from ptychopinn.files.geometry.optics import Beam, beam_of, fitted_to, optics_probe, quantity
from ptychopinn.files.record import Record
from ptychopinn.physics.probe import curved_disc, probe_intensity, probe_power
from ptychopinn.physics.start_probes import alike, far_field
from ptychopinn.scan.probe.light import width

BEAM = Beam(64, 40e-9, 1.55e-10)
PLATE = {"aperture_diameter": "180 um", "focal_length": "200 mm"}


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("180 um", "length", 180e-6),
        ("52mm", "length", 0.052),
        ("8.8 keV", "energy", 8800),
        ("-2e1 nm", "length", -2e-8),
    ],
)
def test_a_quantity_has_a_unit(text, dimension, value):
    assert quantity(text, "it", dimension)[0] == pytest.approx(value)


@pytest.mark.parametrize("text", ["180", "um", "180 keV", "1 2 um", "", "nan um", "180 furlong"])
def test_a_length_without_a_unit_is_refused(text):
    with pytest.raises(PtychoError, match=r"^it: .*needed"):
        quantity(text, "it", "length")


def test_electrons_have_their_relativistic_wavelength():
    electrons = Record("npz", energy_eV=300e3, particle="electron")
    assert beam_of(electrons, 64, 1e-11, {}).wavelength_m == pytest.approx(1.9687e-12, rel=1e-4)
    told = {"photon_energy": "8 keV", "detector_distance": "2 m", "detector_pixel": "75 um"}
    photons = beam_of(Record("npz"), 64, None, told)
    assert photons.wavelength_m == pytest.approx(1.5498e-10, rel=1e-4)
    assert photons.pixel_m == pytest.approx(1.5498e-10 * 2 / (64 * 75e-6), rel=1e-4)


def test_a_zone_plate_lights_the_ring_of_its_pupil():
    """Half the diameter over focal length and wavelength is the frequency of the edge, 1 / (N pixel) wide pixels."""
    probe, note = optics_probe("zone-plate", BEAM, {**PLATE, "central_stop": "60 um", "defocus": "90 um"})
    assert "zone plate of 180 um" in note
    light = probe_intensity(far_field(probe))[32]
    edge = 90e-6 / 0.2 / 1.55e-10 * 64 * 40e-9
    lit = torch.nonzero(light > 0.5 * light.max()).flatten() - 32
    assert int(lit.max()) == pytest.approx(edge, abs=1)
    assert int(lit.abs().min()) == pytest.approx(edge / 3, abs=1)


def test_a_pinhole_and_a_gaussian_have_their_diameter():
    pinhole, _ = optics_probe("aperture", BEAM, {"aperture_diameter": "0.8 um"})
    assert width(pinhole.numpy()) == pytest.approx(20, abs=0.5)
    gaussian, _ = optics_probe("gaussian", Beam(64, None, None), {"aperture_diameter": "12 px"})
    assert width(gaussian.numpy()) == pytest.approx(12, abs=0.6)
    assert float(probe_power(gaussian).sum()) == pytest.approx(1, abs=1e-5)


REFUSED = {
    "no focal length": ("zone-plate", BEAM, {"aperture_diameter": "180 um"}, "focal-length"),
    "no energy": ("zone-plate", Beam(64, 4e-8, None), PLATE, "--photon-energy"),
    "no pixel": ("zone-plate", Beam(64, None, 1.5e-10), PLATE, "--pixel-size"),
    "too wide": ("zone-plate", BEAM, {**PLATE, "focal_length": "20 mm"}, "mrad"),
    "stop too wide": ("zone-plate", BEAM, {**PLATE, "central_stop": "200 um"}, "less than"),
    "not for a pinhole": ("aperture", BEAM, {"aperture_diameter": "1 um", "focal_length": "1 m"}, "no effect"),
    "too small": ("aperture", BEAM, {"aperture_diameter": "1 nm"}, "object pixels"),
    "negative": ("gaussian", BEAM, {"aperture_diameter": "-12 px"}, "object pixels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_optics_that_make_no_probe_are_refused(case):
    kind, beam, settings, words = REFUSED[case]
    with pytest.raises(PtychoError, match=words):
        optics_probe(kind, beam, settings)


def test_a_given_probe_comes_to_the_pixels_of_the_scan_and_back():
    probe = (30 * curved_disc(64, 10.0, 2.0)).numpy()
    there, notes = fitted_to(probe, BEAM, 50e-9, None)
    assert "0.8 times" in notes[0]
    assert there.shape == probe.shape
    assert width(there) == pytest.approx(1.25 * width(probe), rel=0.05)
    assert np.sum(np.abs(there) ** 2) == pytest.approx(np.sum(np.abs(probe) ** 2), rel=1e-4)
    back, _ = fitted_to(there, BEAM._replace(pixel_m=50e-9), 40e-9, None)
    assert alike(torch.from_numpy(back), torch.from_numpy(probe)) > 0.99
    moved, notes = fitted_to(probe, BEAM, None, 2e-4)
    assert "down the beam" in notes[0]
    assert alike(torch.from_numpy(fitted_to(moved, BEAM, None, -2e-4)[0]), torch.from_numpy(probe)) > 0.999

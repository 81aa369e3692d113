"""The scale of a probe: photons are kept, any other unit ends at the same probe, a single frame decides nothing."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.probe_scale import SAMPLE, as_networks_see, brightest, light_of, with_probe_scale
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, siemens_star, simulate, smooth_lines

IMAGE = siemens_star(96)
PROBE = np.concatenate([curved_disc(32, 7.0, 2.5).numpy(), 0.3 * curved_disc(32, 5.0, -1.0).numpy()])


def scan_of(nphotons: float = 1e5, image: np.ndarray = IMAGE, step: float = 4.0) -> Scan:
    return simulate(image, PROBE, raster(image.shape, 32, step), nphotons)


def power(scan: Scan) -> float:
    return float((np.abs(scan.probe.astype(np.complex128)) ** 2).sum())


def times(scan: Scan, factor: float) -> Scan:
    """The scan with its probe in another unit, photons times ``factor``."""
    return replace(scan, probe=(scan.probe * np.sqrt(factor)).astype(np.complex64))


def assert_kept(scan: Scan, how: str = "auto") -> None:
    found = with_probe_scale(scan, how)
    assert found.probe is scan.probe
    assert (found.probe_factor, found.notes) == (scan.probe_factor, scan.notes)


@pytest.mark.parametrize("nphotons", [20.0, 1e3, 1e5, 1e9])
@pytest.mark.parametrize("image", [IMAGE, smooth_lines(96)], ids=["star", "lines"])
def test_a_probe_in_photons_is_kept_at_any_dose(nphotons, image):
    scan = scan_of(nphotons, image)
    assert_kept(scan)


@pytest.mark.parametrize("nphotons", [100.0, 1e9])
@pytest.mark.parametrize("unit", [1e-18, 1e-6, 0.05, 0.35, 0.7, 2.4, 3.0, 1e6])
def test_any_other_unit_ends_at_the_brightest_frames(nphotons, unit):
    scan = scan_of(nphotons)
    found = with_probe_scale(times(scan, unit))
    right = with_probe_scale(scan, "counts")
    np.testing.assert_allclose(found.probe, right.probe, rtol=1e-5, atol=1e-5 * np.abs(right.probe).max())
    assert 0.8 < power(found) / power(scan) < 1.02
    assert found.probe_factor == pytest.approx(np.sqrt(power(found) / (power(scan) * unit)), rel=1e-5)
    (note,) = found.notes
    assert "scaled to the" in note and "--probe-scale keep" in note
    # What was scaled once is plausible from then on, as are its parts.
    for part in (found, found.subset(slice(0, None, 2)), found.subset(slice(1, None, 3)), found.subset(slice(0, 40))):
        assert_kept(part)


def test_keep_counts_and_a_number():
    scan = times(scan_of(), 1e-4)
    assert_kept(scan, "keep")
    found = with_probe_scale(scan, 100.0)
    np.testing.assert_allclose(found.probe, 100 * scan.probe, rtol=1e-6)
    assert found.probe_factor == 100
    assert found.notes == (f"Probe multiplied by 100: {power(found):.2e} photons.".replace("e+0", "e"),)
    right = scan_of()
    assert with_probe_scale(right, "counts").probe_factor == pytest.approx(light_of(right).ratio ** -0.5)
    with pytest.raises(PtychoError, match="probe: sum"):
        with_probe_scale(scan, 1e30)


def test_a_probe_weaker_than_its_frames_is_never_plausible():
    """A transmission of at most 1 makes no photons."""
    scan = scan_of(1e6)
    bright = replace(scan, counts=scan.counts * 2)
    assert with_probe_scale(bright).probe_factor == pytest.approx(np.sqrt(2 / light_of(scan).ratio), rel=0.01)


@pytest.mark.parametrize("which", [0, 77, -1])
def test_one_frame_decides_nothing(which):
    scan = scan_of()
    counts = scan.counts.copy()
    counts[which] *= 30
    assert with_probe_scale(replace(scan, counts=counts)).probe_factor == 1
    few = scan.subset(slice(0, 3))
    counts = few.counts.copy()
    counts[1] *= 30
    assert with_probe_scale(replace(few, counts=counts)).probe_factor == 1


@pytest.mark.parametrize(("transmission", "factor"), [(0.75, 1), (0.6, 0.6)])
def test_an_absorber_may_take_half_of_the_light(transmission, factor):
    """Less light than that is another flux as likely."""
    scan = scan_of(image=(transmission * np.ones((96, 96))).astype(np.complex64))
    assert light_of(scan).ratio == pytest.approx(transmission**-2, rel=0.02)
    assert with_probe_scale(scan).probe_factor == pytest.approx(factor, rel=0.01)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_a_beam_stop_is_no_loss_of_light(width):
    scan = scan_of()
    good = np.ones((32, 32), bool)
    good[16 - width // 2 : 16 + width // 2, 16 - width // 2 : 16 + width // 2] = False
    masked = replace(scan, good_pixels=good)
    assert scan.photons / masked.photons > 1.1
    assert_kept(masked)
    found = with_probe_scale(times(masked, 1e-6))
    assert 0.6 < power(found) / power(scan) < 1.7


def test_what_cannot_be_told_is_left_alone():
    scan = times(scan_of(), 1e-6)
    dark = replace(scan, counts=np.zeros_like(scan.counts))
    assert light_of(dark) is None
    assert_kept(dark)
    assert as_networks_see(dark) == (dark, 1.0)


@pytest.mark.parametrize("photons", [3.0, 50.0, 1e4])
def test_the_brightest_of_equal_frames_are_those_of_the_mean(photons):
    """Poisson noise alone spreads them; the top of the noise is no light."""
    totals = np.random.default_rng(0).poisson(photons, SAMPLE).astype(float)
    assert brightest(totals) == pytest.approx(photons, rel=1 / np.sqrt(photons))
    assert np.quantile(totals, 0.95) > photons + 1.2 * np.sqrt(photons)


def test_the_brightest_of_unequal_frames_are_the_bright_ones():
    rng = np.random.default_rng(0)
    totals = rng.poisson(np.where(rng.random(SAMPLE) < 0.3, 1e4, 2e3)).astype(float)
    assert brightest(totals) == pytest.approx(1e4, rel=0.03)


@pytest.mark.parametrize("factor", [0.1, 1.0, 3.0])
def test_networks_see_the_same_frames_and_one_scale(factor):
    whole = with_probe_scale(scan_of())
    for scan in (whole, whole.subset(slice(0, 5)), replace(whole, brightest=None)):
        scan = replace(scan, probe=np.complex64(factor) * scan.probe)
        seen, found = as_networks_see(scan)
        np.testing.assert_allclose(seen.object * np.complex64(found), scan.object, rtol=1e-5)
        np.testing.assert_allclose(seen.probe, np.complex64(found) * scan.probe, rtol=1e-5)
        assert power(seen) == pytest.approx(light_of(whole).frames, rel=1e-4)
        assert (seen.notes, seen.probe_factor) == (scan.notes, scan.probe_factor)


def test_a_crop_takes_the_same_share_of_probe_and_frames():
    whole = with_probe_scale(scan_of())
    part = whole.crop(16)
    assert part.brightest / power(part) == pytest.approx(whole.brightest / power(whole), rel=1e-5)
    assert part.brightest == pytest.approx(light_of(part).frames, rel=0.05)

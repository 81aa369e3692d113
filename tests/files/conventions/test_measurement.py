"""Float frames of other programs that do not say what they hold."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.config import DataConfig
from ptychopinn.files.reading import open_scan
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan
from tests.independent import scan_arrays

NOTHING = "nothing says what it holds"


def opened(path: Path, arrays: dict[str, Any], **settings: Any) -> Scan:
    np.savez(path, **arrays)
    return open_scan(path, DataConfig(**settings))


def arrays(frames: np.ndarray, scan: dict[str, Any], probe_scale: float = 1.0) -> dict[str, Any]:
    probe = scan["probeGuess"] * np.complex64(probe_scale)
    return {**{key: scan[key] for key in ("xcoords", "ycoords")}, "diffraction": frames, "probeGuess": probe}


@pytest.fixture(scope="module", params=[("disc", 1e2), ("focus", 1e4), ("curved", 1e6), ("zone plate", 1e9)])
def scan(request) -> dict[str, Any]:
    probe, photons = request.param
    return scan_arrays(probe=probe, photons=photons, side=6, N=48, image="grains")


@pytest.mark.parametrize("probe_scale", [1.0, 1e-3])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_whole_numbers_are_counts(tmp_path, scan, kind, probe_scale):
    if kind is np.float16 and scan["diffraction"].max() > 2048:
        pytest.skip("not all whole numbers are there")
    frames = scan["diffraction"].astype(kind)
    found = opened(tmp_path / "scan.npz", arrays(frames, scan, probe_scale))
    np.testing.assert_array_equal(found.counts, frames)
    assert any(NOTHING in note and "taken as counts" in note for note in found.notes)


@pytest.mark.parametrize("scale", [1.0, 0.0123, 7e3])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_roots_of_counts_are_amplitudes(tmp_path, scan, kind, scale):
    frames = (scale * np.sqrt(scan["diffraction"])).astype(kind)
    found = opened(tmp_path / "scan.npz", arrays(frames, scan, 1e-3))
    known = any("the squares of its values are whole numbers" in note for note in found.notes)
    assert known or scan["diffraction"].mean() > 100  # hardly a pixel holds few photons then
    unit = 1.0 if known else scale**2
    np.testing.assert_allclose(found.counts, unit * scan["diffraction"].astype(float), rtol=1e-5)


@pytest.mark.parametrize("kind", ["counts", "amplitude"])
@pytest.mark.parametrize("in_their_unit", [False, True])
@pytest.mark.parametrize("held", [1, None])
def test_multiples_of_a_photon_become_photons(tmp_path, kind, in_their_unit, held):
    scan = scan_arrays(photons=1e4, side=6, N=48)
    frames = scan["diffraction"] / 7.3 if kind == "counts" else np.sqrt(scan["diffraction"] / 7.3)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["frames"] = frames.astype("f4")
        file["x"], file["y"] = scan["xcoords"], scan["ycoords"]
        file["probe"] = scan["probeGuess"] * (7.3**-0.5 if in_their_unit else 1.2)
    layout = tmp_path / "map.json"
    layout.write_text('{"frames": {"dataset": "/frames"}, "positions": {"x": "/x", "y": "/y"}, "probe": "/probe"}')
    found = open_scan(tmp_path / "scan.h5", DataConfig(map=str(layout)), held=held)
    np.testing.assert_allclose(found.array(slice(None)), scan["diffraction"], rtol=1e-5)
    assert found.probe_factor == 1
    np.testing.assert_allclose(found.probe, scan["probeGuess"] * (1 if in_their_unit else 1.2), rtol=1e-5)


@pytest.mark.parametrize("calculated", [False, True])
def test_what_is_not_clear_stays_an_amplitude_and_is_said(tmp_path, calculated):
    scan = scan_arrays(photons=1e5, side=6, N=48)
    noise = np.random.default_rng(0).normal(size=scan["diffraction"].shape)
    frames = np.sqrt(scan["diffraction"] + 0.3 * abs(noise))
    frames = (frames if calculated else 0.01 * frames).astype(np.float32)
    found = opened(tmp_path / "scan.npz", arrays(frames, scan, 1.0 if calculated else 1e-3))
    np.testing.assert_allclose(found.counts, frames**2, rtol=1e-6)
    assert any(note.endswith(f"{NOTHING}: taken as amplitude.") for note in found.notes)


@pytest.mark.parametrize("image", ["weak", "grains"])
def test_corrected_counts_are_known_by_the_power_of_their_probe(tmp_path, image):
    scan = scan_arrays(photons=1e5, side=6, N=48, image=image)
    flat = np.random.default_rng(0).uniform(0.9, 1.1, (48, 48))
    frames = (scan["diffraction"] * flat).astype(np.float32)
    found = opened(tmp_path / "scan.npz", arrays(frames, scan))
    np.testing.assert_array_equal(found.counts, frames)
    assert any("the probe holds as many photons, so taken as counts" in note for note in found.notes)


def test_bad_pixels_and_a_few_that_were_filled_in_do_not_matter(tmp_path):
    scan = scan_arrays(photons=1e5, side=6, N=48)
    frames = scan["diffraction"].astype(np.float32)
    frames[:, 20] = np.nan
    frames[:, 10, 10] = -1
    frames[:, 25, 24] = frames[:, 25, 23:26].mean(axis=1)
    found = opened(tmp_path / "scan.npz", arrays(frames, scan))
    assert any("taken as counts" in note for note in found.notes)
    good = found.good_pixels
    np.testing.assert_array_equal(found.counts[:, good], frames[:, good])


def test_the_flag_and_the_file_win(tmp_path):
    scan = scan_arrays(photons=1e4, side=6, N=48)
    frames = scan["diffraction"].astype(np.float32)
    found = opened(tmp_path / "scan.npz", arrays(frames, scan), measurement="amplitude")
    np.testing.assert_array_equal(found.counts, frames**2)
    told = {**arrays(frames, scan), "_metadata": np.array('{"measurement": "amplitude"}')}
    np.testing.assert_array_equal(opened(tmp_path / "told.npz", told).counts, frames**2)


@pytest.mark.parametrize("held", [1, None])
def test_frames_of_a_mapped_file(tmp_path, held):
    scan = scan_arrays(photons=1e4, side=6, N=48)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["frames"] = scan["diffraction"].astype("f4")
        file["x"], file["y"], file["probe"] = (scan[key] for key in ("xcoords", "ycoords", "probeGuess"))
    layout = tmp_path / "map.json"
    layout.write_text('{"frames": {"dataset": "/frames"}, "positions": {"x": "/x", "y": "/y"}, "probe": "/probe"}')
    found = open_scan(tmp_path / "scan.h5", DataConfig(map=str(layout)), held=held)
    assert isinstance(found.counts, Frames) == (held == 1)
    np.testing.assert_array_equal(found.array(slice(None)), scan["diffraction"])
    assert any("taken as counts" in note for note in found.notes)

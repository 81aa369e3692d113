"""``reconstruct``: from frames and positions to an image and a report."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ptychopinn
from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.registration import align
from ptychopinn.files.reconstruction import read_reconstruction
from tests.blind import SIZE, disc, lens, scan_of
from tests.cli.refusing import Words, assert_refused, call, write_scan
from tests.conditions import made, measured
from tests.conditions import phase_error as error_of

QUICK = "--probe-from aperture --aperture-diameter 8px --epochs 12 --set error_draws=1"
PLAIN = f"{QUICK} --start-image vacuum --model basic"


def write(path: Path, scan, **more: np.ndarray) -> None:
    y, x = scan.positions.T
    np.savez(path, diffraction=scan.counts.astype(np.uint32), ycoords=y, xcoords=x, **more)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_scan(tmp_path / "bare.npz", probeGuess=None)
    return tmp_path


@pytest.mark.slow
def test_what_was_decided_can_be_given_back(place: Path) -> None:
    done = call(place, f"reconstruct bare.npz {QUICK} --out image")
    assert done.exit_code == 0, done.output
    for words in ("centre: ", "Probe of a pinhole of 8px", "phase ramp of", "report: image/report.html"):
        assert words in done.output
    made = {path.name for path in (place / "image").iterdir()}
    assert {
        "reconstruction.h5",
        "reconstruction.png",
        "settings.json",
        "report.html",
        "probe.png",
        "frames.csv",
    } <= made
    settings = json.loads((place / "image/settings.json").read_text())
    assert settings["centre"] == "8,8"
    assert (settings["probe_from"], settings["modes"], settings["mask"]) == ("aperture", 1, "auto")
    assert settings["model"] == "basic"
    assert settings["start_image"] in ("network", "vacuum")
    assert "start: " in done.output
    assert "auto: adds no more" in done.output
    again = call(place, "reconstruct bare.npz --config image/settings.json --out again")
    assert again.exit_code == 0, again.output
    one, other = (read_reconstruction(place / name) for name in ("image", "again"))
    np.testing.assert_allclose(one.object, other.object, atol=1e-5)
    assert call(place, f"reconstruct bare.npz {PLAIN} --out image --overwrite").exit_code == 0


def test_the_report_needs_no_other_file(place: Path) -> None:
    (place / "bare.npz").rename(place / "<b>&.npz")
    done = call(place, f"reconstruct <b>&.npz {PLAIN} --out image")
    assert done.exit_code == 0, done.output
    page = (place / "image/report.html").read_text()
    assert "<h1>&lt;b&gt;&amp;.npz</h1>" in page
    assert page.count('src="data:image/png;base64,') >= 5
    assert not re.findall(r'(?:src|href)="(?!data:|view.html")', page)
    assert 'id="data"' in (place / "image/view.html").read_text()
    assert "The deviance is" in page or "Nothing: the image explains" in page


def test_the_probe_of_a_file_is_taken(place: Path) -> None:
    write_scan(place / "whole.npz")
    done = call(
        place, "reconstruct whole.npz --epochs 6 --set refine_probe=false --set error_draws=0 --model basic --out image"
    )
    assert done.exit_code == 0, done.output
    assert "Probe found" not in done.output
    assert "phase ramp" not in done.output
    settings = json.loads((place / "image/settings.json").read_text())
    assert (settings["probe_from"], settings["refine_probe"], settings["centre"]) == (None, False, "8,8")


def test_python_makes_the_same_image(place: Path) -> None:
    fit = {"epochs": 8, "error_draws": 0, "start_image": "vacuum", "model": "basic"}
    write_scan(place / "whole.npz")
    image = ptychopinn.reconstruct(place / "whole.npz", **fit)
    flags = "--epochs 8 --set error_draws=0 --start-image vacuum --model basic"
    assert call(place, f"reconstruct whole.npz {flags} --out image").exit_code == 0
    np.testing.assert_array_equal(image.object, read_reconstruction(place / "image").object)
    probe = ptychopinn.make_probe(place / "bare.npz", probe_from="aperture", aperture_diameter="8px", modes=2)
    assert probe.shape == (2, 16, 16)
    with pytest.raises(PtychoError, match="refine_fluxx: not a setting. Did you mean 'refine_flux'"):
        ptychopinn.reconstruct(place / "whole.npz", refine_fluxx=True)


def test_the_time_holds_for_search_and_fits(place: Path) -> None:
    done = call(place, "reconstruct bare.npz --max-seconds 0.5 --set error_draws=0 --out image")
    assert done.exit_code == 0, done.output
    assert re.search(r"the time allowed the search \d+ of \d+ starts, so that the probe may be wrong", done.output)
    assert "the time is over" in done.output


def test_frames_of_another_place_are_left_out(tmp_path: Path) -> None:
    parts = made()
    scan, wrong = measured(parts), measured(parts)
    wrong.counts[37], wrong.counts[60] = wrong.counts[87], 0
    for name, one in (("good", scan), ("bad", wrong)):
        write(tmp_path / f"{name}.npz", one, probeGuess=one.probe)
    flags = "--epochs 60 --set error_draws=0 --start-image vacuum"
    for name in ("good", "bad"):
        done = call(tmp_path, f"reconstruct {name}.npz {flags} --out {name}")
        assert done.exit_code == 0, done.output
        assert ("left out: frames 37, 60, worse by far" in done.output) == (name == "bad")
        assert (tmp_path / name / "dropped_frames.txt").exists() == (name == "bad")
    assert (tmp_path / "bad/dropped_frames.txt").read_text().split() == ["37", "60"]
    good, bad = (read_reconstruction(tmp_path / name) for name in ("good", "bad"))
    assert len(bad.positions) == len(good.positions) - 2
    assert bad.deviance < 1.05 * bad.expected_deviance
    assert error_of(bad, parts[0]) < 1.3 * error_of(good, parts[0])
    again = call(tmp_path, "reconstruct bad.npz --config bad/settings.json --out again")
    assert again.exit_code == 0, again.output
    assert len(read_reconstruction(tmp_path / "again").positions) == len(bad.positions)
    kept = call(tmp_path, f"reconstruct bad.npz {flags} --drop-frames none --model basic --out kept")
    assert kept.exit_code == 0, kept.output
    assert "frames that stand out" in kept.output


REFUSED: dict[str, tuple[str, Words]] = {
    "another engine": ("reconstruct bare.npz --set engine=lsqml --out image", ("engine", "lsqml")),
    "a crop too large": (f"reconstruct bare.npz {QUICK} --crop 64 --out image", ("crop", "64")),
    "a pixel outside": (f"reconstruct bare.npz {QUICK} --centre 99,9 --out image", ("centre", "99,9")),
    "modes in vain": ("reconstruct bare.npz --refocus 1um --out image", ("refocus", "no effect")),
    "no frames": ("reconstruct none.npz --out image", ("none.npz",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_call_is_refused(place: Path, case: str) -> None:
    command, words = REFUSED[case]
    assert_refused(place, command, words)


def phase_error(image, scan) -> float:
    """Mean absolute phase error between the positions after ramp, shift and global phase."""
    full = image.window(scan.object.shape)
    mask = np.zeros(full.shape, bool)
    low, high = scan.positions.min(axis=0).astype(int) + 4, scan.positions.max(axis=0).astype(int) - 3
    mask[low[0] : high[0], low[1] : high[1]] = True
    found = align(full, scan.object, mask, scale=True, ramp=True)
    return float(np.abs(np.angle(found.image * scan.object.conj()))[found.mask].mean())


@pytest.mark.slow
@pytest.mark.parametrize(("true", "step"), [(disc(10.0, 2.0), 3.5), (lens(10.0, 0.05, 4.0), 3.5)])
def test_an_image_from_frames_and_positions_alone(tmp_path: Path, true: np.ndarray, step: float) -> None:
    """The frames lie 6 and -4 pixels off their middle besides."""
    scan = scan_of(true, step)
    moved = np.roll(scan.counts, (6, -4), axis=(1, 2))
    object.__setattr__(scan, "counts", moved)
    write(tmp_path / "raw.npz", scan)
    write(tmp_path / "known.npz", scan_of(true, step), probeGuess=true.astype(np.complex64))
    done = call(tmp_path, "reconstruct raw.npz --out image")
    assert done.exit_code == 0, done.output
    assert "is moved there" in done.output
    assert "Probe found from the frames" in done.output
    assert call(tmp_path, "refine known.npz --out best").exit_code == 0
    image, best = read_reconstruction(tmp_path / "image"), read_reconstruction(tmp_path / "best")
    assert image.deviance < 1.05 * image.expected_deviance
    assert phase_error(image, scan) < 2 * phase_error(best, scan)
    assert image.object.shape[0] > SIZE

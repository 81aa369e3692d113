"""``probe make``: a probe for a scan that has none."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.refusing import SIZE, Words, assert_refused, call, write_scan

PLATE = "--probe-from zone-plate --aperture-diameter 180um --focal-length 200mm --photon-energy 8keV"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A scan without a probe, and one with it."""
    write_scan(tmp_path / "bare.npz", probeGuess=None)
    write_scan(tmp_path / "whole.npz")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "modes"),
    [
        (f"{PLATE} --pixel-size 1e-7", 1),
        ("--probe-from aperture --aperture-diameter 8px --modes 3", 3),
        ("--probe-from gaussian --aperture-diameter 6px", 1),
        ("--probe-from mean-pattern --modes 2", 2),
        ("--probe-from whole.npz", 1),
    ],
)
def test_a_probe_is_made_and_taken(place: Path, flags: str, modes: int) -> None:
    done = call(place, f"probe make bare.npz {flags} --out probe.npz")
    assert done.exit_code == 0, done.output
    made = np.load(place / "probe.npz")["probeGuess"]
    assert made.shape == (modes, SIZE, SIZE)
    brightest = np.load(place / "bare.npz")["diffraction"].sum(axis=(1, 2)).max()
    # These frames are noise: what is the same in all pixels may be taken for a background.
    assert (abs(made) ** 2).sum() == pytest.approx(brightest, rel=0.3)
    shown = call(place, "inspect bare.npz --probe probe.npz")
    assert shown.exit_code == 0, shown.output
    assert f"probe modes            {modes}, with" in shown.output
    assert call(place, "inspect probe.npz").exit_code == 0
    again = call(place, f"probe make bare.npz {flags} --out again.npz")
    assert again.exit_code == 0
    assert (place / "again.npz").read_bytes() == (place / "probe.npz").read_bytes()


REFUSED: dict[str, tuple[str, Words]] = {
    "no such action": ("probe mend bare.npz --out p.npz", ("probe mend", "probe make")),
    "another ending": (f"probe make bare.npz {PLATE} --out p.h5", ("p.h5", ".npz")),
    "no pixel size": (f"probe make bare.npz {PLATE} --out p.npz", ("--pixel-size",)),
    "no unit": (
        "probe make bare.npz --probe-from aperture --aperture-diameter 8 --out p.npz",
        ("aperture_diameter", "8"),
    ),
    "no such file": ("probe make bare.npz --probe-from zp.npz --out p.npz", ("zp.npz", "zone-plate")),
    "a file without one": ("probe make bare.npz --probe-from bare.npz --out p.npz", ("bare.npz", "holds no probe")),
    "optics for a pattern": (
        "probe make bare.npz --probe-from mean-pattern --focal-length 1mm --out p.npz",
        ("focal_length", "no effect"),
    ),
    "there already": ("probe make bare.npz --probe-from mean-pattern --out whole.npz", ("whole.npz", "--overwrite")),
    "refused without": ("refine bare.npz --out image", ("probe make", "reconstruct")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_call_is_refused(place: Path, case: str) -> None:
    command, words = REFUSED[case]
    assert_refused(place, command, words)

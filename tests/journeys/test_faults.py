"""Scans with a fault of each kind, from file to image: what is said of it, what mends it, and how good the image is.

The number before a name is that of its case; files that are read wrong or refused are in test_fault_files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, DataConfig, RefinementConfig
from ptychopinn.engines.native import reconstruct
from ptychopinn.files.reading import open_scan
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import doubts, flux_changes
from tests.independent import Arrays, scan_arrays

Fault = Callable[[Arrays], None]

LIMIT = 0.04
"""Phase error of a mended image, rad; that of the scan without a fault is 0.012, that of a flat image 0.2."""

N = 48
COUNTS = np.array('{"measurement": "counts"}')
ROWS, COLUMNS = np.mgrid[:N, :N] - N // 2


class Case(NamedTuple):
    """A fault, words that the lines about it hold, words that they do not, and settings of the fit."""

    fault: Fault
    words: tuple[str, ...] = ()
    never: tuple[str, ...] = ("Warning",)
    settings: dict[str, Any] = {}
    good: bool = True


def gap(value: float, kind: str) -> Fault:
    def fault(scan: Arrays) -> None:
        frames = scan["diffraction"].astype(kind)
        frames[:, 30:32], frames[:, :, 14:16] = value, value
        scan["diffraction"], scan["_metadata"] = frames, COUNTS

    return fault


def nan_frame(scan: Arrays) -> None:
    scan["diffraction"], scan["_metadata"] = scan["diffraction"].astype(np.float32), COUNTS
    scan["diffraction"][33] = np.nan


def saturated_pixels(scan: Arrays) -> None:
    scan["diffraction"][40, 23, 25] = scan["diffraction"][41, 24, 25] = 2**32 - 1


def zingers(scan: Arrays) -> None:
    for row, frame in enumerate((5, 20, 40, 60)):
        scan["diffraction"][frame, 5 + 3 * row, 40 - 2 * row] = 200_000


def saturated_frame(scan: Arrays) -> None:
    scan["diffraction"] = scan["diffraction"].astype(np.uint16)
    scan["diffraction"][40] = 65535


def bright_frame(scan: Arrays) -> None:
    scan["diffraction"][40] *= 30


def one_lost(scan: Arrays) -> None:
    scan["diffraction"] = np.concatenate([np.delete(scan["diffraction"], 40, axis=0), scan["diffraction"][-1:]])


def beam_off(scan: Arrays) -> None:
    scan["diffraction"] = np.roll(scan["diffraction"], (3, -5), (1, 2))


def turned(degrees: float, stretch: float = 1.0, mirror: bool = False) -> Fault:
    """Written positions, turned and stretched against those of the detector."""

    def fault(scan: Arrays) -> None:
        angle = np.radians(degrees)
        matrix = stretch * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = matrix @ np.diag([1, -1 if mirror else 1])
        places = np.stack([scan["ycoords"], scan["xcoords"]])
        middle = places.mean(axis=1, keepdims=True)
        scan["ycoords"], scan["xcoords"] = middle + matrix @ (places - middle)

    return fault


def swapped(scan: Arrays) -> None:
    scan["ycoords"], scan["xcoords"] = scan["xcoords"], scan["ycoords"]


def dimmed(flux: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """Counts thinned by a flux of each frame."""

    def fault(scan: Arrays) -> None:
        share = flux(np.arange(len(scan["diffraction"])))[:, None, None]
        scan["diffraction"] = np.random.default_rng(1).binomial(scan["diffraction"], share)

    return fault


DUMP = dimmed(lambda time: np.where((time >= 30) & (time < 40), 0.3, 1.0))


def masked(how: Callable[[np.ndarray, int], np.ndarray], held: int = 65535) -> Fault:
    def fault(scan: Arrays) -> None:
        bad = np.zeros((N, N), bool)
        bad[30:32], bad[:, 20:22] = True, True
        scan["diffraction"] = np.where(bad, held, scan["diffraction"]).astype(np.uint16)
        scan["bad_pixels"] = how(bad, len(scan["diffraction"]))

    return fault


def probe(how: Callable[[np.ndarray], np.ndarray]) -> Fault:
    def fault(scan: Arrays) -> None:
        scan["probeGuess"] = how(scan["probeGuess"])

    return fault


def stop(width: int, marked: bool) -> Fault:
    def fault(scan: Arrays) -> None:
        bad = (abs(ROWS + 0.5) < width / 2) & (abs(COLUMNS + 0.5) < width / 2)
        scan["diffraction"] = np.where(bad, 0, scan["diffraction"])
        if marked:
            scan["bad_pixels"] = bad

    return fault


def border(scan: Arrays) -> None:
    scan["diffraction"][:, 23:25] *= 2
    scan["diffraction"][:, :, 23:25] *= 2


def background(width: float) -> Fault:
    """A twentieth of the light, the same in every frame, everywhere or within a Gaussian."""

    def fault(scan: Arrays) -> None:
        light = np.exp(-(ROWS**2 + COLUMNS**2) / (2 * width**2))
        light *= 0.05 * scan["diffraction"].sum() / len(scan["diffraction"]) / light.sum()
        more = np.random.default_rng(1).poisson(light, scan["diffraction"].shape)
        scan["diffraction"] = (scan["diffraction"] + more).astype(np.uint32)

    return fault


AUTO: dict[str, Any] = {"mask": "auto", "drop_frames": "auto"}
ALL: dict[str, Any] = {"refine_probe": True, "refine_positions": True}
BLAMED = ("try --refine-p",)
"""Advice that hides a fault of the detector or of the beam."""

CASES = {
    "no fault": Case(lambda scan: None, never=("",)),
    "no fault, auto": Case(lambda scan: None, never=("",), settings=AUTO),
    "01 gap of uint32": Case(gap(2**32 - 1, "u4"), ("Masked: ",)),
    "01 gap of uint16": Case(gap(65535, "u2"), ("Masked: ",)),
    "01 gap of -1": Case(gap(-1, "i4"), ("Masked: ",)),
    "01 gap of NaN": Case(gap(np.nan, "f4"), ("Masked: ",)),
    "01 one frame of NaN": Case(nan_frame, ("Left out: frame 33",), settings={"mask": "auto"}),
    "02 saturated pixels": Case(saturated_pixels, ("Left out: ",)),
    "02 zingers": Case(zingers, ("far too bright in one frame", "named above"), BLAMED, good=False),
    "02 zingers, masked": Case(zingers, ("Masked: ",), settings=AUTO),
    "02 saturated frame": Case(saturated_frame, ("Left out: frame 40",)),
    "02 bright frame": Case(bright_frame, ("frame 40 is far brighter", "named above"), BLAMED, good=False),
    "02 bright frame, left out": Case(bright_frame, ("Left out: frame 40",), settings=AUTO),
    "08 a lost frame": Case(
        one_lost, ("do frames and positions pair?",), (), {"refine_positions": True, "epochs": 120}, False
    ),
    "11 beam off": Case(beam_off, ("(3.0, -4.8) px", "--centre auto"), ("lines that read",), good=False),
    "11 beam off, moved": Case(beam_off, ("Frames moved by (-3, 5) px",), settings={"centre": "auto"}),
    "12 turned by 3 degrees": Case(turned(3), ("turned by -",), BLAMED, good=False),
    "12 turned by 20 degrees": Case(turned(-20), ("turned by 2",), BLAMED, good=False),
    "12 scaled": Case(turned(0, 1.06), ("scaled by 0.9",), BLAMED, good=False),
    "12 swapped": Case(swapped, ("give --swap-xy",), BLAMED, good=False),
    "12 mirrored": Case(turned(0, mirror=True), ("give --flip-x",), BLAMED, good=False),
    "14 decay": Case(dimmed(lambda time: np.linspace(1, 0.5, len(time))), ("change steadily",), BLAMED, good=False),
    "14 dump": Case(DUMP, ("frames 30 to 39 have less light", "--refine-flux"), BLAMED),
    "14 joined exposures": Case(
        dimmed(lambda time: np.where(time < 45, 1.0, 0.4)), ("from frame 45 on", "two exposures"), BLAMED
    ),
    "16 inverted mask": Case(masked(lambda bad, n: ~bad), settings={"mask": "inverted"}),
    "16 inverted mask, of zeros": Case(masked(lambda bad, n: ~bad, 0), settings={"mask": "inverted"}),
    "16 mask of each frame": Case(masked(lambda bad, n: np.broadcast_to(bad, (n, N, N)))),
    "16 mask of floats": Case(masked(lambda bad, n: bad.astype(float))),
    "18 probe of unit power": Case(probe(lambda p: p / np.sqrt((abs(p) ** 2).sum())), ("scaled to the",)),
    "18 probe of another FFT": Case(probe(lambda p: p / N), ("scaled to the",)),
    "18 probe with its modes last": Case(probe(lambda p: np.stack([p[0], 0.01 * p[0]], axis=-1))),
    "18 probe in the corners": Case(
        probe(lambda p: np.fft.ifftshift(p, axes=(1, 2))), ("lies in the corners",), BLAMED, good=False
    ),
    "19 masked beam stop": Case(stop(4, True)),
    "19 wide masked beam stop": Case(stop(8, True)),
    "19 beam stop": Case(stop(4, False), ("beam stop", "named above"), BLAMED, good=False),
    "19 beam stop, masked": Case(stop(4, False), ("beam stop",), settings=AUTO),
    "19 border pixels": Case(border, ("lines that read 2 times", "named above"), BLAMED, good=False),
    "19 border pixels, masked": Case(border, ("Masked: ",), settings=AUTO),
    "19 background": Case(background(1e9), ("the same in every frame", "--refine-background"), BLAMED, good=False),
    "19 parasitic light": Case(background(9), ("the same in every frame",), BLAMED, good=False),
    "21 a third of the flux": Case(dimmed(lambda time: np.full(len(time), 0.35)), ("scaled to the",)),
    "25 dump, all refined": Case(DUMP, ("frames 30 to 39 have less light",), BLAMED, ALL, good=False),
    "25 background, all refined": Case(background(1e9), ("the same in every frame",), BLAMED, ALL, good=False),
    "25 zingers, all refined": Case(zingers, ("far too bright in one frame",), BLAMED, ALL, good=False),
}


def fitted(path: Path, settings: dict[str, Any]) -> tuple[Reconstruction, str]:
    """The image of a file, and all that is said about it."""
    of_data = {name: value for name, value in settings.items() if name in DataConfig.model_fields}
    chosen = {"epochs": 60, **{name: value for name, value in settings.items() if name not in of_data}}
    scan = open_scan(path, DataConfig(**of_data))
    lines = [*scan.notes, *flux_changes(scan, scan.totals), *doubts(scan)]

    def report(line: str) -> None:
        if line.startswith(("Warning", "frames that", "positions moved")):
            lines.append(line)

    return reconstruct(scan, BaselineConfig(engine="native", **chosen), RefinementConfig(), report=report), "\n".join(
        lines
    )


def phase_error(found: Reconstruction, known: Arrays) -> float:
    """Mean absolute error in the box of the positions, after the best phase."""
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in (known["ycoords"], known["xcoords"]))
    corner = np.round(found.origin).astype(int)
    seen = found.object[tuple(slice(part.start - at, part.stop - at) for part, at in zip(box, corner, strict=True))]
    difference = seen * known["objectGuess"][box].conj()
    return float(abs(np.angle(difference * difference.sum().conj())).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_case(tmp_path: Path, name: str) -> None:
    fault, words, never, settings, good = CASES[name]
    known = scan_arrays(radius=10, image="weak", N=N, side=9, step=4.5, photons=1e5)
    scan = {key: value for key, value in known.items() if key != "objectGuess"}
    fault(scan)
    np.savez(tmp_path / "scan.npz", **scan)
    found, said = fitted(tmp_path / "scan.npz", settings)
    for word in words:
        assert word in said
    for word in never:
        assert word not in said if word else not said
    if good:
        assert phase_error(found, known) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("image", ["vacuum", "weak", "phase", "grating", "grains"])
@pytest.mark.parametrize("light", ["disc", "gauss", "curved", "focus"])
def test_nothing_is_said_of_right_scans(tmp_path: Path, light: str, image: str) -> None:
    radius = 4 if light == "focus" else 9
    scan = scan_arrays(probe=light, radius=radius, image=image, N=N, side=9, step=4, photons=1e6, seed=3)
    np.savez(tmp_path / "scan.npz", **scan)
    for settings in ({}, AUTO):
        read = open_scan(tmp_path / "scan.npz", DataConfig(**settings))
        assert [*read.notes, *flux_changes(read, read.totals), *doubts(read)] == []
        assert read.good_pixels is None
        assert len(read) == 81

"""The verdict names the fault that a scan has, and no fault in a right one."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.judging.verdict import misplaced
from ptychopinn.engines.native import reconstruct
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan

N, SIDE, STEP = 40, 9, 5.0


@pytest.fixture(scope="module")
def scan() -> Scan:
    """81 frames of a smooth random object under a curved Gaussian probe, 1e6 photons, in plain numpy."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:N, :N] - N / 2
    probe = np.exp(-(y**2 + x**2) / 30 + 1j * (y**2 + x**2) / 25)
    probe *= np.sqrt(1e6 / (abs(probe) ** 2).sum())
    edge = int(N + (SIDE - 1) * STEP + 6)
    frequency = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.fftfreq(edge))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, edge, edge))) * np.exp(-((frequency / 0.12) ** 2))).real
    field /= field.std()
    image = np.exp(0.4j * field[0]) * (1 - 0.1 * np.tanh(field[1]) ** 2)
    corners = np.array([(i * STEP, j * STEP) for i in range(SIDE) for j in range(SIDE)])
    corners = (corners + rng.integers(0, 3, corners.shape)).astype(int)
    patches = np.stack([image[i : i + N, j : j + N] for i, j in corners])
    rates = abs(np.fft.fftshift(np.fft.fft2(probe * patches, norm="ortho"), axes=(1, 2))) ** 2
    counts = rng.poisson(rates).astype(np.int64)
    return Scan(counts.astype(np.uint32), (corners + N // 2).astype(float), probe[None].astype(np.complex64))


def faulty(scan: Scan, fault: str) -> Scan:  # noqa: C901 - one branch per fault
    rng, counts, n = np.random.default_rng(1), scan.counts.astype(np.int64), len(scan)
    flux = np.ones(n)
    y, x = np.mgrid[:N, :N] - N // 2
    if fault == "dump":
        flux[30:42] = 0.35
    elif fault == "flicker":
        flux = (0.8 + 0.08 * rng.normal(size=n)).clip(0, 1)
    elif fault == "hot":
        counts[:, 7, 11] += 30000
    elif fault == "columns":
        counts[:, :, N // 2 + 3] *= 2
    elif fault == "stop":
        counts[:, np.hypot(y, x) < 2.5] = 0
    elif fault == "background":
        counts += rng.poisson(3.0, counts.shape)
    elif fault == "frame":
        counts[33] = counts[60]
    elif fault == "positions":
        return replace(scan, positions=scan.positions + rng.normal(0, 0.7, scan.positions.shape))
    elif fault == "probe":
        wide = np.exp(-(y**2 + x**2) / 45 + 1j * (y**2 + x**2) / 25)
        wide *= np.sqrt(1e6 / (abs(wide) ** 2).sum())
        return replace(scan, probe=wide[None].astype(np.complex64))
    if fault in ("dump", "flicker"):
        counts = rng.binomial(counts, flux[:, None, None])
    return replace(scan, counts=counts.astype(np.uint32))


FIT = BaselineConfig(engine="native", epochs=40)


@pytest.mark.parametrize(
    ("fault", "words", "never"),
    [
        ("none", None, "Warning"),
        ("dump", "(not probe or positions)", "--refine-p"),
        ("flicker", "frames differ in flux by", "--refine-p"),
        ("hot", "the worst [7, 11] reads", "--refine-p"),
        ("columns", "single detector pixels that read too much or too little", "--refine-p"),
        ("stop", "detector pixels", "--refine-p"),
        ("background", "light that is the same in every frame", "--refine-p"),
        ("frame", "frames that stand out, deviance over that of noise: 33 (", "--refine-p"),
        ("positions", "(try --refine-positions, or --refine-affine", "--refine-probe"),
        ("probe", "(try --refine-probe)", "--refine-positions"),
    ],
)
def test_the_cause_is_named_and_no_other(scan, fault, words, never):
    lines: list[str] = []
    result = reconstruct(faulty(scan, fault), FIT, RefinementConfig(), report=lines.append)
    said = "\n".join(line for line in lines if line.startswith(("Warning", "frames that")))
    assert (words or "") in said
    assert never not in said
    assert result.frame_deviance.shape == result.expected_frame_deviance.shape == (len(scan),)
    assert result.frame_deviance.mean() == pytest.approx(result.deviance)
    np.testing.assert_array_equal(result.frame_photons[0], faulty(scan, fault).totals)


@pytest.mark.parametrize(
    ("usual", "high", "found"),
    [
        (1.0, {}, []),
        (1.0, {37: 90.0, 38: 20.0, 47: 15.0}, [37]),  # neighbours follow
        (1.0, {37: 90.0, 5: 4.0}, [5, 37]),
        (4.0, {37: 20.0}, []),  # detail where nothing fits well
        (4.0, {37: 200.0, 38: 60.0}, [37]),
        (1.0, dict.fromkeys(range(0, 100, 7), 30.0), []),  # no exceptions
    ],
)
def test_a_misplaced_frame_is_the_worst_around(usual, high, found):
    deviance = usual * (1 + 0.02 * np.random.default_rng(0).normal(size=100))
    for row, value in high.items():
        deviance[row] = value
    places = np.stack(np.divmod(np.arange(100), 10), axis=1) * 5.0 + 16
    canvas = np.ones((80, 80), np.complex64)
    result = Reconstruction(canvas, (0, 0), canvas.real, places)
    result = replace(result, frame_deviance=deviance, expected_frame_deviance=np.ones(100))
    assert misplaced(result).tolist() == found

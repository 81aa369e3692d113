"""Errors of an image by the older program's conventions, from our functions with explicit arguments."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ptychopinn.evaluation.frc import Curve, crossing, frc
from ptychopinn.evaluation.metrics import psnr, ssim
from tests.parity.oracle import assert_within, oracle

TOLERANCE = 1e-5
CURVE_TOLERANCE = 1e-4
CROSSING_TOLERANCE = 1e-3
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
Pair = tuple[np.ndarray, np.ndarray]


def trimmed() -> Pair:
    """Image and truth, 128 x 128: two pixels less on every side."""
    data = oracle("evaluation")
    return tuple(data[name].numpy()[2:-2, 2:-2].astype(np.complex128) for name in ("recon", "truth"))


def amplitudes() -> Pair:
    image, truth = (abs(part) for part in trimmed())
    return image * (truth.mean() / image.mean()), truth


def without_plane(phase: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(phase.shape)
    basis = np.stack([rows, columns, np.ones(phase.shape)], axis=-1)
    return phase - basis @ np.linalg.lstsq(basis.reshape(-1, 3), phase.ravel(), rcond=None)[0]


def phases(removed: str) -> Pair:
    image, truth = (np.angle(part) for part in trimmed())
    if removed == "plane":
        return without_plane(image), without_plane(truth)
    return image - image.mean(), truth - truth.mean()


def unit(part: np.ndarray) -> np.ndarray:
    """A phase on 0 to 1, as the older SSIM takes it."""
    return (part + np.pi) / (2 * np.pi)


def pairs(removed: str) -> list[Pair]:
    return [amplitudes(), phases(removed)]


def older_ms_ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """A product of whole SSIMs, not of contrasts, and every second pixel without smoothing."""
    data_range = max(np.ptp(image), np.ptp(truth))
    found = 1.0
    for scale, weight in enumerate(SCALES):
        step = slice(None, None, 2**scale)
        found *= ssim(image[step, step], truth[step, step], data_range, window="uniform") ** weight
    return found


def check(found: list[float], name: str, tolerance: float = TOLERANCE) -> None:
    assert_within(torch.tensor(found, dtype=torch.float64), oracle("evaluation")[name].double(), tolerance)


removals = pytest.mark.parametrize("removed", ["plane", "mean"])


def test_removed_plane():
    found = torch.from_numpy(phases("plane")[0])
    assert_within(found, oracle("evaluation")["phase_plane_removed"].double(), TOLERANCE)


@removals
def test_absolute_and_squared_errors_and_psnr(removed):
    check([abs(image - truth).mean() for image, truth in pairs(removed)], f"{removed}_mae")
    check([((image - truth) ** 2).mean() for image, truth in pairs(removed)], f"{removed}_mse")
    check([psnr(image, truth, data_range=255) for image, truth in pairs(removed)], f"{removed}_psnr")


@removals
def test_ssim(removed):
    amplitude, phase = pairs(removed)
    found = [
        ssim(*amplitude, data_range=np.ptp(amplitude[1]), window="uniform"),
        ssim(*map(unit, phase), data_range=1, window="uniform"),
    ]
    check(found, f"{removed}_ssim")


@pytest.mark.parametrize(
    ("removed", "sigma", "name"),
    [("plane", 1, "plane_ms_ssim"), ("mean", 1, "mean_ms_ssim"), ("plane", 0, "plane_msssim_sigma0")],
)
def test_ms_ssim(removed, sigma, name):
    """Ours is that of Wang et al.; the older one is put together here from the SSIM of every scale."""
    amplitude, phase = pairs(removed)
    smooth = [gaussian_filter(part, sigma) for part in amplitude]
    check([older_ms_ssim(*smooth), older_ms_ssim(*map(unit, phase))], name)


@removals
def test_ring_correlation(removed):
    """The older curve is an absolute value, has no window, and goes on to the corners."""
    for pair, name in zip(pairs(removed), ("amp", "phase"), strict=True):
        found = torch.from_numpy(abs(frc(*pair, window=False, corners=True).correlation))
        assert_within(found, oracle("evaluation")[f"{removed}_frc_{name}"].double(), CURVE_TOLERANCE)


@removals
@pytest.mark.parametrize(("threshold", "name"), [(1 / 2, "frc50"), (1 / 7, "frc1over7")])
def test_crossings(removed, threshold, name):
    """The older unit is the number of the ring."""
    curves = [frc(*pair, window=False, corners=True) for pair in pairs(removed)]
    check([crossing(curve, threshold) * 128 for curve in curves], f"{removed}_{name}", CROSSING_TOLERANCE)


def test_crossing_of_a_smoothed_curve():
    curves = [frc(*pair, window=False, corners=True) for pair in pairs("plane")]
    smooth = [Curve(c.frequencies, gaussian_filter(abs(c.correlation), 2), c.counts, c.independent) for c in curves]
    check([crossing(curve) * 128 for curve in smooth], "plane_frcsigma2_frc50", CROSSING_TOLERANCE)

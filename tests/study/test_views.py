"""Scores of several views on the pixels that all of them cover, wherever their images lie."""

import numpy as np
import pytest

from ptychopinn.evaluation.covered import score_covered
from ptychopinn.scan.simulation import siemens_star
from ptychopinn.study.views import Compared, on_shared_pixels

STAR = siemens_star(96)


def view(rows: slice, columns: slice, error: float, phase: float = 0.0) -> Compared:
    """A part of the star, and an image of it with noise."""
    truth = STAR[rows, columns]
    noise = np.random.default_rng(0).standard_normal((2, *STAR.shape))[:, rows, columns]
    image = (truth + error * (noise[0] + 1j * noise[1])) * np.exp(1j * phase)
    mask = np.ones(truth.shape, bool)
    mask[:3] = False
    return Compared({"truth": truth, "PINN": image.astype(np.complex64)}, mask, (rows.start, columns.start))


def test_equal_images_score_the_same_in_every_view() -> None:
    views = {"full": view(slice(0, 96), slice(0, 96), 0.1), "part": view(slice(20, 80), slice(8, 90), 0.1, phase=0.7)}
    found = on_shared_pixels(views)
    assert found["full", "PINN"] == pytest.approx(found["part", "PINN"], rel=1e-5)
    # Row 23 is the first that the mask of the part has.
    assert found["full", "PINN"]["pixels"] == (80 - 23) * (90 - 8)
    truth = STAR[23:80, 8:90]
    image = views["full"].images["PINN"][23:80, 8:90]
    alone = score_covered(image, truth, np.ones(truth.shape, bool))
    assert found["full", "PINN"]["error"] == pytest.approx(alone.error, rel=0.01)


def test_the_better_view_wins_although_the_other_is_better_elsewhere() -> None:
    full = view(slice(0, 96), slice(0, 96), 0.02)
    full.images["PINN"][:, :40] = STAR[:, :40] + 3  # not covered by the other one
    found = on_shared_pixels({"full": full, "part": view(slice(0, 96), slice(40, 96), 0.1)})
    for name, better in (("phase_mae", -1), ("phase_ssim", 1), ("error", -1)):
        difference = found["full", "PINN"][name] - found["part", "PINN"][name]
        assert np.sign(difference) == better, name


@pytest.mark.parametrize("rows", [slice(60, 96), slice(47, 96)])
def test_views_apart_share_nothing(rows: slice) -> None:
    first, second = view(slice(0, 50), slice(0, 96), 0.1), view(rows, slice(0, 96), 0.1)
    assert on_shared_pixels({"a": first, "b": second}) == {}

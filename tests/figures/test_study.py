"""Pictures of a study come out in the asked size, also where an arm or a metric is missing."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from ptychopinn.figures.study import curves_png, images_png
from ptychopinn.scan.simulation import siemens_star


def picture(data: bytes) -> np.ndarray:
    return imread(io.BytesIO(data), format="png")[..., :3]


STAR = siemens_star(64)
MASK = np.zeros((64, 64), dtype=bool)
MASK[4:60, 8:50] = True


@pytest.mark.parametrize("phase", [True, False])
def test_images_of_two_doses(phase):
    cells = [{"truth": STAR, "PINN": STAR}, {"truth": STAR}]
    fine, coarse = (picture(images_png(cells, [MASK, MASK[:, ::-1]], ["1e3", "1e4"], dpi, phase)) for dpi in (80, 40))
    assert fine.std() > 0.1
    assert fine.shape[0] == pytest.approx(2 * coarse.shape[0], rel=0.03)


def test_a_common_scale_and_no_global_phase():
    turned = {"truth": STAR * np.exp(1j), "PINN": STAR * np.exp(1j)}
    plain = {"truth": STAR, "PINN": STAR}
    first, second = (picture(images_png([cell], [MASK], ["1e3"], 60, phase=True)) for cell in (turned, plain))
    np.testing.assert_allclose(first, second, atol=0.02)


def test_curves_with_and_without_points():
    points = {"PINN": [(1e3, 0.2), (1e5, 0.1)], "LSQML": []}
    curves = {"phase_mae": {"dense": points, "sparse": {"PINN": []}}, "frc50": {"dense": points}}
    drawn = picture(curves_png(curves, {"phase_mae": "phase MAE", "frc50": "FRC50"}, 60))
    assert drawn.std() > 0.05

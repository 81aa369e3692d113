"""Axes of a probe: modes first, or last where that is the only reading."""

import numpy as np
import pytest

from ptychopinn.files.values import as_modes


def test_modes_may_be_the_last_axis():
    values = np.random.default_rng(4).standard_normal((16, 16, 3)) * (1 + 2j)
    np.testing.assert_array_equal(as_modes(values), np.stack([values[..., mode] for mode in range(3)]))


@pytest.mark.parametrize("shape", [(3, 16, 16), (16, 16, 16), (16, 16, 17), (16, 17, 3)])
def test_other_shapes_stay_as_they_are(shape):
    values = np.random.default_rng(4).standard_normal(shape) * (1 + 2j)
    assert as_modes(values) is values

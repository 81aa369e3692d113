"""Generated objects: transmission near 1 where they are brightest, textures that ship with scikit-image."""

import numpy as np
import pytest
from scipy import ndimage

from ptychopinn.training import objects
from ptychopinn.training.objects import TEXTURES, random_image, texture_object


def test_objects_let_their_brightest_part_through():
    for seed in range(25):
        image = random_image(120, np.random.default_rng(seed))
        assert image.shape == (120, 120)
        assert image.dtype == np.complex64
        assert np.isfinite(image).all()
        light = ndimage.gaussian_filter(abs(image) ** 2, 6.0)
        assert 0.75 < np.quantile(light, 0.95) < 1.3, f"seed {seed}"


def test_the_objects_that_judge_the_network_are_no_textures():
    assert not {"cell", "microaneurysms"} & set(TEXTURES)


@pytest.mark.parametrize("name", TEXTURES)
def test_every_texture_is_there_without_a_download(name):
    photo = objects._photo(name)
    assert photo.ndim == 2
    assert 0 <= photo.min() < photo.max() <= 1


def test_textures_differ_in_scale_and_strength():
    spreads = [float(np.angle(texture_object(96, np.random.default_rng(seed))).std()) for seed in range(20)]
    assert max(spreads) > 5 * min(spreads)

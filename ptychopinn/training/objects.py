"""Objects to learn from: the embedded kinds, and textures of photographs that ship with scikit-image."""

import math
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptychopinn.scan.simulation import Complex, random_object, siemens_star, smooth_lines

TEXTURES: Final = (
    *("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket", "text"),
)
"""Images of ``skimage.data``; its ``cell`` and ``microaneurysms`` are kept for tests."""

BRIGHT_AREA = 6.0
"""Pixels over which the transmission is averaged before its brightest part is made 1: about a probe."""


def random_image(edge: int, rng: np.random.Generator) -> Complex:
    """An object (edge, edge) whose brightest part has a mean transmission near 1, as networks see every scan."""
    kind = rng.choice(["mixture", "texture", "embedded"], p=[0.42, 0.5, 0.08])
    if kind == "mixture":
        image = random_object(edge, rng, max_phase=2.0)
    elif kind == "texture":
        image = texture_object(edge, rng)
    elif rng.random() < 0.5:
        image = smooth_lines(edge, int(rng.integers(2**31)))
    else:
        star = siemens_star(2 * edge, int(rng.integers(8, 60)), rng.uniform(-3, 3), rng.uniform(0, 0.6))
        y, x = rng.integers(0, edge, 2)
        image = star[y : y + edge, x : x + edge]
    if rng.random() < 0.1:
        image = _partly_empty(image, rng)
    light = ndimage.gaussian_filter(abs(image) ** 2, BRIGHT_AREA)
    brightest = float(np.quantile(light, 0.95)) * math.exp(0.04 * rng.normal())
    return (image / math.sqrt(max(brightest, 1e-6))).astype(np.complex64)


def texture_object(edge: int, rng: np.random.Generator) -> Complex:
    """Textures as phase and absorption, at random scale, contrast and relation."""
    phase, other = _texture(edge, rng), _texture(edge, rng)
    relation = rng.choice([rng.uniform(-1, 1), 1.0, -1.0])
    absorption = relation * phase + math.sqrt(1 - relation**2) * other
    strength = math.exp(rng.uniform(math.log(0.06), math.log(2.0)))
    amplitude = np.exp(math.exp(rng.uniform(math.log(0.01), math.log(0.3))) * absorption - 0.05).clip(0.02, 1.6)
    return (amplitude * np.exp(1j * strength * phase)).astype(np.complex64)


def _texture(edge: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A part of a photograph (edge, edge), scaled, turned and mirrored, of zero mean and unit variance."""
    photo = _photo(TEXTURES[rng.integers(len(TEXTURES))])
    zoom = math.exp(rng.uniform(math.log(0.4), math.log(1.6)))
    size = max(8, min(round(edge / zoom), *photo.shape))
    y, x = (rng.integers(0, length - size + 1) for length in photo.shape)
    part = np.rot90(photo[y : y + size, x : x + size], int(rng.integers(4)))
    if rng.random() < 0.5:
        part = part.T
    if size > edge:
        part = ndimage.gaussian_filter(part, 0.4 * size / edge)
    grid = np.arange(edge) * (size - 1) / (edge - 1)
    part = ndimage.map_coordinates(part, np.meshgrid(grid, grid, indexing="ij"), order=1)
    if rng.random() < 0.2:
        part = ndimage.gaussian_filter(part, rng.uniform(0.5, 2))
    spread = float(part.std())
    return np.asarray((part - part.mean()) / spread if spread > 1e-3 else part - part.mean())


@cache
def _photo(name: str) -> NDArray[np.float64]:
    """A photograph in grey, from 0 to 1."""
    from skimage import color, data, util  # ships the images

    image = util.img_as_float64(getattr(data, name)())
    return np.asarray(color.rgb2gray(image[..., :3]) if image.ndim == 3 else image)


def _partly_empty(image: Complex, rng: np.random.Generator) -> Complex:
    """The object inside a shape with vacuum around it."""
    edge = len(image)
    field = ndimage.gaussian_filter(rng.standard_normal((edge, edge)), edge / rng.uniform(6, 20), mode="wrap")
    inside = ndimage.gaussian_filter((field > np.quantile(field, rng.uniform(0.2, 0.8))).astype(float), 0.7)
    return (1 + (image - 1) * inside).astype(np.complex64)

"""Reference arrays of the TensorFlow program, and the ways from its axes to ours."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"


@cache
def oracle(name: str) -> dict[str, Tensor]:
    """All numeric arrays of ``data/<name>.npz`` in their stored dtype. Not to be changed in place."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind in "bifc"}


def channels_first(images: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return images.movedim(-1, 1)


def yx(offsets: Tensor) -> Tensor:
    """Offsets (B, 1, 2, C) in the order [x, y] -> (B, C, 2) in the order (y, x)."""
    return offsets[:, 0].flip(1).transpose(1, 2)


def deviation(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest absolute expected value."""
    assert found.shape == expected.shape, f"shapes {tuple(found.shape)} and {tuple(expected.shape)}"
    return float((found - expected).abs().max() / expected.abs().max())


def assert_within(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Check ``max |found - expected| <= tolerance * max |expected|``; NaN fails."""
    error = deviation(found, expected)
    assert error <= tolerance, f"differs by {error:.1e} of the largest value, allowed {tolerance:.0e}"

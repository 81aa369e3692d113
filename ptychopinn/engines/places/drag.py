"""Position steps that drag the image along.

When the frames of a neighbourhood move together, the image there moves with them and the counts hardly change. With
positions and image as independent unknowns such a move is a large change of the image, which no linear step makes when
it is longer than a pixel. The unknowns here are instead the moves d, an affine map M of the whole scan, and what the
image changes besides: ``r = r0 + D``, ``D_j = d_j + M (r_j - mean)``, ``O(x) = O0(x - u(x)) + o(x)``, where the field
``u = place(|P|^2 D) / place(|P|^2)`` is the mean move of the frames that light a pixel.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ptychopinn.engines.fisher import Linearised, Precondition, Step, scaling
from ptychopinn.engines.projections import Estimate
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import probe_intensity

DIM = 0.05
"""Light, of the largest, below which the image is dragged less."""

MAP_PASSES = 4
"""Passes over the frames that the preconditioner of the map takes."""


class Dragged:
    """A linearised likelihood in these unknowns; ``solve`` takes it in place of a :class:`Linearised`.

    Its steps have the keys of the likelihood's and ``map`` (2, 2): pixels at the mean distance from the middle.

    Args:
        linear: with positions among its unknowns.
    """

    def __init__(self, linear: Linearised) -> None:
        self.linear, now = linear, linear.estimate
        light = probe_intensity(now.probe)
        self._light, self._places = light / light.sum(), now.positions.to(light.dtype)
        self._shape = (now.image.shape[0], now.image.shape[1])
        cover = place_patches(self._light.expand(len(self._places), -1, -1), self._places, self._shape)
        self._cover = cover + DIM * cover.max()
        self._slopes = _slopes(now.image)
        about = self._places - self._places.mean(dim=0)
        self._about = about / about.square().sum(dim=1).mean().sqrt().clamp_min(1.0)
        self.gradient = self._adjoint(linear.gradient)

    def information(self, step: Step) -> Step:
        """Fisher information times a step."""
        return self._adjoint(self.linear.information(self._forward(step)))

    def preconditioning(self) -> Precondition:
        """:meth:`preconditioner`, times a step."""
        return scaling(self.preconditioner())

    def preconditioner(self) -> Step:
        """That of the likelihood, and the inverse diagonal of the information of the map."""
        found, scale = self.linear.preconditioner(), torch.zeros(2, 2).to(self._about)
        for row in (0, 1):
            for column in (0, 1):
                unit: Step = {name: torch.zeros_like(value) for name, value in self.gradient.items()}
                unit["map"][row, column] = 1
                scale[row, column] = self.information(unit)["map"][row, column]
        return found | {"map": 1 / scale.clamp_min(1e-6 * float(scale.max()) + 1e-30)}

    def carried(self, step: Step) -> tuple[Estimate, Step]:
        """The estimate with its image dragged along by a step, and what the step changes besides."""
        now, moves = self.linear.estimate, self._moves(step)
        image = _warped(now.image, self._field(moves - moves.mean(dim=0)))
        rest: Step = {name: value for name, value in step.items() if name != "map"}
        return replace(now, image=image), rest | {"positions": moves}

    def _moves(self, step: Step) -> Tensor:
        """All moves D (n, 2)."""
        return step["positions"] + self._about @ step["map"].T

    def _field(self, moves: Tensor) -> Tensor:
        """Field u (2, H, W) of moves (n, 2)."""
        parts = (place_patches(self._light * move[:, None, None], self._places, self._shape) for move in moves.T)
        return torch.stack([part / self._cover for part in parts])

    def _forward(self, step: Step) -> Step:
        """A step as changes of image and positions: ``dO = o - u . grad O``."""
        moves = self._moves(step)
        found: Step = {name: value for name, value in step.items() if name != "map"}
        found["object"] = step["object"] - (self._slopes * self._field(moves)).sum(dim=0)
        return found | {"positions": moves}

    def _adjoint(self, step: Step) -> Step:
        """Adjoint of :meth:`_forward`."""
        pulls = -(self._slopes.conj() * step["object"]).real / self._cover
        size = self._light.shape[-1]
        sums = [(self._light * extract_patches(pull, self._places, size)).sum(dim=(1, 2)) for pull in pulls]
        moves = step["positions"] + torch.stack(sums, dim=1)
        return step | {"positions": moves, "map": moves.T @ self._about}


def _slopes(image: Tensor) -> Tensor:
    """Central differences of an image along y and x, 0 at its edges: (2, H, W)."""
    found = torch.zeros(2, *image.shape, dtype=image.dtype, device=image.device)
    found[0, 1:-1] = (image[2:] - image[:-2]) / 2
    found[1, :, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return found


def _warped(image: Tensor, field: Tensor) -> Tensor:
    """``O(x - u(x))``, bicubic, vacuum outside."""
    height, width = image.shape
    rows, columns = (torch.arange(length, device=image.device, dtype=field.dtype) for length in image.shape)
    y, x = rows[:, None] - field[0], columns[None, :] - field[1]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)[None]
    parts = torch.view_as_real(image - 1).permute(2, 0, 1)[None]
    moved = torch.nn.functional.grid_sample(parts, grid, mode="bicubic", align_corners=True)
    return torch.view_as_complex(moved[0].permute(1, 2, 0).contiguous()) + 1

"""Stitching: sums of patches on a canvas, which can grow, be joined and be read at any time."""

from typing import Self

import torch
from torch import Tensor

from ptychopinn.physics.patches import Canvas
from ptychopinn.physics.reassembly import normalise
from ptychopinn.scan.canvas import bounds, common
from ptychopinn.scan.frames import chunks

TOGETHER, TOGETHER_ON_GPU = 2**18, 2**22
"""Pixels of patches placed at once: 2 MB on a CPU, where larger arrays allocate fresh memory every time."""


class Stitcher:
    """Weighted sums over patches on a box of whole pixels.

    With the weights ``w`` of a patch and its values ``p``, each spread bilinearly over the pixels it touches, a pixel
    knows ``sum w p``, ``sum w``, ``sum w (|p| - 1)`` and ``sum w (|p| - 1)^2``; about 1, the amplitude of vacuum,
    because little is then lost to rounding. They give the mean and the scatter of the patches without a second
    look at them, and sums of different patches add up. Without ``moments`` only the first two are kept.

    Args:
        shape: height and width of the box.
        weight: (N, N) real, >= 0, on the device that is to hold the sums.
        origin: (y, x) of its pixel [0, 0] in the frame of the positions, whole pixels.
        moments: whether :meth:`spread` is wanted.
    """

    def __init__(
        self, shape: tuple[int, int], weight: Tensor, origin: tuple[int, int] = (0, 0), moments: bool = True
    ) -> None:
        self.shape, self.weight, self.origin = shape, weight, origin
        self.lit = lit_square(weight)
        size, device = self.lit.stop - self.lit.start, weight.device
        self._image = Canvas(shape, size, torch.complex64, device)
        self._light = Canvas(shape, size, torch.float32, device)
        # Real and imaginary part are the first and the second moment: one placement adds both.
        self._beside = Canvas(shape, size, torch.complex64, device) if moments else None

    @classmethod
    def around(cls, positions: Tensor, weight: Tensor) -> Self:
        """An empty one on the smallest box that holds the patches at all positions (..., 2)."""
        origin, shape = bounds(positions.reshape(-1, 2).cpu().numpy(), weight.shape[-1])
        return cls(shape, weight, origin)

    def add(self, patches: Tensor, positions: Tensor, phases: Tensor | None = None) -> None:
        """Add groups of patches.

        Args:
            patches: (n, C, N, N) complex, on any device; chunks move to that of the weight.
            positions: (n, C, 2) pixels.
            phases: (n,) rad to subtract from each group.
        """
        device, weight = self.weight.device, self.weight[self.lit, self.lit]
        places = (positions.cpu() - torch.tensor(self.origin, dtype=torch.float64)).to(device)
        self._light.add(weight.expand(places[..., 0].numel(), -1, -1), places.flatten(0, 1))
        for some in chunks(len(patches), self._together(patches, phases)):
            part, at = patches[some, :, self.lit, self.lit].to(device), places[some].flatten(0, 1)
            if phases is not None:
                turn = torch.polar(torch.ones(len(part)), -phases[some].float()).to(device)
                part = part * turn[:, None, None, None]
            part = part.flatten(0, 1)
            self._image.add(part, at, weight)
            if self._beside is not None:
                # Half the time of abs(), which guards against squares that overflow.
                change = (part.real.square() + part.imag.square()).sqrt() - 1
                self._beside.add(torch.complex(change, change.square()), at, weight)
        for canvas in (self._image, self._light, self._beside):
            if canvas is not None:
                canvas.rest()  # many parts may wait for one another

    def _together(self, patches: Tensor, phases: Tensor | None) -> int:
        """Groups that are handled at once; all of them where only their sum is needed."""
        device = self.weight.device
        if phases is None and self._beside is None and patches.device == device:
            return max(1, len(patches))
        most = TOGETHER_ON_GPU if device.type == "cuda" else TOGETHER
        return max(1, most // max(1, patches.shape[1] * self.weight.numel()))

    @property
    def total(self) -> Tensor:
        """``sum w p`` (H, W) complex64."""
        return self._image.image

    @property
    def coverage(self) -> Tensor:
        """``sum w`` (H, W) float32."""
        return self._light.image

    @property
    def moments(self) -> Tensor | None:
        """``sum w (|p| - 1)`` and, as imaginary part, ``sum w (|p| - 1)^2`` (H, W) complex64."""
        return None if self._beside is None else self._beside.image

    def image(self) -> Tensor:
        """Weighted mean of the patches (H, W) complex64; 0 where none lies."""
        return normalise(self.total, self.coverage)

    def spread(self) -> tuple[Tensor, Tensor]:
        """Scatter of overlapping patches: an error bar of the prediction.

        The weighted standard deviation of ``|p|`` over the patches that hold a pixel, and the circular one of their
        phases, ``sqrt(-2 ln R)`` with ``R = |sum w p| / sum w |p|`` (Mardia, Jupp: Directional Statistics, 2000).
        Not those of their mean: patches of one network share their errors.

        Returns:
            Amplitude and phase in rad, both (H, W) real, NaN where no patch lies.
        """
        if self.moments is None:
            raise ValueError("the moments were not kept")
        covered = self.coverage > torch.finfo(self.coverage.dtype).tiny
        mean = normalise(self.moments, self.coverage)
        amplitude = (mean.imag - mean.real.square()).clamp_min(0).sqrt()
        resultant = self.image().abs() / (1 + mean.real).clamp_min(torch.finfo(torch.float32).tiny)
        phase = (-2 * resultant.clamp(torch.finfo(torch.float32).tiny, 1).log()).sqrt()
        return torch.where(covered, amplitude, torch.nan), torch.where(covered, phase, torch.nan)

    def merge(self, other: "Stitcher", turn: bool = False) -> None:
        """Add the sums of another one, where they fall into this box.

        Args:
            other: with the same weight.
            turn: first give it the phase that fits best where both are covered:
                the phase of ``sum o_1 o_2^* c_1 c_2 / (c_1 + c_2)`` of the images ``o`` and coverages ``c``.
        """
        here, there = common(self.origin, self.shape, other.origin, other.shape)
        total = other.total[there]
        if turn:
            both = (self.coverage[here] + other.coverage[there]).clamp_min(torch.finfo(torch.float32).tiny)
            product = (self.total[here] / both * total.conj()).sum()
            total = total * torch.polar(torch.ones_like(product.real), product.angle())
        self.total[here] += total
        self.coverage[here] += other.coverage[there]
        if self.moments is not None and other.moments is not None:
            self.moments[here] += other.moments[there]


def lit_square(weight: Tensor, dark: float = 0.0) -> slice:
    """Rows, and columns, of the smallest square about the centre that holds all but a share of the weight (N, N)."""
    size = weight.shape[-1]
    distance = (torch.arange(size, device=weight.device) - size // 2).abs()
    within = weight.new_zeros(size // 2 + 1, dtype=torch.float64)
    within.index_add_(0, torch.maximum(distance[:, None], distance).flatten(), weight.double().flatten())
    half = int((within.cumsum(0) < (1 - dark) * within.sum()).sum()) + 1
    return slice(max(0, size // 2 - half), min(size, size // 2 + half))


def joined(first: Stitcher, second: Stitcher, turn: bool) -> Stitcher:
    """Two as one, on the smallest box that holds both; see :meth:`Stitcher.merge`. ``first`` may be changed."""
    low = [min(pair) for pair in zip(first.origin, second.origin, strict=True)]
    ends = (
        max(a + m, b + n) for a, m, b, n in zip(first.origin, first.shape, second.origin, second.shape, strict=True)
    )
    shape = [end - start for end, start in zip(ends, low, strict=True)]
    if tuple(shape) != first.shape:
        whole = Stitcher((shape[0], shape[1]), first.weight, (low[0], low[1]), first.moments is not None)
        whole.merge(first)
        first = whole
    first.merge(second, turn)
    return first

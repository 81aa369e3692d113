"""The illumination of a scan as tensors: probe, good detector pixels and lit area."""

from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.scan.scan import Scan


class Illumination(NamedTuple):
    """What a model needs to know of a scan besides its frames and positions.

    Attributes:
        probe: (m, N, N) complex64, sqrt(photons).
        good_pixels: (N, N) bool; None means all.
        support: edge of the central square that the probe lights (``Scan.support``), pixels.
    """

    probe: Tensor
    good_pixels: Tensor | None
    support: int

    @classmethod
    def of(cls, scan: Scan) -> "Illumination":
        """The illumination of a scan; its frames are not read."""
        good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels)
        return cls(torch.from_numpy(scan.probe), good, scan.support)

    def to(self, device: torch.device | str) -> "Illumination":
        """The same on another device."""
        good = None if self.good_pixels is None else self.good_pixels.to(device)
        return self._replace(probe=self.probe.to(device), good_pixels=good)

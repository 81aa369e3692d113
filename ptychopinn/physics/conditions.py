"""Conditions of a measurement: what differs from frame to frame beside the position, and light not of the sample.

Frame j has the rates ``I_j = c_j sum_m |F (P_jm O[patch at r_j])|^2 + b``: its flux c_j, its probe
``P_j1 = P_1 + sum_k w_jk V_k`` (orthogonal probe relaxation: Odstrcil et al., Optics Express 24, 8360, 2016), and the
background b of every detector pixel.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import SubPixel, probe_views
from ptychopinn.physics.patches import extract_patches

Rows = slice | Tensor


class Conditions(NamedTuple):
    """Conditions of n frames; what is None is ideal.

    Attributes:
        flux: (n,) real factors c_j of the photons.
        background: (N, N) real counts b per detector pixel.
        opr_modes: (K, N, N) complex V_k, changes of the first mode of the probe, sqrt(photons).
        opr_weights: (n, K) real w_jk.
    """

    flux: Tensor | None = None
    background: Tensor | None = None
    opr_modes: Tensor | None = None
    opr_weights: Tensor | None = None

    @property
    def ideal(self) -> bool:
        """Whether nothing differs."""
        return all(part is None for part in self)

    def to(self, device: torch.device | str) -> "Conditions":
        """The same on another device."""
        return Conditions(*(None if part is None else part.to(device) for part in self))

    def of(self, rows: Rows) -> "Conditions":
        """Those of some frames."""
        flux, weights = (None if part is None else part[rows] for part in (self.flux, self.opr_weights))
        return self._replace(flux=flux, opr_weights=weights)

    def amplitudes(self, rows: Rows, like: Tensor) -> Tensor | None:
        """``sqrt(c_j)`` of some frames, (n,), in the precision of a probe; None where all are 1."""
        return None if self.flux is None else self.flux[rows].sqrt().to(like.device, like.real.dtype)

    def probes(self, probe: Tensor, rows: Rows) -> Tensor:
        """Probes of some frames with their flux: (m, N, N) -> (n, m, N, N), or as given where all frames share it."""
        found = probe
        if self.opr_modes is not None and self.opr_weights is not None:
            weights = self.opr_weights[rows].to(probe.dtype)
            change = (weights @ self.opr_modes.flatten(1)).reshape(-1, 1, *probe.shape[1:])
            found = torch.cat([probe[:1] + change, probe[1:].expand(len(change), -1, -1, -1)], dim=1)
        scale = self.amplitudes(rows, probe)
        return found if scale is None else found * scale[:, None, None, None]

    def counted(self, light: Tensor) -> Tensor:
        """Rates behind the background: (..., N, N) photons of the sample -> expected counts."""
        return light if self.background is None else light + self.background.to(light.dtype)


IDEAL = Conditions()
"""The same flux and probe in all frames, no background."""


def expected_counts(
    image: Tensor, probe: Tensor, positions: Tensor, subpixel: SubPixel, conditions: Conditions
) -> Tensor:
    """Expected counts of frames at positions (n, 2) on an image (H, W), under their conditions: (n, N, N)."""
    views = probe_views(conditions.probes(probe, slice(None)), positions, subpixel)
    return conditions.counted(diffract(views.probes, extract_patches(image, views.places, probe.shape[-1])))

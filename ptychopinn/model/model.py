"""Network and physics together: counts of a group in, object patches and expected counts out."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ptychopinn.config import ModelConfig
from ptychopinn.model import features
from ptychopinn.model.unet import UNet, to_complex
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import probe_intensity, probe_power
from ptychopinn.physics.reassembly import reassemble
from ptychopinn.scan.scan import Scan

BASE_WIDTH = 16
"""Channels at full size for ``n_filters_scale`` 1."""

SCALE_FRAMES = 4096
"""Frames that decide the input scale of amplitudes."""


class Illumination(NamedTuple):
    """What a model needs to know of the experiment besides the frames.

    Attributes:
        probe: (m, N, N) complex64, sqrt(photons).
        good_pixels: (N, N) bool or None.
        support: edge of the central square that the probe lights (``Scan.support``).
        scale: input scale of the amplitudes (``features.amplitude_scale``).
    """

    probe: Tensor
    good_pixels: Tensor | None
    support: int
    scale: float

    @classmethod
    def of(cls, scan: Scan) -> "Illumination":
        """What a scan says of its experiment."""
        return cls(
            probe=torch.from_numpy(scan.probe),
            good_pixels=None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels),
            support=scan.support,
            scale=features.scale_at(scan.N, scan.subset(slice(0, SCALE_FRAMES)).photons),
        )

    def to(self, device: torch.device | str) -> "Illumination":
        """The same on another device."""
        mask = None if self.good_pixels is None else self.good_pixels.to(device)
        return self._replace(probe=self.probe.to(device), good_pixels=mask)


class TrainedProbe(nn.Module):
    """A probe that learns; its total power stays what the given probe had, since object and probe trade scale.

    Args:
        probe: (m, N, N) complex64 to start from.
        mask: (N, N) real, what it is multiplied with; all ones when None.
    """

    start: Tensor
    mask: Tensor

    def __init__(self, probe: Tensor, mask: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("start", torch.view_as_real(probe).clone())
        self.register_buffer("mask", torch.ones(probe.shape[-2:]) if mask is None else mask.clone())
        self.unit = float(probe_intensity(probe).max().sqrt())
        self.power = float(probe_power(probe).sum())
        self.change = nn.Parameter(torch.zeros_like(self.start))

    def forward(self) -> Tensor:
        """The probe as it is now, (m, N, N) complex64."""
        probe = torch.view_as_complex(self.start + self.unit * self.change) * self.mask
        return probe * (self.power / probe_power(probe).sum()).sqrt()


class PtychoModel(nn.Module):
    """C frames of a group to C complex patches, and patches to expected counts.

    With ``realspace`` features the network works on a canvas that holds the group. Each of its stages sees the
    corrections that one projection step asks of the estimate so far (vacuum at first) and adds its own change:
    an unrolled reconstruction whose steps are learnt. With ``amplitude`` features it maps frames to patches.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = max(4, round(BASE_WIDTH * config.n_filters_scale))
        channels = config.gridsize**2
        if config.features == "amplitude":
            self.networks = nn.ModuleList([UNet(channels, 2 * channels, width, config.depth)])
        else:
            self.networks = nn.ModuleList(UNet(3 * channels + 2, 2, width, config.depth) for _ in range(config.stages))

    def forward(self, counts: Tensor, offsets: Tensor, light: Illumination, reach: int) -> list[Tensor]:
        """Predict the patches of every group, once per stage; the last entry is the answer.

        Args:
            counts: (B, C, N, N) photons.
            offsets: (B, C, 2) positions relative to the centre of the group, pixels (y, x).
            light: the experiment.
            reach: whole pixels by which any group of the data set extends, so that its canvas, and so the
                result, does not depend on which groups share a batch.

        Returns:
            (B, C, N, N) complex64 for each stage.
        """
        if self.config.features == "amplitude":
            return [self._from_amplitudes(counts, light.scale)]
        return self._from_corrections(counts, offsets, light, reach)

    def predict_counts(self, patches: Tensor, offsets: Tensor, light: Illumination, reach: int) -> Tensor:
        """Patches of a group -> one object -> expected photons, so that overlapping patches must agree.

        Args:
            patches: (B, C, N, N) complex.
            offsets: (B, C, 2) pixels.
            light: the experiment.
            reach: as in :meth:`forward`.

        Returns:
            (B, C, N, N) photons.
        """
        size = patches.shape[-1]
        if patches.shape[1] > 1:
            edge = size + 2 * (reach + 1)
            places = offsets + edge // 2
            canvas, _ = reassemble(patches, places, (edge, edge), probe_intensity(light.probe))
            patches = extract_patches(canvas, places, size)
        return diffract(light.probe, patches)

    def _from_amplitudes(self, counts: Tensor, scale: float) -> Tensor:
        edge = self._multiple(counts.shape[-1])
        pad = edge - counts.shape[-1]
        amplitudes = nn.functional.pad(counts.sqrt() * scale, (0, pad, 0, pad))
        patches = to_complex(self.networks[0](amplitudes), self.config.amp_activation)
        return patches[..., : counts.shape[-1], : counts.shape[-1]]

    def _from_corrections(self, counts: Tensor, offsets: Tensor, light: Illumination, reach: int) -> list[Tensor]:
        size = counts.shape[-1]
        edge = self._multiple(light.support + 2 * reach)
        share = features.probe_share(light.probe, light.support).expand(*offsets.shape[:2], -1, -1)
        shares = features.on_canvas(share, offsets, edge)
        patches = torch.ones_like(counts, dtype=light.probe.dtype)
        channels = counts.new_zeros(len(counts), 2, edge, edge)
        stages = []
        for network in self.networks:
            found = features.corrections(counts, light.probe, patches, light.support, light.good_pixels)
            placed = features.on_canvas(found, offsets, edge)
            channels = channels + network(torch.cat([placed.real, placed.imag, shares, channels], dim=1))
            canvas = to_complex(channels, self.config.amp_activation)[:, 0]
            # Outside the canvas the probe has no power; vacuum stands there.
            patches = features.off_canvas(canvas, offsets, size)
            stages.append(patches)
        return stages

    def _multiple(self, edge: int) -> int:
        step = 2**self.config.depth
        return -(-edge // step) * step

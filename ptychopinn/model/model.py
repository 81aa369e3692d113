"""Network and physics together: counts of a group in, object patches and expected counts out."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from ptychopinn.config import ModelConfig
from ptychopinn.model import features
from ptychopinn.model.unet import UNet, to_complex
from ptychopinn.model.whole import REPEATS, Lights, SmallScans, as_transformed, passes, reconstructed, vacuum
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import shift_probe
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import probe_intensity, probe_power
from ptychopinn.physics.reassembly import reassemble
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan

BASE_WIDTH = 16
"""Channels at full size for ``n_filters_scale`` 1."""


class TrainedProbe(nn.Module):
    """A trainable probe of constant total power, since object and probe share one factor.

    Args:
        probe: (m, N, N) complex64 to start from.
        mask: (N, N) real, multiplies the probe; all ones when None.
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
        """The present probe, (m, N, N) complex64."""
        probe = torch.view_as_complex(self.start + self.unit * self.change) * self.mask
        return probe * (self.power / probe_power(probe).sum()).sqrt()


class PtychoModel(nn.Module):
    """C frames of a group to C complex patches, and patches to expected counts.

    With ``realspace`` features the network works on a canvas that holds the group. Each stage takes the corrections
    of one projection step from the present estimate (vacuum at first) and adds its own change: an unrolled
    reconstruction with learnt steps. With ``amplitude`` features it maps frames to patches.

    Args:
        config: of the network.
        input_scale: of the amplitudes (:func:`ptychopinn.model.features.input_scale`); other features have none.
    """

    def __init__(self, config: ModelConfig, input_scale: float = 1.0) -> None:
        super().__init__()
        self.config, self.input_scale = config, input_scale
        width = max(4, round(BASE_WIDTH * config.n_filters_scale))
        channels = config.gridsize**2
        if config.features == "amplitude":
            self.networks = nn.ModuleList([UNet(channels, 2 * channels, width, config.depth)])
        else:
            seen = (4 if config.sees_noise else 3) * channels + 2
            known, found = seen + int(config.whole) + config.hidden_channels, 2 + config.hidden_channels
            self.networks = nn.ModuleList(UNet(known, found, width, config.depth) for _ in range(config.stages))

    def scaled_to(self, scan: Scan) -> Self:
        """The same network, weights shared, with the input scale of a scan where its features have one."""
        if self.config.features != "amplitude":
            return self
        scaled = copy.copy(self)
        scaled.input_scale = features.input_scale(scan)
        return scaled

    def forward(
        self, counts: Tensor, offsets: Tensor, illumination: Illumination, reach: int, dose: Tensor | None = None
    ) -> list[Tensor]:
        """Predict the patches of every group, once per stage; the last entry is the result.

        Args:
            counts: (B, C, N, N) photons.
            offsets: (B, C, 2) positions relative to the centre of the group, pixels (y, x).
            illumination: probe, good pixels and lit area, of all groups or of each.
            reach: largest offset of the whole data set in whole pixels, so that the canvas, and with it the result,
                does not depend on which groups share a batch.
            dose: (B,) photons that were counted per photon in ``counts``, where these are scaled; None: 1.

        Returns:
            (B, C, N, N) complex64 for each stage.
        """
        if self.config.features == "amplitude":
            return [self._from_amplitudes(counts)]
        if self.config.whole and counts.shape[1] > 1:
            return self._from_small_scans(counts, offsets, illumination, reach, dose)
        return self._from_corrections(counts, offsets, illumination, reach, dose)

    def predict_counts(self, patches: Tensor, offsets: Tensor, illumination: Illumination, reach: int) -> Tensor:
        """Patches of a group -> one object -> expected photons, so that overlapping patches must agree.

        Args:
            patches: (B, C, N, N) complex.
            offsets: (B, C, 2) pixels.
            illumination: probe, good pixels and lit area.
            reach: as in :meth:`forward`.

        Returns:
            (B, C, N, N) photons.
        """
        size = patches.shape[-1]
        if patches.shape[1] > 1:
            edge = size + 2 * (reach + 1)
            places = offsets + edge // 2
            canvas, _ = reassemble(patches, places, (edge, edge), probe_intensity(illumination.probe))
            patches = extract_patches(canvas, places, size)
        return diffract(illumination.probe, patches)

    def _from_amplitudes(self, counts: Tensor) -> Tensor:
        edge = self._multiple(counts.shape[-1])
        pad = edge - counts.shape[-1]
        amplitudes = nn.functional.pad(counts.sqrt() * self.input_scale, (0, pad, 0, pad))
        patches = to_complex(self.networks[0](amplitudes), self.config.amp_activation)
        return patches[..., : counts.shape[-1], : counts.shape[-1]]

    def _from_corrections(
        self, counts: Tensor, offsets: Tensor, illumination: Illumination, reach: int, dose: Tensor | None
    ) -> list[Tensor]:
        size, (probe, good_pixels, support) = counts.shape[-1], illumination
        edge = self._multiple(support + 2 * reach)
        known = [features.probe_share(probe, support)]
        if self.config.sees_noise:
            known.append(features.light_level(probe, support, dose))
        if self.config.whole:
            known.append(torch.zeros_like(known[0]))  # the scale of small corrections, which single frames have not
        light = torch.cat(
            [features.on_canvas(one.expand(*offsets.shape[:2], -1, -1), offsets, edge) for one in known], 1
        )
        patches = torch.ones_like(counts, dtype=probe.dtype)
        channels = counts.new_zeros(len(counts), 2 + self.config.hidden_channels, edge, edge)
        stages = []
        for network in self.networks:
            found = features.corrections(counts, probe, patches, support, good_pixels)
            placed = features.on_canvas(found, offsets, edge)
            channels = channels + network(torch.cat([placed.real, placed.imag, light, channels], dim=1))
            canvas = to_complex(channels[:, :2], self.config.amp_activation)[:, 0]
            # Outside the canvas the probe has no power: vacuum.
            patches = features.off_canvas(canvas, offsets, size)
            stages.append(patches)
        return stages

    def _from_small_scans(
        self, counts: Tensor, offsets: Tensor, illumination: Illumination, reach: int, dose: Tensor | None
    ) -> list[Tensor]:
        """Each group is a scan of its own; in training the later stages go on from any of their repeats."""
        size, (probe, good, support) = counts.shape[-1], illumination
        edge = self._multiple(support + 2 * (reach + 1))
        places = offsets + edge // 2
        whole = places.floor()
        probes = shift_probe(probe, (places - whole).flatten(0, 1)).unflatten(0, counts.shape[:2])
        if dose is not None:
            # What was scaled up is counted again as it was measured.
            counts = counts * dose[:, None, None, None]
            probes = probes * dose.sqrt()[:, None, None, None, None]
        lights = Lights(probes, whole, None if good is None else as_transformed(good))
        scene = SmallScans(as_transformed(counts).sqrt(), lights, (edge, edge))
        networks, order = list(self.networks), passes(len(self.networks))
        first = 0 if not self.training else int(torch.randint(REPEATS + 1, ())) * (len(networks) - 1)
        last = first + len(networks) if self.training else len(order)
        estimate = vacuum(scene.light, self.config.hidden_channels)
        activation = self.config.amp_activation
        if first:
            with torch.no_grad():
                estimate = reconstructed(networks, scene, activation, order[: first + 1], estimate)[-1]
            first += 1
        found = reconstructed(networks, scene, activation, order[first:last], estimate)
        images = [each.image for each in (found if self.training else found[-1:])]
        return [1 + extract_patches(image - 1, places, size) for image in images]

    def _multiple(self, edge: int) -> int:
        step = 2**self.config.depth
        return -(-edge // step) * step

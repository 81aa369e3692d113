"""Training groups: synthetic objects under the probe of a scan, mixed with measured groups."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ptychopinn.config import Settings
from ptychopinn.model.batches import Batch, GroupDataset, centred
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.grouping import form_groups, reach
from ptychopinn.scan.scan import Scan

FEWEST_TO_VALIDATE = 20

FAINTEST = 0.01
"""Smallest dose of synthetic frames, as a fraction of that of the scan: the network must learn noise, too."""


class SyntheticDataset(Dataset[Batch]):
    """The same groups laid at random over synthetic objects, measured with the scan's own probe."""

    def __init__(self, scan: Scan, groups: NDArray[np.int64], objects: Tensor, seed: int) -> None:
        """Args: the scan; (n, C) frame indices; (k, E, E) complex objects; seed of places, dose and noise."""
        self.offsets = centred(torch.from_numpy(scan.positions)[torch.from_numpy(groups)])
        self.reach = reach(scan.positions, groups)
        self.objects = objects
        self.probe = torch.from_numpy(scan.probe)
        self.mask = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels)
        self.seed = seed

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.offsets)

    def __getitems__(self, index: list[int]) -> Batch:
        """One batch; a group is the same whichever others are asked for with it."""
        generators = [torch.Generator().manual_seed((self.seed * 1_000_003 + i) % 2**63) for i in index]
        drawn = torch.stack([torch.rand(4, generator=generator) for generator in generators])
        offsets = self.offsets[index]
        size, edge = self.probe.shape[-1], self.objects.shape[-1]
        which = (drawn[:, 0] * len(self.objects)).long().clamp_max(len(self.objects) - 1)
        margin = size / 2 + self.reach + 1
        middle = margin + (edge - 2 * margin) * drawn[:, None, 1:3]
        targets = extract_patches(self.objects[which], middle + offsets, size)
        # Counts of a weaker beam, scaled back: the noise of a lower dose at the brightness of the scan.
        dose = FAINTEST ** drawn[:, 3]
        scale = dose[:, None, None, None]
        rates = scale * diffract(self.probe, targets)
        counts = torch.stack([torch.poisson(*pair) for pair in zip(rates, generators, strict=True)]) / scale
        if self.mask is not None:
            counts = counts * self.mask
        return Batch(counts, offsets, targets, torch.ones(len(index)), dose, self.reach)


class MixedDataset(Dataset[Batch]):
    """Measured groups first, synthetic ones after them; a batch may hold both."""

    def __init__(self, measured: GroupDataset, synthetic: SyntheticDataset | None) -> None:
        """Args: the two sources; the second may be missing."""
        self.measured = measured
        self.synthetic = synthetic
        self.reach = max(measured.reach, synthetic.reach if synthetic is not None else 0)

    def __len__(self) -> int:
        """Number of groups of both kinds."""
        return len(self.measured) + (len(self.synthetic) if self.synthetic is not None else 0)

    def __getitems__(self, index: list[int]) -> Batch:
        """One batch."""
        count = len(self.measured)
        parts = []
        if real := [i for i in index if i < count]:
            parts.append(self.measured.__getitems__(real))
        if self.synthetic is not None and (made := [i - count for i in index if i >= count]):
            parts.append(self.synthetic.__getitems__(made))
        if len(parts) == 1:
            return parts[0]._replace(reach=self.reach)
        parts = [part.to("cpu") for part in parts]  # synthetic counts are no whole numbers
        counts, offsets, targets, known, dose = (torch.cat(some) for some in list(zip(*parts, strict=True))[:-1])
        return Batch(counts, offsets, targets, known, dose, self.reach)


class ManyScans(Dataset[list[tuple[int, Batch]]]):
    """Groups of several scans, one scan after another; a batch is a list of the numbers of scans and their parts."""

    def __init__(self, scans: Sequence[GroupDataset | MixedDataset]) -> None:
        """Args: the groups of each scan."""
        self.scans = scans
        self.starts = np.cumsum([0, *(len(scan) for scan in scans)])

    def __len__(self) -> int:
        """Number of groups of all scans."""
        return int(self.starts[-1])

    def __getitems__(self, index: list[int]) -> list[tuple[int, Batch]]:
        """One batch: scans have probes, and may have frames, of their own."""
        chosen = np.asarray(index)
        of = np.searchsorted(self.starts, chosen, side="right") - 1
        parts = ((int(scan), (chosen[of == scan] - self.starts[scan]).tolist()) for scan in np.unique(of))
        return [(scan, self.scans[scan].__getitems__(rows)) for scan, rows in parts]


def frames_held_out(frames: int, val_fraction: float) -> int:
    """Number of frames kept for validation; none of a scan of fewer than 20."""
    return round(val_fraction * frames) if frames >= FEWEST_TO_VALIDATE else 0


def validation_groups(scan: Scan, settings: Settings) -> NDArray[np.int64]:
    """Groups (n, C) of a second scan that are validated: around frames spread evenly, at most those of an epoch.

    Args:
        scan: to validate on.
        settings: complete, of the training.
    """
    n_groups, neighbor_count = settings.data.n_groups, settings.data.neighbor_count
    assert n_groups is not None
    assert neighbor_count is not None
    seeds = np.unique(np.linspace(0, len(scan) - 1, min(n_groups, len(scan))).round().astype(np.int64))
    neighbor_count = min(neighbor_count, len(scan) - 1)
    return form_groups(scan.positions, settings.model.group_side, neighbor_count, None, settings.training.seed, seeds)


def synthetic_groups(measured: int, fraction: float) -> int:
    """Number of synthetic groups that are ``fraction`` of an epoch with ``measured`` measured ones."""
    return max(1, round(fraction / (1 - fraction) * measured)) if fraction > 0 else 0

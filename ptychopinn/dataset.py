"""Groups of frames as batches: from a measured scan, and from synthetic objects under its probe."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptychopinn.grouping import form_groups, reach
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.noise import draw_counts
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan import Scan
from ptychopinn.simulation import random_object

SYNTHETIC_OBJECTS = 32
SYNTHETIC_MARGIN = 128
"""Pixels by which a synthetic object is larger than a group, so that groups land in many places."""

FEWEST_TO_VALIDATE = 20

FAINTEST = 0.01
"""Synthetic frames are as bright as the scan down to this fraction of it, so that the network knows noise."""


class Batch(NamedTuple):
    """Groups of frames, and what their patches should be.

    Attributes:
        counts: (B, C, N, N) photons, float32 or integers of one or two bytes.
        offsets: (B, C, 2) float32 positions relative to the centre of each group, pixels (y, x).
        targets: (B, C, N, N) complex64 patches of the teacher or of the known object.
        has_target: (B,) float32, 0 where ``targets`` mean nothing.
        reach: largest offset of the whole data set in whole pixels, the same for every batch.
    """

    counts: Tensor
    offsets: Tensor
    targets: Tensor
    has_target: Tensor
    reach: int

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device, its counts as float32."""
        return Batch(*self.inputs(device), moved(self.targets, device), moved(self.has_target, device), self.reach)

    def inputs(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Counts and offsets on a device; the counts go there as they are and become float32 there."""
        return moved(self.counts, device).to(torch.float32), moved(self.offsets, device)


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; to a GPU it goes from page-locked memory and while the GPU computes."""
    if torch.device(device).type == "cuda" and not (tensor.is_cuda or tensor.is_pinned()):
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class GroupDataset(Dataset[Batch]):
    """Groups of a scan; fetched many at a time."""

    def __init__(self, scan: Scan, groups: NDArray[np.int64], target: Tensor | None = None) -> None:
        """Args: the scan; (n, C) frame indices; (H, W) object on the scan's canvas to cut targets from, or None."""
        self.scan = scan
        self.groups = groups
        self.target = target
        self.positions = scan.canvas_positions
        self.reach = reach(scan.positions, groups)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.groups)

    def __getitems__(self, index: list[int]) -> Batch:
        """One batch."""
        groups = self.groups[index]
        places = self.positions[torch.from_numpy(groups)]
        counts = self.scan.compact_frames(groups.ravel()).reshape(*groups.shape, self.scan.N, self.scan.N)
        known = self.target is not None
        if self.target is not None:
            flat = places.reshape(-1, 2).to(torch.float32)
            targets = extract_patches(self.target, flat, self.scan.N).reshape(counts.shape)
        else:
            targets = torch.ones_like(counts, dtype=torch.complex64)
        return Batch(counts, centred(places), targets, torch.full((len(groups),), float(known)), self.reach)


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
        dose = FAINTEST ** drawn[:, 3, None, None, None]
        rates = dose * diffract(self.probe, targets)
        counts = torch.stack([draw_counts(*pair) for pair in zip(rates, generators, strict=True)]) / dose
        if self.mask is not None:
            counts = counts * self.mask
        return Batch(counts, offsets, targets, torch.ones(len(index)), self.reach)


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
        counts, offsets, targets, has_target = (torch.cat(fields) for fields in list(zip(*parts, strict=True))[:-1])
        return Batch(counts, offsets, targets, has_target, self.reach)


class Grouping(NamedTuple):
    """How groups are drawn; see :func:`ptychopinn.grouping.form_groups`."""

    gridsize: int
    neighbor_count: int
    n_groups: int | None
    seed: int
    sequential: bool = False


class ScanDataModule(lightning.LightningDataModule):
    """Training batches, drawn anew every epoch, and a fixed validation set around frames never trained on.

    Several processes share every batch: each takes its part of the same groups in the same order.

    Args:
        scan: the measurement.
        grouping: how to draw groups.
        batch_size: groups per batch, all processes together.
        val_fraction: share of the groups whose seeds are kept for validation.
        target: (H, W) complex object on the scan's canvas for the patch error, or None.
        synthetic_fraction: share of synthetic groups in training.
        loader: further arguments of ``DataLoader``: workers, pinned memory.
    """

    def __init__(
        self,
        scan: Scan,
        grouping: Grouping,
        batch_size: int,
        val_fraction: float,
        target: Tensor | None,
        synthetic_fraction: float,
        loader: Mapping[str, Any] = MappingProxyType({"num_workers": 0}),
    ) -> None:
        super().__init__()
        self.scan, self.grouping, self.batch_size = scan, grouping, batch_size
        self.loader = dict(loader)
        self.target, self.synthetic_fraction = target, synthetic_fraction
        rng = np.random.default_rng(grouping.seed)
        self.held_out = np.zeros(len(scan), dtype=bool)
        self.held_out[rng.permutation(len(scan))[: frames_held_out(len(scan), val_fraction)]] = True
        self.objects = self._objects(rng) if synthetic_fraction > 0 else None
        self.goes_on_at = (0, 0)
        """Epoch that was begun before, and its batches that are over."""

    @property
    def validates(self) -> bool:
        """Whether frames are held out."""
        return bool(self.held_out.any())

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of this epoch; groups, synthetic places and noise depend on seed and epoch only."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        groups = self._train_groups(epoch)
        synthetic = None
        if self.objects is not None:
            wanted = np.resize(groups, (synthetic_groups(len(groups), self.synthetic_fraction), groups.shape[1]))
            synthetic = SyntheticDataset(self.scan, wanted, self.objects, self.grouping.seed * 10_007 + epoch)
        dataset = MixedDataset(GroupDataset(self.scan, groups, self.target), synthetic)
        generator = torch.Generator().manual_seed(self.grouping.seed * 100_003 + epoch)
        order = torch.randperm(len(dataset), generator=generator).tolist()
        # Processes of a training step together: a few groups are used twice rather than by one process only.
        over = self.goes_on_at[1] if epoch == self.goes_on_at[0] else 0
        return self._loader(dataset, order + order[: -len(order) % self._share()[1]], over)

    def val_dataloader(self) -> DataLoader[Batch] | list[None]:
        """Measured groups around held-out seeds; none when the scan is too small to hold frames out."""
        if not self.validates:
            return []
        gridsize, neighbor_count, _, seed, _ = self.grouping
        seeds = np.flatnonzero(self.held_out)
        groups = form_groups(self.scan.positions, gridsize, neighbor_count, None, seed, seeds)
        dataset = GroupDataset(self.scan, groups, self.target)
        return self._loader(dataset, list(range(len(dataset))))

    def _share(self) -> tuple[int, int]:
        """Number of this process among those that train together, and how many they are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _loader(self, dataset: Dataset[Batch], order: list[int], over: int = 0) -> DataLoader[Batch]:
        """Batches of a data set in an order, those that are over last; of each batch, the part of this process."""
        rank, world = self._share()
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        mine = [part for part in (batch[rank::world] for batch in batches) if part] or [order[:1]]
        # Lightning takes from the start only as many as are left of the epoch.
        return DataLoader(dataset, batch_sampler=mine[over:] + mine[:over], collate_fn=_as_it_is, **self.loader)

    def _train_groups(self, epoch: int) -> NDArray[np.int64]:
        """Groups among the frames that are not held out, as indices of the whole scan."""
        index = np.flatnonzero(~self.held_out)
        gridsize, neighbor_count, n_groups, seed, sequential = self.grouping
        if gridsize == 1 and n_groups is not None and n_groups <= len(self.scan):
            n_groups = min(n_groups, len(index))
        neighbor_count = min(neighbor_count, len(index) - 1)
        draw = seed * 1009 + epoch
        return index[
            form_groups(self.scan.positions[index], gridsize, neighbor_count, n_groups, draw, sequential=sequential)
        ]

    def _objects(self, rng: np.random.Generator) -> Tensor:
        span = reach(self.scan.positions, self._train_groups(0))
        edge = self.scan.N + 4 * span + SYNTHETIC_MARGIN
        made = [random_object(edge, rng) for _ in range(SYNTHETIC_OBJECTS)]
        return torch.from_numpy(np.stack(made))


def frames_held_out(frames: int, val_fraction: float) -> int:
    """How many frames of a scan are kept for validation; none of fewer than 20."""
    return round(val_fraction * frames) if frames >= FEWEST_TO_VALIDATE else 0


def synthetic_groups(measured: int, fraction: float) -> int:
    """How many synthetic groups make ``fraction`` of an epoch with so many measured ones."""
    return max(1, round(fraction / (1 - fraction) * measured)) if fraction > 0 else 0


def _as_it_is(batch: Any) -> Any:
    return batch


def centred(places: Tensor) -> Tensor:
    """Positions (B, C, 2) float64 relative to the mean of each group, as float32."""
    return (places - places.mean(dim=1, keepdim=True)).to(torch.float32)

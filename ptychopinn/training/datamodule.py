"""Batches for training and validation: which groups, in which order, for which process."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptychopinn.model.batches import Batch, GroupDataset
from ptychopinn.scan.grouping import form_groups, reach
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import random_object
from ptychopinn.training.dataset import Grouping, MixedDataset, SyntheticDataset, frames_held_out, synthetic_groups

SYNTHETIC_OBJECTS = 32
SYNTHETIC_MARGIN = 128
"""Pixels by which a synthetic object is larger than a group, so that groups land in many places."""


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


def _as_it_is(batch: Any) -> Any:
    return batch

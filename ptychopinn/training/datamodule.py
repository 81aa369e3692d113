"""Batches for training and validation: which groups, in which order, for which process."""

from collections.abc import Sequence
from typing import Any, Final

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptychopinn.config import Settings
from ptychopinn.model.batches import GroupDataset
from ptychopinn.scan.frames import chunks
from ptychopinn.scan.grouping import form_groups, reach
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import random_object
from ptychopinn.training.dataset import (
    ManyScans,
    MixedDataset,
    SyntheticDataset,
    frames_held_out,
    synthetic_groups,
    validation_groups,
)

LOADER_SETTINGS: Final = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor")

SYNTHETIC_OBJECTS = 32
SYNTHETIC_MARGIN = 128
"""Pixels by which a synthetic object is larger than a group, so that groups land in many places."""


class ScanDataModule(lightning.LightningDataModule):
    """Training batches, drawn again every epoch, and a fixed validation set around frames held out or of another scan.

    Several processes share every batch: each takes its part of the same groups in the same order.

    Args:
        scan: the measurement.
        settings: complete; see :class:`ptychopinn.training.plan.TrainingPlan`.
        validation: second scan to validate on, in place of frames held out.
        beside: data of further scans that are trained on in the same batches.

    Attributes:
        held_out: (n,) bool, the frames around which the validation groups lie.
        target: (H, W) complex object on the scan's canvas for the patch error, or None; set before the first batch.
        validation_target: the same of the second scan.
        resume_at: epoch that a resumed training continues, and its batches that are done.
    """

    def __init__(
        self,
        scan: Scan,
        settings: Settings,
        validation: Scan | None = None,
        beside: Sequence["ScanDataModule"] = (),
    ) -> None:
        super().__init__()
        self.parts: list[ScanDataModule] = [self, *beside]
        data, training = settings.data, settings.training
        assert data.neighbor_count is not None
        self.scan, self.seed, self.batch_size = scan, training.seed, training.batch_size
        self.gridsize, self.neighbor_count = settings.model.group_side, data.neighbor_count
        self.n_groups, self.sequential = data.n_groups, data.sequential_sampling
        self.synthetic_fraction = training.synthetic_fraction or 0.0
        self.loader = {name: getattr(settings.execution, name) for name in LOADER_SETTINGS}
        self.target: Tensor | None = None
        self.validation, self.validation_target = validation, self.target
        self.validation_groups = None if validation is None else validation_groups(validation, settings)
        self.resume_at = (0, 0)
        rng = np.random.default_rng(self.seed)
        self.held_out = np.zeros(len(scan), dtype=bool)
        self.held_out[rng.permutation(len(scan))[: frames_held_out(len(scan), training.val_fraction)]] = True
        self.objects = self._objects(rng) if self.synthetic_fraction > 0 else None

    @property
    def validates(self) -> bool:
        """Whether frames are held out, or there is a second scan."""
        return self.validation is not None or any(bool(part.held_out.any()) for part in self.parts)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of this epoch; groups, synthetic places and noise depend on seed and epoch only."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        datasets = [part.train_dataset(epoch) for part in self.parts]
        dataset = datasets[0] if len(datasets) == 1 else ManyScans(datasets)
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        order = torch.randperm(len(dataset), generator=generator).tolist()
        # All processes need equally many groups: a few groups are used twice.
        over = self.resume_at[1] if epoch == self.resume_at[0] else 0
        return self._loader(dataset, order + order[: -len(order) % self._share()[1]], over)

    def train_dataset(self, epoch: int) -> MixedDataset:
        """Measured and synthetic groups of this scan in an epoch."""
        groups = self._train_groups(epoch)
        synthetic = None
        if self.objects is not None:
            wanted = np.resize(groups, (synthetic_groups(len(groups), self.synthetic_fraction), groups.shape[1]))
            synthetic = SyntheticDataset(self.scan, wanted, self.objects, self.seed * 10_007 + epoch)
        return MixedDataset(GroupDataset(self.scan, groups, self.target), synthetic)

    def val_dataloader(self) -> DataLoader[Any] | list[None]:
        """Groups of the second scan, or around held-out seeds; none when the scan is too small to hold frames out."""
        if not self.validates:
            return []
        if self.validation is not None and self.validation_groups is not None:
            dataset = GroupDataset(self.validation, self.validation_groups, self.validation_target)
            return self._loader(dataset, list(range(len(dataset))))
        datasets = [part.held_out_dataset() for part in self.parts]
        both = datasets[0] if len(datasets) == 1 else ManyScans(datasets)
        return self._loader(both, list(range(len(both))))

    def held_out_dataset(self) -> GroupDataset:
        """Groups around the frames of this scan that are held out."""
        seeds = np.flatnonzero(self.held_out)
        groups = form_groups(self.scan.positions, self.gridsize, self.neighbor_count, None, self.seed, seeds)
        return GroupDataset(self.scan, groups, self.target)

    def _share(self) -> tuple[int, int]:
        """Rank of this process, and the number of processes that train together."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _loader(self, dataset: Dataset[Any], order: list[int], over: int = 0) -> DataLoader[Any]:
        """This process's share of each batch; the ``over`` batches done before a resume go last."""
        rank, world = self._share()
        batches = [order[part] for part in chunks(len(order), self.batch_size)]
        mine = [part for part in (batch[rank::world] for batch in batches) if part] or [order[:1]]
        # Lightning takes only as many from the start as remain of the epoch.
        return DataLoader(dataset, batch_sampler=mine[over:] + mine[:over], collate_fn=_as_it_is, **self.loader)

    def _train_groups(self, epoch: int) -> NDArray[np.int64]:
        """Groups among the frames that are not held out, as indices of the whole scan."""
        index = np.flatnonzero(~self.held_out)
        n_groups, positions = self.n_groups, self.scan.positions[index]
        if self.gridsize == 1 and n_groups is not None and n_groups <= len(self.scan):
            n_groups = min(n_groups, len(index))
        neighbor_count = min(self.neighbor_count, len(index) - 1)
        draw = self.seed * 1009 + epoch
        return index[form_groups(positions, self.gridsize, neighbor_count, n_groups, draw, sequential=self.sequential)]

    def _objects(self, rng: np.random.Generator) -> Tensor:
        span = reach(self.scan.positions, self._train_groups(0))
        edge = self.scan.N + 4 * span + SYNTHETIC_MARGIN
        made = [random_object(edge, rng) for _ in range(SYNTHETIC_OBJECTS)]
        return torch.from_numpy(np.stack(made))


def _as_it_is(batch: Any) -> Any:
    return batch

"""Groups of frames as batches."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ptychopinn.errors import PtychoError
from ptychopinn.model.bundle import Run
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.grouping import check_reach, form_groups, reach, usual_neighbor_count
from ptychopinn.scan.scan import Scan


class Batch(NamedTuple):
    """Groups of frames, and what their patches should be.

    Attributes:
        counts: (B, C, N, N) photons, float32 or integers of one or two bytes.
        offsets: (B, C, 2) float32 positions relative to the centre of each group, pixels (y, x).
        targets: (B, C, N, N) complex64 patches of the teacher or of the known object.
        has_target: (B,) float32, 0 where ``targets`` mean nothing.
        dose: (B,) photons that were counted per photon of ``counts``, below 1 where a weaker beam is scaled up.
        reach: largest offset of the whole data set in whole pixels, the same for every batch.
    """

    counts: Tensor
    offsets: Tensor
    targets: Tensor
    has_target: Tensor
    dose: Tensor
    reach: int

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device, its counts as float32."""
        counts, offsets = self.inputs(device)
        targets, has_target, dose = (moved(one, device) for one in (self.targets, self.has_target, self.dose))
        return Batch(counts, offsets, targets, has_target, dose, self.reach)

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
        has_target = torch.full((len(groups),), float(known))
        return Batch(counts, centred(places), targets, has_target, torch.ones(len(groups)), self.reach)


def centred(places: Tensor) -> Tensor:
    """Positions (B, C, 2) float64 relative to the mean of each group, as float32."""
    return (places - places.mean(dim=1, keepdim=True)).to(torch.float32)


def groups_of(run: Run, scan: Scan) -> NDArray[np.int64]:
    """Groups (n, C) that are predicted, each around its seed, the first of its frames."""
    gridsize = run.settings.model.gridsize
    if len(scan) < gridsize**2:
        raise PtychoError(
            f"scan: {len(scan)} frames, but the model was trained with gridsize {gridsize}: groups need {gridsize**2}."
        )
    if gridsize == 1:
        return np.arange(len(scan))[:, None]
    wanted = run.settings.data.neighbor_count or usual_neighbor_count(scan.positions, gridsize, scan.probe_diameter)
    groups = form_groups(scan.positions, gridsize, min(wanted, len(scan) - 1), None, run.settings.training.seed)
    check_reach(scan.positions, groups, scan.N)
    return groups

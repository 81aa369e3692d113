"""Prediction: groups of frames to stitched parts of the image, without an array of all patches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import PtychoError
from ptychopinn.inference.phases import group_phases
from ptychopinn.inference.processes import receive, send
from ptychopinn.inference.stitching import Stitcher, joined
from ptychopinn.model.batches import GroupDataset
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import ready, usual_batch_size
from ptychopinn.model.processes import Team
from ptychopinn.physics.probe import probe_intensity, probe_power
from ptychopinn.physics.reassembly import central_mask
from ptychopinn.scan.frames import chunks
from ptychopinn.scan.grouping import halved
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.probe_scale import as_networks_see
from ptychopinn.scan.scan import Scan


def groups_at_once(scan: Scan, channels: int, patch_memory: int) -> int:
    """Number of groups of C patches (complex64) that fit in ``patch_memory`` MiB, at least one.

    One more patch of each is held while groups agree on their phases, see
    :func:`ptychopinn.inference.phases.group_phases`.
    """
    return max(1, patch_memory * 2**20 // (8 * (channels + 1) * scan.N**2))


def check_trim(middle_trim: int | None, size: int) -> None:
    """Refuse to stitch more than a patch of ``size`` pixels.

    Raises:
        PtychoError: naming the setting.
    """
    if middle_trim is not None and middle_trim > size:
        raise PtychoError(f"middle_trim: {middle_trim} given; at most {size}, the edge of a patch, is possible.")


class Predictor:
    """Turns groups of frames into sums of patches on a canvas, and measures the seconds of each step.

    Args:
        run: with the network.
        scan: whose illumination is used.
        chosen: settings of inference.
        device: torch device.

    Raises:
        PtychoError: when more than a patch is to be stitched.
    """

    def __init__(self, run: Run, scan: Scan, chosen: InferenceConfig, device: str) -> None:
        middle_trim = chosen.middle_trim
        check_trim(middle_trim, scan.N)
        self.model, self.device = ready(run.model.scaled_to(scan), device, chosen.inference_precision), device
        self.batch_size = chosen.inference_batch_size or usual_batch_size(device)
        self.synchronise = chosen.synchronise
        self.illumination = Illumination.of(scan).to(device)
        seen, self.amplitude = as_networks_see(scan)
        self.seen = Illumination.of(seen).to(device)
        self.weight = probe_intensity(self.illumination.probe)
        self.stitch_weight = (
            self.weight if middle_trim is None else self.weight * central_mask(scan.N, middle_trim).to(device)
        )
        self.reach = scan.probe_diameter / 2
        self.seconds = {"network": 0.0, "phases": 0.0, "stitch": 0.0}

    @property
    def scales(self) -> NDArray[np.float64]:
        """Factor of the input, and photons of the probe as it is and as the network sees it, (3,)."""
        powers = (float(probe_power(each.probe).double().sum()) for each in (self.illumination, self.seen))
        return np.array([self.model.input_scale, *powers])

    def stitched(self, dataset: GroupDataset, rows: NDArray[np.int64], most: int, team: Team) -> Stitcher | None:
        """Stitch groups; too many at once are halved along their longer side, and the halves joined.

        Args:
            dataset: of the scan.
            rows: (k,) which of its groups, ascending.
            most: groups whose patches are held at once.
            team: that shares the work.

        Returns:
            The sums, in the first process of the team; None in the others.
        """
        if len(rows) <= most:
            if not team.leads:
                return None
            return self.placed(self.patches(dataset, rows), dataset.scan.positions[dataset.groups[rows]])
        first, second = (rows[half] for half in halved(dataset.scan.positions[dataset.groups[rows, 0]]))
        if len(team.members) == 1:
            return self.join(self.stitched(dataset, first, most, team), self.stitched(dataset, second, most, team))
        left, right = team.halves()
        if team.rank in left.members:
            found = self.stitched(dataset, first, most, left)
            return self.join(found, receive(self.stitch_weight, right.members.start)) if team.leads else None
        if (found := self.stitched(dataset, second, most, right)) is not None:
            send(found, left.members.start)
        return None

    def patches(self, dataset: GroupDataset, rows: NDArray[np.int64]) -> Tensor:
        """Patches (k, C, N, N) complex64 of some groups, on the device."""
        shape = len(rows), dataset.groups.shape[1], dataset.scan.N, dataset.scan.N
        patches = torch.empty(shape, dtype=torch.complex64, device=self.device)
        with self._timed("network"), torch.inference_mode():
            for some in chunks(len(rows), self.batch_size):
                batch = dataset.__getitems__(rows[some].tolist())
                counts, offsets = batch.inputs(self.device)
                patches[some] = self.model(counts, offsets, self.seen, batch.reach)[-1]
        return patches.mul_(self.amplitude)

    def placed(self, patches: Tensor, positions: NDArray[np.float64]) -> Stitcher:
        """Sums of patches (k, C, N, N) at positions (k, C, 2), after they agreed on their phases."""
        places = torch.from_numpy(positions)
        part = Stitcher.around(places, self.stitch_weight)
        phases = None
        if self.synchronise:
            with self._timed("phases"):
                inside = (places - torch.tensor(part.origin)).to(torch.float32)
                phases = group_phases(patches, inside, self.weight, self.reach)
        with self._timed("stitch"):
            part.add(patches, places, phases)
        return part

    def join(self, first: Stitcher | None, second: Stitcher | None) -> Stitcher:
        """Join two parts; the second is turned by the phase that fits best."""
        assert first is not None
        assert second is not None
        with self._timed("stitch"):
            return joined(first, second, turn=self.synchronise)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - began

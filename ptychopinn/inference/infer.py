"""Inference: the image of a scan from one pass of a trained network."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import InferenceConfig
from ptychopinn.inference.prediction import Predictor, groups_at_once
from ptychopinn.inference.processes import share
from ptychopinn.inference.stitching import Stitcher
from ptychopinn.inference.whole import infer_whole
from ptychopinn.model.batches import Batch, GroupDataset, groups_of
from ptychopinn.model.bundle import Run, with_trained_probe
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import check_scan
from ptychopinn.scan.coverage import light_on_canvas
from ptychopinn.scan.scan import Scan


def infer(
    run: Run,
    scan: Scan,
    chosen: InferenceConfig = InferenceConfig(),  # noqa: B008 - cannot be changed
    device: str = "cpu",
    team: Team = ALONE,
) -> Reconstruction:
    """Reconstruct a scan with one pass of a trained network.

    Every frame seeds one group. Groups agree on their global phases, then one probe-weighted reassembly makes
    the image. The result does not depend on the batch size.

    Where the patches of all groups fit in ``patch_memory``, all groups agree at once. A larger scan is halved along
    its longer side until the patches of a part fit. Groups agree within a part; then part joins
    part, turned by the one phase with which their images agree best where they overlap. Frames are read once, but
    for those that tell the deviance.

    Args:
        run: from :func:`ptychopinn.training.train` or :func:`ptychopinn.model.bundle.load_run`.
        scan: of any object; its own counts are used, and its own probe unless the run trained one.
        chosen: settings of inference.
        device: torch device.
        team: processes that share the parts of a scan; all return the same image.

    Raises:
        PtychoError: when the scan has fewer frames than a group, no photon, frames of another size than a trained
            probe, or positions too far apart for an image, or when more than a patch is to be stitched.
    """
    scan = with_trained_probe(run, scan)
    check_scan(scan, single_pass=not run.model.config.whole)
    if run.model.config.whole:
        return infer_whole(run, scan, chosen, device)
    predictor = Predictor(run, scan, chosen, device)
    dataset = _Watched(scan, groups_of(run, scan))
    at_once = groups_at_once(scan, dataset.groups.shape[1], chosen.patch_memory)
    rows = dataset.groups[:, 0].argsort()
    canvas = predictor.stitched(dataset, rows, at_once, team)
    if len(team.members) > 1:
        canvas = canvas or Stitcher(scan.canvas_shape, predictor.stitch_weight, scan.canvas_origin)
        share(canvas)
    assert canvas is not None
    result = finished(canvas, predictor, scan).with_deviance(scan, device, sampled=len(dataset) > at_once)
    return replace(result, dark=scan.numbers[dataset.dark])


class _Watched(GroupDataset):
    """Groups of a scan; records which of the frames that are read hold no photon."""

    def __init__(self, scan: Scan, groups: NDArray[np.int64]) -> None:
        super().__init__(scan, groups)
        self.dark = np.zeros(len(scan), dtype=bool)

    def __getitems__(self, index: list[int]) -> Batch:
        """One batch."""
        batch = super().__getitems__(index)
        self.dark[self.groups[index]] = batch.counts.numpy().max(axis=(-2, -1)) == 0
        return batch


def finished(canvas: Stitcher, predictor: Predictor, scan: Scan) -> Reconstruction:
    """The reconstruction from a complete canvas; its deviance is not known yet.

    Args:
        canvas: sums of all patches, on the smallest box that holds them.
        predictor: that made them.
        scan: whose positions they have; its frames are not read.
    """
    began = time.perf_counter()
    coverage = canvas.coverage
    if predictor.model.config.gridsize > 1:
        coverage = light_on_canvas(scan, predictor.stitch_weight)
    amplitude_std, phase_std = (spread.cpu().numpy() for spread in canvas.spread())
    result = Reconstruction.from_canvas(
        canvas.image(), scan, coverage, amplitude_std=amplitude_std, phase_std=phase_std
    )
    seconds = predictor.seconds | {"stitch": predictor.seconds["stitch"] + time.perf_counter() - began}
    return replace(result, seconds=seconds)

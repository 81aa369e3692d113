"""What a scan must be to train on, so that a wrong call costs nothing and leaves nothing behind."""

from ptychopinn.config import Settings
from ptychopinn.dataset import frames_held_out
from ptychopinn.errors import PtychoError
from ptychopinn.grouping import check_reach, form_groups, usual_neighbor_count
from ptychopinn.scan import Scan, check_canvas

FEWEST_FRAMES = 4
"""Of a scan to train on: patches must overlap."""

SMALLEST_FRAME = 8
"""Pixels along the edge of a frame to train on."""


def check_trainable(scan: Scan, settings: Settings) -> None:
    """Refuse a scan that cannot be trained on, or not with these settings.

    Args:
        scan: to train on.
        settings: all settings.

    Raises:
        PtychoError: naming the setting or the part of the scan, what is there and what is needed.
    """
    if len(scan) < FEWEST_FRAMES:
        frames = "1 frame" if len(scan) == 1 else f"{len(scan)} frames"
        raise PtychoError(f"scan: {frames} to train on; at least {FEWEST_FRAMES} that overlap are needed.")
    if scan.N < SMALLEST_FRAME:
        raise PtychoError(f"diffraction: frames of {scan.N} x {scan.N} pixels; at least {SMALLEST_FRAME} are needed.")
    if not scan.photons > 0:
        raise PtychoError("diffraction: zero everywhere; frames with photons are needed to train on.")
    check_canvas(scan)
    _check_groups(scan, settings)


def _check_groups(scan: Scan, settings: Settings) -> None:
    """Groups must exist in the whole scan, and frames must be left when validation has taken its share."""
    data, training, gridsize = settings.data, settings.training, settings.model.gridsize
    neighbor_count = data.neighbor_count or usual_neighbor_count(scan.positions, gridsize, scan.probe_diameter)
    groups = form_groups(scan.positions, gridsize, neighbor_count, data.n_groups, training.seed)
    check_reach(scan.positions, groups, scan.N)
    left, fewest = len(scan) - frames_held_out(len(scan), training.val_fraction), max(gridsize**2, FEWEST_FRAMES)
    if left < fewest:
        raise PtychoError(
            f"val_fraction: {training.val_fraction:g} given, which leaves {left} of {len(scan)} frames to train on; "
            f"at least {fewest} are needed."
        )

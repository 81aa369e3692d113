"""Positions that may be many pixels off: from single frames to a first image."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.engines.fisher import Linearised
from ptychopinn.engines.places.annealed import annealed, without_map
from ptychopinn.engines.places.registered import registered
from ptychopinn.engines.projections import Estimate, Projections, Unknown
from ptychopinn.scan.canvas import start_image
from ptychopinn.scan.scan import Scan

Vector = NDArray[np.float64]

SHARE, LEAST = 0.35, 2.0
"""Error of positions when none is stated: a share of the step, and at least so many pixels."""

LEAST_FRAMES = 12

JUDGED, JUDGE_EPOCHS, JUDGE_BATCH = 100, 10, 8
"""Frames in the middle of a scan, and epochs on them, by which positions are judged."""

BETTER = 0.6
"""Positions are taken below this share of the deviance of the held-out pixels with the nominal ones."""

OTHER_MAP = 0.8
"""Positions of another scale or other axes than the nominal ones must reach this share of the deviance."""

NOMINAL, SINGLE, MAPPED = "the nominal positions", "those of single frames", "these with the nominal scale and axes"

ROOM = 8
"""Margin of the canvas, pixels."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A scan at positions that were found, and a first image of it.

    Attributes:
        scan: with these positions, and the probe as it became.
        image: (H, W) complex64 on its canvas.
    """

    scan: Scan
    image: Tensor


def placed(
    scan: Scan,
    error: float | None,
    refine_probe: bool,
    hold_out: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> Placed | None:
    """Find positions without trust in the nominal ones; None where these fit as well.

    Patches of single frames (:mod:`patches`) are registered with their neighbours (:mod:`pairs`), and one robust solve
    places all frames (:mod:`network`). A probe of wrong curvature scales what single frames show, and with it the
    positions; so the same positions with the affine map of the nominal ones are judged too, and taken unless the others
    fit pixels that no fit saw clearly better. They are improved together with an image (:mod:`annealed`).

    Args:
        scan: at its nominal positions.
        error: of these, pixels rms; None: estimated from the step.
        refine_probe: whether the probe may change.
        hold_out: see :class:`Projections`.
        seed: of all draws.
        device: torch device.
        report: receives lines of progress.
    """
    if len(scan) < LEAST_FRAMES:
        return None
    sigma = (usual_error(scan.positions) if error is None else error) / math.sqrt(2)
    tried = {NOMINAL: scan} | _candidates(scan, sigma, seed, device)
    held = {name: _judged(one, scan.positions, refine_probe, seed, device) for name, one in tried.items()}
    report("deviance of pixels held out: " + ", ".join(f"{value:.4g} at {name}" for name, value in held.items()))
    best = SINGLE if held[SINGLE] < OTHER_MAP * held[MAPPED] else MAPPED
    if held[best] > BETTER * held[NOMINAL]:
        return None
    moved = tried[best]
    estimate = Estimate.of(moved, device, margin=ROOM)
    unknowns: set[Unknown] = {"object", "probe"} if refine_probe else {"object"}
    annealed(moved, estimate, sigma, unknowns, best == MAPPED, seed, hold_out)
    origin = np.array(moved.canvas_origin) - ROOM
    final = replace(moved, positions=estimate.positions.cpu().numpy() + origin, probe=estimate.probe.cpu().numpy())
    return Placed(final, _on_canvas(estimate.image, origin, final))


def usual_error(positions: Vector) -> float:
    """Error of positions of which nothing is known, pixels rms.

    The step is the root of the area of the scan per frame: errors shorten the distance to the nearest frame.
    """
    return max(LEAST, SHARE * math.sqrt(float(np.ptp(positions, axis=0).prod()) / len(positions)))


def _candidates(scan: Scan, error: float, seed: int, device: torch.device | str) -> dict[str, Scan]:
    """The scan at the positions that single frames give, by the name of these."""
    places = registered(scan, torch.from_numpy(scan.probe).to(device), error, seed).positions
    mapped = without_map(torch.from_numpy(places), torch.from_numpy(scan.positions)).numpy()
    return {SINGLE: replace(scan, positions=places, object=None), MAPPED: replace(scan, positions=mapped, object=None)}


def _middle(positions: Vector) -> NDArray[np.intp]:
    """The frames in the middle of a scan."""
    away = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
    return np.sort(np.argsort(away, kind="stable")[:JUDGED])


def _judged(scan: Scan, nominal: Vector, refine_probe: bool, seed: int, device: torch.device | str) -> float:
    """Deviance of held-out pixels after some epochs on the frames in the middle of the scan."""
    part = replace(scan, object=None).subset(_middle(nominal))
    estimate = Estimate.of(part, device)
    steps = Projections(part, estimate, "bilinear", {"object"}, seed, hold_out=True)
    for epoch in range(JUDGE_EPOCHS):
        if refine_probe and epoch >= 2:
            steps.unknowns = {"object", "probe"}
        steps.epoch(min(JUDGE_BATCH, max(1, len(part) // 8)))
    return Linearised(part, estimate, "bilinear", hold_out=True, deviance_only=True).held_out


def _on_canvas(image: Tensor, origin: NDArray[np.int64], scan: Scan) -> Tensor:
    """An image whose pixel [0, 0] is at ``origin``, on the canvas of a scan; vacuum beyond."""
    corner = (int(origin[0]), int(origin[1]))
    return torch.from_numpy(start_image(image.cpu().numpy(), corner, scan.canvas_origin, scan.canvas_shape))

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
from ptychopinn.engines.places.network import place
from ptychopinn.engines.places.pairs import REACH, neighbours, register
from ptychopinn.engines.places.patches import single_patches
from ptychopinn.engines.projections import Estimate, Projections, Unknown
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.canvas import start_image
from ptychopinn.scan.scan import Scan

Vector = NDArray[np.float64]

SHARE, LEAST = 0.35, 2.0
"""Error of positions when none is stated: a share of the step, and at least so many pixels."""

LEAST_FRAMES = 12

JUDGED, JUDGE_EPOCHS, JUDGE_BATCH = 100, 10, 8
"""Frames in the middle of a scan, and epochs on them, by which positions are judged."""

BETTER = 0.97
"""Positions are taken below this share of the deviance of the held-out pixels with the nominal ones."""

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
    positions; so the same positions with the affine map of the nominal ones are judged too. What fits pixels best that
    no fit saw is improved together with an image (:mod:`annealed`).

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
    probe = torch.from_numpy(scan.probe).to(device)
    found = registered(scan, probe, sigma, seed)
    mapped = without_map(torch.from_numpy(found), torch.from_numpy(scan.positions)).numpy()
    tried = {"nominal": scan.positions, "mapped": mapped, "registered": found}
    held = {name: _judged(scan, positions, refine_probe, seed, device) for name, positions in tried.items()}
    best = min(held, key=held.__getitem__)
    report(
        "deviance of pixels held out: "
        f"{held['nominal']:.4g} at the nominal positions, {held['registered']:.4g} at those that single frames give, "
        f"{held['mapped']:.4g} at these with the scale and axes of the nominal ones"
    )
    if held[best] > BETTER * held["nominal"]:
        return None
    moved = replace(scan, positions=tried[best])
    estimate = Estimate.of(moved, device, margin=ROOM)
    unknowns: set[Unknown] = {"object", "probe"} if refine_probe else {"object"}
    annealed(moved, estimate, sigma, unknowns, best == "mapped", seed, hold_out)
    origin = np.array(moved.canvas_origin) - ROOM
    final = replace(moved, positions=estimate.positions.cpu().numpy() + origin, probe=estimate.probe.cpu().numpy())
    return Placed(final, _on_canvas(estimate.image, origin, final))


def usual_error(positions: Vector) -> float:
    """Error of positions of which nothing is known, pixels rms.

    The step is the root of the area of the scan per frame: errors shorten the distance to the nearest frame.
    """
    return max(LEAST, SHARE * math.sqrt(float(np.ptp(positions, axis=0).prod()) / len(positions)))


def registered(scan: Scan, probe: Tensor, error: float, seed: int = 0) -> Vector:
    """Positions (n, 2) from the shifts between single frames; ``error`` of the nominal ones per axis, pixels."""
    light = probe_intensity(probe)
    diameter = 2 * math.sqrt(float(light.sum() ** 2 / light.square().sum()) / math.pi)
    pairs = neighbours(scan.positions, REACH * diameter, seed)
    nominal = torch.from_numpy(scan.positions).to(probe.device)
    matches = register(lambda rows: single_patches(scan, rows, probe), light, pairs.to(probe.device), nominal, error)
    return place(scan.positions, matches, error)[0]


def _judged(scan: Scan, positions: Vector, refine_probe: bool, seed: int, device: torch.device | str) -> float:
    """Deviance of held-out pixels after some epochs on the frames in the middle of the scan."""
    away = np.linalg.norm(scan.positions - np.median(scan.positions, axis=0), axis=1)
    middle = np.sort(np.argsort(away, kind="stable")[:JUDGED])
    part = replace(scan, positions=positions, object=None).subset(middle)
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

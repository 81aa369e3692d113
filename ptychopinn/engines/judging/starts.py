"""Whether an image is a better start than vacuum: short fits from both, judged by detector pixels that are held out."""

from typing import NamedTuple

import torch

from ptychopinn.engines.fisher import Linearised
from ptychopinn.engines.probe_search import innermost
from ptychopinn.engines.projections import Estimate, Projections
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import start_image
from ptychopinn.scan.scan import Scan

EPOCHS, BATCHES = 3, 16
"""Passes of a short fit, and batches of a pass."""


class Compared(NamedTuple):
    """Deviances of the pixels held out, after fits from the image and from vacuum."""

    image: float
    vacuum: float


def compared(scan: Scan, image: Reconstruction, subpixel: SubPixel, seed: int = 0, device: str = "cpu") -> Compared:
    """Compare an image with vacuum as the start of a fit.

    Args:
        scan: counts, positions and probe; its innermost frames are fitted.
        image: on the object frame of the scan.
        subpixel: model between pixels.
        seed: of the order of the frames.
        device: torch device.
    """
    part = innermost(scan)
    laid = start_image(image.object, image.origin, part.canvas_origin, part.canvas_shape)
    found = []
    for start in (torch.from_numpy(laid), None):
        fit = Projections(part, Estimate.of(part, device, start), subpixel, seed=seed, hold_out=True)
        for _ in range(EPOCHS):
            fit.epoch(max(1, len(part) // BATCHES))
        found.append(Linearised(part, fit.estimate, subpixel, hold_out=True, deviance_only=True).held_out)
    return Compared(*found)

"""An object from the counts themselves: batched, preconditioned projection steps on the stitched canvas."""

from collections.abc import Callable

import numpy as np
import torch

from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan import Scan

BATCH = 64
"""Frames per step: small batches converge in fewer epochs, large ones cost less per frame."""

MOMENTUM = 0.5
DAMPING = 0.05
"""Share of the largest coverage added to the preconditioner."""


def reconstruct(
    scan: Scan,
    epochs: int,
    seed: int = 0,
    start: torch.Tensor | None = None,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Descend the amplitude likelihood ``sum (sqrt(I) - sqrt(k))^2`` over the object, the probe held fixed.

    Each step takes a random batch of frames, asks every exit wave for its projection on the counts and adds
    ``place(P^* dpsi) / (place(|P|^2) + damping)`` with momentum: a scaled gradient step, the curvature being the
    light that a pixel receives.

    Args:
        scan: counts, positions and probe.
        epochs: passes over all frames.
        seed: of the order of the frames.
        start: (H, W) complex64 on the scan's canvas; vacuum when None.
        device: where to compute.
        on_epoch: called with the number of finished epochs.

    Returns:
        (H, W) complex64 object on the scan's canvas (``canvas_origin``, ``canvas_shape``), on ``device``; pixels that
        no frame lights keep the start.
    """
    shape = scan.canvas_shape
    image = torch.ones(shape, dtype=torch.complex64, device=device) if start is None else start.to(device).clone()
    probe = torch.from_numpy(scan.probe).to(device)
    mask = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(device)
    intensity = probe_intensity(probe)
    positions = scan.canvas_positions
    velocity = torch.zeros_like(image)
    rng = np.random.default_rng(seed)
    batches = max(1, round(len(scan) / min(BATCH, max(1, len(scan) // 8))))
    for epoch in range(epochs):
        for index in np.array_split(rng.permutation(len(scan)), batches):
            places = positions[torch.from_numpy(index)].to(device, torch.float32)
            counts = scan.frames(index).to(device)
            patches = extract_patches(image, places, scan.N)
            change = (probe.conj() * project_to_counts(probe, patches, counts, mask)).sum(dim=1)
            light = place_patches(intensity.expand(len(index), -1, -1), places, shape)
            step = place_patches(change, places, shape) / (light + DAMPING * light.max())
            velocity = MOMENTUM * velocity + step
            image += velocity
        if on_epoch is not None:
            on_epoch(epoch + 1)
    return image

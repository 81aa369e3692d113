"""A trained run and a scan in, an image of the object out."""

import math
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.bundle import Run
from ptychopinn.config import InferenceConfig
from ptychopinn.dataset import GroupDataset
from ptychopinn.errors import PtychoError
from ptychopinn.execution import Precision, ready, usual_batch_size
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.grouping import check_reach, form_groups, usual_neighbor_count
from ptychopinn.losses import poisson_deviance
from ptychopinn.model import Illumination, PtychoModel
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.physics.views import SubPixel, look
from ptychopinn.reassembly import central_mask, group_phases, light_on_canvas, spread, stitch
from ptychopinn.scan import Scan, check_canvas, reframe

IN_MEMORY = 2**29
"""Bytes of patches up to which they are kept in memory until they are stitched."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image of the object.

    Attributes:
        object: (H, W) complex64 transmission; 0 where no patch lies.
        origin: object-frame (y, x) of pixel [0, 0], whole pixels.
        coverage: (H, W) float32, photons per pixel that the probe laid there over the scan.
        positions: (n, 2) float64 object-frame positions (y, x) of the frames used.
        pixel_size_m: edge of a pixel, when known.
        deviance: mean Poisson deviance per detector pixel of the counts under this image; about 1 at the noise.
        seconds: wall time of the steps.
        probe: (m, N, N) complex64 in sqrt(photons), when it was refined with the object; None: the scan's own.
        loss: of every epoch, where an iterative engine made the image.
        subpixel: model between pixels that made the image, and under which its deviance is taken.
        amplitude_std: (H, W) float32 standard deviation of the amplitude, where it is known.
        phase_std: (H, W) float32, rad, the same of the phase.
        std_of: where these come from: the spread of overlapping patches, or the noise of the counts.
    """

    object: NDArray[np.complex64]
    origin: tuple[int, int]
    coverage: NDArray[np.float32]
    positions: NDArray[np.float64]
    pixel_size_m: float | None = None
    deviance: float = float("nan")
    seconds: dict[str, float] = field(default_factory=dict)
    probe: NDArray[np.complex64] | None = None
    loss: tuple[float, ...] = ()
    subpixel: SubPixel = "bilinear"
    amplitude_std: NDArray[np.float32] | None = None
    phase_std: NDArray[np.float32] | None = None
    std_of: Literal["patches", "counts"] = "patches"

    def window(self, shape: tuple[int, int]) -> NDArray[np.complex64]:
        """The image on an object frame of the given shape starting at (0, 0); 0 where it does not reach."""
        return reframe(self.object, self.origin, (0, 0), shape)


def load_reconstruction(path: Path) -> Reconstruction:
    """Read a reconstruction of ours, from ``reconstruction.h5``, ``.npz`` or their folder.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    arrays = read_reconstruction(path)
    row, col = arrays["origin"].tolist()
    size = arrays.get("pixel_size_m")
    return Reconstruction(
        object=arrays["object"].astype(np.complex64),
        origin=(row, col),
        coverage=arrays["coverage"].astype(np.float32),
        positions=arrays["positions"].astype(np.float64),
        pixel_size_m=None if size is None else float(size),
        deviance=float(arrays.get("deviance_per_pixel", np.nan)),
        probe=arrays["probe"].astype(np.complex64) if "probe" in arrays else None,
        subpixel="fourier" if str(arrays.get("subpixel", "")) == "fourier" else "bilinear",
        amplitude_std=arrays["amplitude_std"].astype(np.float32) if "amplitude_std" in arrays else None,
        phase_std=arrays["phase_std"].astype(np.float32) if "phase_std" in arrays else None,
        std_of="counts" if str(arrays.get("std_of", "")) == "counts" else "patches",
    )


def infer(
    run: Run,
    scan: Scan,
    batch_size: int | None = None,
    synchronise: bool = True,
    device: str = "cpu",
    middle_trim: int | None = None,
    precision: Precision = "auto",
) -> Reconstruction:
    """Reconstruct a scan with one pass of a trained network.

    Every frame seeds a group. Groups agree on their phases, then one probe-weighted reassembly makes the image.

    Args:
        run: from :func:`ptychopinn.training.train` or :func:`ptychopinn.bundle.load_run`.
        scan: of any object; its own counts are used, and its own probe unless the run trained one.
        batch_size: groups per network call; None: what suits the device.
        synchronise: find the groups' global phases first.
        device: of torch.
        middle_trim: stitch only so many central pixels of every patch, along both axes; all when None.
        precision: of the network, see :func:`ptychopinn.execution.ready`.

    Raises:
        PtychoError: when the scan has fewer frames than a group, frames of another size than a trained probe, or
            positions too far apart for an image, or when more than a patch is to be stitched.
    """
    check_canvas(scan)
    if middle_trim is not None and middle_trim > scan.N:
        raise PtychoError(f"middle_trim: {middle_trim} given; at most {scan.N}, the edge of a patch, is possible.")
    marks = [time.perf_counter()]
    scan = with_trained_probe(run, scan)
    model = ready(run.model, device, precision)
    light = Illumination.of(scan).to(device)
    dataset = GroupDataset(scan, groups_of(run, scan))
    patches = _predict(model, dataset, light, batch_size or usual_batch_size(device), device)
    marks.append(time.perf_counter())
    places = scan.canvas_positions[torch.from_numpy(dataset.groups)].to(torch.float32)
    weight = probe_intensity(light.probe)
    phases = group_phases(patches, places, weight, scan.probe_diameter / 2) if synchronise else None
    marks.append(time.perf_counter())
    kept = weight if middle_trim is None else weight * central_mask(scan.N, middle_trim).to(weight.device)
    image, coverage = stitch(patches, places, scan.canvas_shape, kept, phases)
    spreads = spread(patches, places, image, kept, phases)
    if run.settings.model.gridsize > 1:
        coverage = light_on_canvas(scan, kept)
    image = common_phase(image, coverage)
    marks.append(time.perf_counter())
    deviance = deviance_per_pixel(image, scan.canvas_origin, scan, light)
    names = ("network", "phases", "stitch")
    return Reconstruction(
        object=image.cpu().numpy(),
        origin=scan.canvas_origin,
        coverage=coverage.cpu().numpy(),
        positions=scan.positions,
        pixel_size_m=scan.pixel_size_m,
        deviance=deviance,
        seconds={name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)},
        amplitude_std=spreads[0].cpu().numpy(),
        phase_std=spreads[1].cpu().numpy(),
    )


def deviance_per_pixel(
    image: Tensor,
    origin: tuple[int, int],
    scan: Scan,
    light: Illumination,
    subpixel: SubPixel = "bilinear",
    chunk: int = 64,
) -> float:
    """Mean Poisson deviance per good detector pixel of a scan under an image.

    Args:
        image: (H, W) complex.
        origin: object-frame (y, x) of its pixel [0, 0].
        scan: measured counts and positions.
        light: probe and mask on the device of ``image``.
        subpixel: model between pixels.
        chunk: frames at once.
    """
    positions = torch.from_numpy(scan.positions - np.array(origin))
    total = 0.0
    for rows in torch.arange(len(scan)).split(chunk):
        views = look(light.probe, positions[rows].to(image.device), subpixel)
        rate = diffract(views.probes, extract_patches(image, views.places, scan.N))
        deviance = poisson_deviance(rate.double(), scan.frames(rows.numpy()).to(image.device).double())
        kept = deviance if light.good_pixels is None else deviance[:, light.good_pixels]
        total += float(kept.mean(dim=tuple(range(1, kept.ndim))).sum())
    return total / len(scan)


def infer_with(run: Run, scan: Scan, chosen: InferenceConfig, device: str) -> Reconstruction:
    """:func:`infer` with the settings of its section."""
    return infer(
        run,
        scan,
        chosen.inference_batch_size,
        chosen.synchronise,
        device,
        chosen.middle_trim,
        chosen.inference_precision,
    )


def with_trained_probe(run: Run, scan: Scan) -> Scan:
    """The scan with the probe of the run where that trained one; as it is otherwise."""
    if not run.settings.model.probe_trainable:
        return scan
    probe = run.light.probe.numpy()
    if probe.shape[-1] != scan.N:
        raise PtychoError(f"scan: frames of {scan.N} pixels, but the run trained a probe of {probe.shape[-1]}; crop.")
    return replace(scan, probe=probe)


def groups_of(run: Run, scan: Scan) -> NDArray[np.int64]:
    """Groups (n, C) that are predicted, each around its seed, the first of its frames."""
    gridsize = run.settings.model.gridsize
    if len(scan) < gridsize**2:
        raise PtychoError(
            f"scan: {len(scan)} frames, but the model was trained with gridsize {gridsize}: groups need {gridsize**2}."
        )
    wanted = run.settings.data.neighbor_count or usual_neighbor_count(scan.positions, gridsize, scan.probe_diameter)
    groups = form_groups(scan.positions, gridsize, min(wanted, len(scan) - 1), None, run.settings.training.seed)
    check_reach(scan.positions, groups, scan.N)
    return groups


def room(shape: tuple[int, ...], in_memory: int = IN_MEMORY) -> Tensor:
    """An empty complex64 tensor; a large one is mapped from a file that vanishes with it, in the temporary folder."""
    size = math.prod(shape)
    if 8 * size <= in_memory:
        return torch.empty(shape, dtype=torch.complex64)
    with tempfile.NamedTemporaryFile(prefix="ptychopinn-patches-") as file:
        return torch.from_file(file.name, shared=True, size=size, dtype=torch.complex64).view(shape)


def _predict(model: PtychoModel, dataset: GroupDataset, light: Illumination, batch_size: int, device: str) -> Tensor:
    """Patches (n, C, N, N) complex64 of every group, on the CPU."""
    count, channels = dataset.groups.shape
    size = dataset.scan.N
    patches = room((count, channels, size, size))
    with torch.inference_mode():
        for rows in torch.arange(count).split(batch_size):
            batch = dataset.__getitems__(rows.tolist()).to(device)
            found = model(batch.counts, batch.offsets, light, batch.reach)[-1]
            patches[rows] = found.cpu()
    return patches


def common_phase(image: Tensor, coverage: Tensor) -> Tensor:
    """Turn the free global phase so that the light-weighted mean of the object is real and positive."""
    mean = (image * coverage).sum()
    return image * torch.polar(torch.ones_like(mean.real), -mean.angle())

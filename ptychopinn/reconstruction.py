"""A reconstruction: the image of a scan, how well it explains the counts, and its error bars."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.model.model import Illumination
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import SubPixel, look
from ptychopinn.physics.likelihood import expected_deviance, poisson_deviance
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan

SAMPLE = 4096
"""Frames that tell the deviance of a scan that is stitched in parts."""

THINNED = 7
"""One detector pixel in so many tells the expected deviance, which has no noise of its own; an odd number passes over
all columns of a frame."""


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
        expected_deviance: the deviance that noise alone would leave at the rates of this image; below 1 where most
            detector pixels see less than a photon.
        deviance_frames: so many frames of the scan, evenly spread, tell it; None: all.
        seconds: wall time of the steps.
        probe: (m, N, N) complex64 in sqrt(photons), when it was refined with the object; None: the scan's own.
        loss: of every epoch, where an iterative engine made the image.
        subpixel: model between pixels that made the image, and under which its deviance is taken.
        amplitude_std: (H, W) float32 standard deviation of the amplitude, where it is known.
        phase_std: (H, W) float32, rad, the same of the phase.
        std_of: where these come from: the spread of overlapping patches, or the noise of the counts.
        dark: numbers of the frames without a photon, as far as this process read them.
    """

    object: NDArray[np.complex64]
    origin: tuple[int, int]
    coverage: NDArray[np.float32]
    positions: NDArray[np.float64]
    pixel_size_m: float | None = None
    deviance: float = float("nan")
    expected_deviance: float = float("nan")
    deviance_frames: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    probe: NDArray[np.complex64] | None = None
    loss: tuple[float, ...] = ()
    subpixel: SubPixel = "bilinear"
    amplitude_std: NDArray[np.float32] | None = None
    phase_std: NDArray[np.float32] | None = None
    std_of: Literal["patches", "counts"] = "patches"
    dark: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

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
    size, of_scan = arrays.get("pixel_size_m"), str(arrays.get("probe_of", "")) == "scan"
    return Reconstruction(
        object=arrays["object"].astype(np.complex64),
        origin=(row, col),
        coverage=arrays["coverage"].astype(np.float32),
        positions=arrays["positions"].astype(np.float64),
        pixel_size_m=None if size is None else float(size),
        deviance=float(arrays.get("deviance_per_pixel", np.nan)),
        expected_deviance=float(arrays.get("expected_deviance_per_pixel", np.nan)),
        probe=arrays["probe"].astype(np.complex64) if "probe" in arrays and not of_scan else None,
        subpixel="fourier" if str(arrays.get("subpixel", "")) == "fourier" else "bilinear",
        amplitude_std=arrays["amplitude_std"].astype(np.float32) if "amplitude_std" in arrays else None,
        phase_std=arrays["phase_std"].astype(np.float32) if "phase_std" in arrays else None,
        std_of="counts" if str(arrays.get("std_of", "")) == "counts" else "patches",
    )


def with_deviance(found: Reconstruction, light: Illumination, scan: Scan, sampled: bool) -> Reconstruction:
    """A reconstruction and how well it explains the counts of its scan.

    Args:
        found: image of the scan.
        light: probe and mask, on the device that is to work.
        scan: whose frames are read.
        sampled: whether ``SAMPLE`` of them are to tell it.
    """
    few = np.linspace(0, len(scan) - 1, SAMPLE).astype(np.int64) if sampled and len(scan) > SAMPLE else None
    image = torch.from_numpy(found.object).to(light.probe.device)
    told = deviances(image, found.origin, scan if few is None else scan.subset(few), light)
    number = None if few is None else len(few)
    return replace(found, deviance=told.measured, expected_deviance=told.expected, deviance_frames=number)


class Deviances(NamedTuple):
    """Mean Poisson deviances per good detector pixel.

    Attributes:
        measured: of the counts under an image.
        expected: that noise alone would leave at the rates of this image.
    """

    measured: float
    expected: float


def deviances(
    image: Tensor,
    origin: tuple[int, int],
    scan: Scan,
    light: Illumination,
    subpixel: SubPixel = "bilinear",
    chunk: int = 64,
) -> Deviances:
    """Mean Poisson deviance per good detector pixel of a scan under an image, and what noise alone would leave there.

    Args:
        image: (H, W) complex.
        origin: object-frame (y, x) of its pixel [0, 0].
        scan: measured counts and positions.
        light: probe and mask on the device of ``image``.
        subpixel: model between pixels.
        chunk: frames at once.
    """
    positions = torch.from_numpy(scan.positions - np.array(origin))
    measured = expected = 0.0
    for rows in torch.arange(len(scan)).split(chunk):
        views = look(light.probe, positions[rows].to(image.device), subpixel)
        rate = diffract(views.probes, extract_patches(image, views.places, scan.N))
        deviance = poisson_deviance(rate.double(), scan.frames(rows.numpy()).to(image.device).double())
        kept, rate = (x.flatten(1) if light.good_pixels is None else x[:, light.good_pixels] for x in (deviance, rate))
        measured += float(kept.mean(dim=1).sum())
        expected += len(rows) * float(expected_deviance(rate.flatten()[::THINNED]).double().mean())
    return Deviances(measured / len(scan), expected / len(scan))


def common_phase(image: Tensor, coverage: Tensor) -> Tensor:
    """Turn the free global phase so that the light-weighted mean of the object is real and positive."""
    mean = (image * coverage).sum()
    return image * torch.polar(torch.ones_like(mean.real), -mean.angle())

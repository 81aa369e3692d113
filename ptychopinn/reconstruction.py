"""A reconstruction: the image of a scan, how well it explains the counts, and its error bars."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan
from ptychopinn.text import html_of, plot_of

if TYPE_CHECKING:  # an image is read and drawn without torch, which takes a second to import
    import torch
    from torch import Tensor

    from ptychopinn.physics.conditions import Conditions
    from ptychopinn.physics.exit_waves import SubPixel

SAMPLE = 4096
"""Frames from which the deviance of a large scan is computed."""


StdOf = Literal["patches", "counts", "network"]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image of the object.

    Attributes:
        object: (H, W) complex64 transmission; 0 where no frame lies.
        origin: object-frame (y, x) of pixel [0, 0], whole pixels.
        coverage: (H, W) float32, photons that the scan put on each pixel.
        positions: (n, 2) float64 object-frame positions (y, x) of the frames used.
        pixel_size_m: edge of a pixel, m; None if unknown.
        deviance: mean Poisson deviance per detector pixel of the counts under this image; about 1 at the noise.
        expected_deviance: mean deviance from noise alone at the rates of this image; below 1 where most detector
            pixels see less than a photon.
        deviance_frames: number of frames, evenly spread, that the deviance is computed from; None means all.
        frame_deviance: (n,) the deviance of each frame; None when only some were read.
        expected_frame_deviance: (n,) what noise alone would leave of it.
        frame_photons: (2, n) photons of each frame over the good pixels, measured and predicted.
        seconds: wall time of each step.
        probe: (m, N, N) complex64 in sqrt(photons), if refined with the object; None means the probe of the scan.
        flux: (n,) float64 factors of the photons of every frame, if fitted.
        background: (N, N) float32 counts per detector pixel, if fitted.
        opr_modes: (K, N, N) complex64 changes of the first mode of the probe, if fitted.
        opr_weights: (n, K) float64 of these in every frame.
        fitted: names of what was fitted beside the object, which the error bars then know of.
        loss: of every epoch of an iterative engine.
        subpixel: model between pixels, of the image and of its deviance.
        amplitude_std: (H, W) float32 standard deviation of the amplitude, if known.
        phase_std: (H, W) float32 standard deviation of the phase, rad, if known.
        std_of: source of these: the spread of overlapping patches, the noise of the counts, or the errors that the
            network made on generated scans.
        prior_powers: (bands, 2, 2) of the prior of the object, if one was joined to the counts.
        prior_spots: (k, 2) pixels (y, x) of the object frame that are free of it.
        prior_share: (H, W) float32, share of the waves around each pixel that this prior gave, from 0 to 1.
        dark: numbers of the frames without a photon that this process read.
        frame_numbers: (n,) number of each frame in its file; None if unknown.
    """

    object: NDArray[np.complex64]
    origin: tuple[int, int]
    coverage: NDArray[np.float32]
    positions: NDArray[np.float64]
    pixel_size_m: float | None = None
    deviance: float = float("nan")
    expected_deviance: float = float("nan")
    deviance_frames: int | None = None
    frame_deviance: NDArray[np.float64] | None = None
    expected_frame_deviance: NDArray[np.float64] | None = None
    frame_photons: NDArray[np.float64] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    probe: NDArray[np.complex64] | None = None
    flux: NDArray[np.float64] | None = None
    background: NDArray[np.float32] | None = None
    opr_modes: NDArray[np.complex64] | None = None
    opr_weights: NDArray[np.float64] | None = None
    fitted: tuple[str, ...] = ()
    loss: tuple[float, ...] = ()
    subpixel: "SubPixel" = "bilinear"
    amplitude_std: NDArray[np.float32] | None = None
    phase_std: NDArray[np.float32] | None = None
    std_of: StdOf = "patches"
    prior_powers: NDArray[np.float64] | None = None
    prior_spots: NDArray[np.int64] | None = None
    prior_share: NDArray[np.float32] | None = None
    dark: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    frame_numbers: NDArray[np.int64] | None = None

    @classmethod
    def from_canvas(cls, image: "Tensor", scan: Scan, coverage: "Tensor", **more: Any) -> Self:
        """A reconstruction from an image on the canvas of its scan: 0 where no frame lies, its free phase removed.

        Args:
            image: (H, W) complex64 on the canvas; its unlit pixels are overwritten.
            scan: its positions and pixel size; its frames are not read.
            coverage: (H, W) photons per pixel.
            more: further attributes.
        """
        from ptychopinn.scan.fits import common_phase

        # In place: a large image takes gigabytes.
        image = common_phase(image.masked_fill_(coverage <= 0, 0), coverage)
        return cls(
            object=image.cpu().numpy(),
            origin=scan.canvas_origin,
            coverage=coverage.cpu().numpy(),
            positions=scan.positions,
            pixel_size_m=scan.pixel_size_m,
            frame_numbers=scan.numbers,
            **more,
        )

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def plot(self) -> Any:
        """Amplitude and phase with their error bars; ``.figure`` of what it returns is matplotlib's."""
        return plot_of(self)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset``: amplitude, phase, their standard deviations, light, complex object, on y and x.

        Coordinates are metres where the pixel size is known, else pixels of the object frame. Pixels without light are
        NaN.

        Raises:
            PtychoError: when xarray is not installed.
        """
        try:
            from xarray import Dataset
        except ImportError:
            raise PtychoError("xarray: is not installed; pip install 'ptychopinn[xarray]'.") from None
        lit = self.coverage > 0
        image = np.where(lit, self.object, np.complex64(np.nan))
        found = {
            "object": (image, "complex transmission", ""),
            "amplitude": (np.abs(image), "amplitude", ""),
            "phase": (np.where(lit, np.angle(self.object), np.nan), "phase", "rad"),
            "coverage": (self.coverage, "light", "photons per pixel"),
            "amplitude_std": (self.amplitude_std, "standard deviation of the amplitude", ""),
            "phase_std": (self.phase_std, "standard deviation of the phase", "rad"),
        }
        size, unit = (1.0, "px") if self.pixel_size_m is None else (self.pixel_size_m, "m")
        places = zip("yx", self.origin, self.object.shape, strict=True)
        axes = {name: (name, (first + np.arange(count)) * size, {"units": unit}) for name, first, count in places}
        arrays = {
            name: (("y", "x"), values, {"long_name": title, "units": unit_of})
            for name, (values, title, unit_of) in found.items()
            if values is not None
        }
        about = {"deviance": self.deviance, "expected_deviance": self.expected_deviance, "frames": len(self.positions)}
        return Dataset(arrays, coords=axes, attrs=about)

    @property
    def conditions(self) -> "Conditions":
        """Flux, background and changes of the probe as tensors, these in the precision of the probe."""
        import torch

        from ptychopinn.physics.conditions import Conditions

        weights = None if self.opr_weights is None else self.opr_weights.astype(np.float32)
        parts = (self.flux, self.background, self.opr_modes, weights)
        return Conditions(*(None if part is None else torch.from_numpy(part) for part in parts))

    def with_deviance(self, scan: Scan, device: "torch.device | str" = "cpu", sampled: bool = False) -> Self:
        """The same with the deviance of the counts of a scan, under its probe and at its positions.

        Args:
            scan: frames to compare with.
            device: torch device.
            sampled: read ``SAMPLE`` frames at most.
        """
        import torch

        from ptychopinn.scan.fits import frame_fits

        few = np.linspace(0, len(scan) - 1, SAMPLE).astype(np.int64) if sampled and len(scan) > SAMPLE else None
        image = torch.from_numpy(self.object).to(device)
        fits = frame_fits(image, self.origin, scan, self.subpixel, few, conditions=self.conditions)
        return self.with_fits(fits, all_frames=few is None)

    def with_fits(self, fits: NDArray[np.float64], all_frames: bool = True) -> Self:
        """The same with how it explains all or some frames, (4, n) as :mod:`ptychopinn.scan.fits` says."""
        return replace(
            self,
            deviance=float(fits[0].mean()),
            expected_deviance=float(fits[1].mean()),
            deviance_frames=None if all_frames else fits.shape[1],
            frame_deviance=fits[0] if all_frames else None,
            expected_frame_deviance=fits[1] if all_frames else None,
            frame_photons=fits[2:] if all_frames else None,
        )

    def window(self, shape: tuple[int, int]) -> NDArray[np.complex64]:
        """The image on an object frame (H, W) that starts at (0, 0); 0 where it does not reach."""
        return reframe(self.object, self.origin, (0, 0), shape)

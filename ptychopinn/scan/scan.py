"""A scan: counts, positions and probe, checked once when built."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.scan.arrays import NO_LIGHT, check_frames, check_mask, check_object, check_probe
from ptychopinn.scan.canvas import bounds, reframe
from ptychopinn.scan.detector.health import Health
from ptychopinn.scan.dtypes import counts_dtype, plain
from ptychopinn.scan.frames import Counts, Frames, Index, blocks, cut, moved, select, window
from ptychopinn.scan.probe import light
from ptychopinn.text import html_of, plot_of

if TYPE_CHECKING:  # torch takes a second to import, and who only reads or draws a scan has no use for it
    import torch

TRUTH: Final = (
    *("true_ycoords", "true_xcoords", "true_flux", "true_bad_frames", "true_probe_weights"),
    *("true_probe", "true_probe_modes", "true_background", "true_dead_pixels", "true_hot_pixels"),
)
"""Arrays of the truth of a simulated scan in a file; the first five have a row per frame."""

PER_FRAME: Final = TRUTH[:5]


@dataclass(frozen=True, eq=False)
class Scan:
    """One ptychographic measurement, valid by construction.

    Attributes:
        counts: (n, N, N) photons, any real dtype, zero frequency at ``[N // 2, N // 2]``; N even. An array, or
            :class:`ptychopinn.scan.frames.Frames` that stay in their file and are checked when read.
        positions: (n, 2) float64 object pixels (y, x): ``patch[r, c] = object[y - N/2 + r, x - N/2 + c]``.
        probe: (m, N, N) complex64 in sqrt(photons).
        object: (H, W) complex64 transmission, true or guessed, when known.
        good_pixels: (N, N) bool, False at bad pixels of the detector.
        pixel_size_m: edge of an object pixel in metres.
        notes: what the reader assumed or changed, one sentence each.
        doubted: what it assumed and may be wrong, a clause each, said of an image that explains the frames badly.
        frame_numbers: (n,) which frame of the file each one is; None means all, in order.
        interpolation: how the object was read between pixels, of a simulated scan that says so.
        provenance: how a simulated scan or a view was made, by names of settings, where the file says so.
        probe_factor: amplitude of the probe over that in its file (:mod:`ptychopinn.scan.probe_scale`).
        brightest: photons of a probe without loss that makes the brightest frames, also of a part those of the whole
            scan; None where that was not looked for.
        health: what is wrong with the detector, where that was looked for.
        truth: of a simulated scan, what its beamline did (:mod:`ptychopinn.scan.beamline`); nothing computes with it.
    """

    counts: Counts
    positions: NDArray[np.float64]
    probe: NDArray[np.complex64]
    object: NDArray[np.complex64] | None = None
    good_pixels: NDArray[np.bool_] | None = None
    pixel_size_m: float | None = None
    notes: tuple[str, ...] = field(default=())
    doubted: tuple[str, ...] = ()
    frame_numbers: NDArray[np.int64] | None = None
    interpolation: str | None = None
    provenance: Mapping[str, Any] | None = None
    probe_factor: float = 1.0
    brightest: float | None = None
    health: Health | None = None
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring numbers into types that torch takes; check every contract that the rest of the package relies on."""
        self._convert()
        check_frames(self.counts, self.positions)
        check_probe(self.probe, self.N)
        if self.object is not None:
            check_object(self.object)
        if self.good_pixels is not None:
            check_mask(self.good_pixels, self.counts.shape[1:])

    def _convert(self) -> None:
        """Byte order and precision of this machine; frames in a file are converted when they are read."""
        parts = {name: getattr(self, name) for name in ("positions", "probe", "object")}
        found = {name: np.asarray(plain(part), order="C") for name, part in parts.items() if part is not None}
        if self.positions.dtype.kind in "uif":
            found["positions"] = found["positions"].astype(np.float64, copy=False)
        if not isinstance(self.counts, Frames):
            found["counts"] = self.counts.astype(counts_dtype(self.counts.dtype), copy=False)
        for name, part in found.items():
            object.__setattr__(self, name, part)  # the class is frozen

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def plot(self) -> Any:
        """Patterns, positions, photons, probe; reads all frames. Its ``.figure`` is matplotlib's."""
        return plot_of(self)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.counts)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Which frame of the file each frame is, (n,)."""
        return np.arange(len(self)) if self.frame_numbers is None else self.frame_numbers

    @property
    def N(self) -> int:
        """Edge of a frame in pixels."""
        return self.counts.shape[-1]

    @property
    def canvas_origin(self) -> tuple[int, int]:
        """Object-frame (y, x), whole pixels, of the corner of the smallest canvas that holds every patch."""
        return bounds(self.positions, self.N)[0]

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """Height and width of that canvas."""
        return bounds(self.positions, self.N)[1]

    @property
    def canvas_positions(self) -> "torch.Tensor":
        """Positions on that canvas, (n, 2) float64."""
        import torch

        return torch.from_numpy(self.positions - np.array(self.canvas_origin))

    def on_canvas(self, image: NDArray[np.complex64], outside: complex) -> NDArray[np.complex64]:
        """An object-frame image (H, W) on that canvas; ``outside`` where it does not reach."""
        return reframe(image, (0, 0), self.canvas_origin, self.canvas_shape, outside)

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """Photons of every frame over the good pixels, (n,); one pass over the frames."""
        return np.concatenate([self.array(block).sum(axis=(1, 2), dtype=np.float64) for block in self.blocks()])

    @property
    def photons(self) -> float:
        """Mean photons per frame over the good pixels."""
        return float(self.totals.mean())

    @property
    def dark(self) -> NDArray[np.int64]:
        """Which frames hold no photon, as numbers of the file."""
        return self.numbers[self.totals == 0]

    def without_dark(self) -> Self:
        """The same scan without the frames that hold no photon.

        Raises:
            PtychoError: when all frames are dark.
        """
        lit = self.totals > 0
        if lit.all():
            return self
        if not lit.any():
            raise PtychoError(NO_LIGHT)
        note = f"Left out: {len(lit) - lit.sum()} of {len(lit)} frames, which hold no photon."
        part = self.subset(lit)
        return replace(part, notes=(*part.notes, note))

    def blocks(self) -> Iterator[slice]:
        """Slices that pass over all frames in parts that fit in memory."""
        return blocks(self.counts.shape)

    @cached_property
    def probe_diameter(self) -> float:
        """Diameter of the probe in pixels (see :func:`ptychopinn.scan.probe.light.width`)."""
        return light.width(self.probe, level=0.1)

    @property
    def scan_box(self) -> tuple[slice, slice]:
        """Whole object pixels between the outermost positions, where an image is scored."""
        low = np.ceil(self.positions.min(axis=0)).astype(int)
        high = np.floor(self.positions.max(axis=0)).astype(int) + 1
        return slice(low[0], high[0]), slice(low[1], high[1])

    def frames(self, index: slice | NDArray[np.int64]) -> "torch.Tensor":
        """Counts of some frames as float32, bad pixels set to 0: (k, N, N)."""
        return self.compact_frames(index).float()

    def compact_frames(self, index: slice | NDArray[np.int64]) -> "torch.Tensor":
        """The same, but stored integers of one or two bytes stay: they move faster, convert them afterwards."""
        import torch

        return torch.from_numpy(self.array(index))

    def array(self, index: slice | NDArray[np.int64]) -> NDArray[Any]:
        """The frames of :meth:`compact_frames` as an array."""
        block = np.asarray(self.counts[index])
        if block.dtype.kind not in "iu" or block.dtype.itemsize > 2:
            block = block.astype(np.float32, copy=False)
        block = np.ascontiguousarray(block)  # torch takes no negative strides
        return block if self.good_pixels is None else np.where(self.good_pixels, block, 0)

    def subset(self, index: Index) -> Self:
        """The same scan with some of its frames, in the order of ``index``."""
        counts, positions = select(self.counts, index), self.positions[index]
        truth = {name: each[index] if name in PER_FRAME else each for name, each in self.truth.items()}
        return replace(self, counts=counts, positions=positions, frame_numbers=self.numbers[index], truth=truth)

    def split(self, axis: str = "y", fraction: float = 0.5, gap: float = 0.0) -> tuple[Self, Self]:
        """Cut the scan in two along ``"y"`` or ``"x"``.

        Args:
            axis: along which the parts lie side by side.
            fraction: of the frames, the lower ones, on the first side of the cut.
            gap: width in pixels of a band around the cut whose frames are in neither part.

        Raises:
            PtychoError: for a wrong axis or fraction, or a part without frames.
        """
        if axis not in ("y", "x") or not 0 < fraction < 1:
            raise PtychoError(
                f"split: axis {axis!r}, fraction {fraction}; axis y or x and 0 < fraction < 1 are needed."
            )
        along = self.positions[:, "yx".index(axis)]
        order = np.argsort(along, kind="stable")
        first, second = np.split(order, [round(fraction * len(self))])
        if len(first) and len(second):
            cut = (along[first[-1]] + along[second[0]]) / 2
            first, second = first[cut - along[first] >= gap / 2], second[along[second] - cut >= gap / 2]
        if not len(first) or not len(second):
            raise PtychoError(
                f"split: {len(first)} and {len(second)} of {len(self)} frames would be left on the two sides of a gap "
                f"of {gap:g} px along {axis}, where positions reach over {np.ptp(along):.1f} px; a smaller gap or a "
                "larger scan is needed."
            )
        return self.subset(np.sort(first)), self.subset(np.sort(second))

    def move(self, *, swap_xy: bool = False, flip_x: bool = False, flip_y: bool = False) -> Self:
        """Change the position convention: swap the axes, then mirror within the scanned range.

        An object that came with the scan no longer lies under the positions and is dropped.
        """
        if not (swap_xy or flip_x or flip_y):
            return self
        positions = self.positions[:, ::-1].copy() if swap_xy else self.positions.copy()
        for axis, flip in enumerate((flip_y, flip_x)):
            if flip:
                positions[:, axis] = positions[:, axis].max() + positions[:, axis].min() - positions[:, axis]
        note = () if self.object is None else ("objectGuess dropped: the positions were swapped or mirrored.",)
        return replace(self, positions=positions, object=None, notes=self.notes + note)

    def centred(self, row: int, column: int) -> Self:
        """Move the detector pixel ``[row, column]`` of every frame to the middle, ``[N // 2, N // 2]``.

        The margin, which no pixel of the detector saw, becomes bad pixels.
        """
        down, right = self.N // 2 - row, self.N // 2 - column
        if not (down or right):
            return self
        known = np.ones(self.counts.shape[1:], dtype=bool) if self.good_pixels is None else self.good_pixels
        keep = (slice(-down, self.N - down), slice(-right, self.N - right))
        note = f"Frames moved by ({down}, {right}) px (y, x): pixel [{row}, {column}] is their middle now."
        return replace(
            self,
            counts=moved(self.counts, down, right),
            good_pixels=cut(known[None], keep)[0].astype(bool),
            notes=(*self.notes, note),
        )

    def mask_probe(self, diameter: float | None = None) -> Self:
        """Cut the probe with a disc whose edge falls over a pixel; its diameter is half a frame when None."""
        from ptychopinn.physics.probe import circular_mask  # it needs torch, which takes a second to import

        mask = circular_mask(self.N, None if diameter is None else diameter / 2, softness=1.0).numpy()
        kept = (np.abs(self.probe * mask) ** 2).sum() / (np.abs(self.probe) ** 2).sum()
        note = f"Probe cut with a disc: {kept:.1%} of its power kept."
        return replace(self, probe=self.probe * mask, notes=(*self.notes, note))

    def crop(self, size: int) -> Self:
        """Keep the central ``size`` x ``size`` detector pixels.

        The object pixel grows by N / size: positions shrink, the probe is cropped in Fourier space and a known
        object is low-passed and resampled.
        """
        full = self.N
        if size == full:
            return self
        if size > full or size % 2 or size < 8:
            raise IncurableError(f"crop: {size} given; an even number from 8 to {full} is needed.")
        keep = slice(full // 2 - size // 2, full // 2 + size // 2)
        probe = light.cropped(self.probe, size)
        kept = float((np.abs(probe) ** 2).sum() / (np.abs(self.probe) ** 2).sum())
        return replace(
            self,
            counts=window(self.counts, keep, keep),
            positions=self.positions * (size / full),
            probe=probe,
            object=None if self.object is None else resample(self.object, size, full),
            good_pixels=None if self.good_pixels is None else self.good_pixels[keep, keep],
            pixel_size_m=None if self.pixel_size_m is None else self.pixel_size_m * full / size,
            brightest=None if self.brightest is None else self.brightest * kept,
            notes=(*self.notes, f"Detector cropped from {full} to {size}: object pixels are {full / size:g}x larger."),
        )

    @cached_property
    def support(self) -> int:
        """Edge of the smallest central square, a multiple of 4, that holds 99.8 % of the probe's power."""
        return light.support(self.probe)

    @property
    def clear_distance(self) -> float:
        """Smallest distance along an axis, pixels, at which no object pixel is lit by both of two frames.

        Lit is the central square that holds 99.8 % of the probe's power (:attr:`support`), and one pixel more,
        because a position between pixels reads both.
        """
        return self.support + 1.0


def resample(image: NDArray[np.complex64], size: int, full: int) -> NDArray[np.complex64]:
    """Sample ``image`` every full / size pixels, from [0, 0], without aliasing."""
    from scipy.signal import resample  # it takes a second to import

    for axis in (0, 1):
        step = full // np.gcd(size, full)
        short = -image.shape[axis] % step
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, int(short))
        image = np.pad(image, pad, mode="edge")
        image = resample(image, image.shape[axis] * size // full, axis=axis)
    return image.astype(np.complex64)

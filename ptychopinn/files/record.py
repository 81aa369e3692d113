"""Content of a file of any format, in the conventions of this package, and the scan made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.geometry.microscope import Microscope
from ptychopinn.files.values import Array, object_pixel
from ptychopinn.physics.wavelength import Particle, wavelength
from ptychopinn.scan.arrays import MAX_POSITION, check_object, check_positions, check_probe, leading
from ptychopinn.scan.frames import Counts, Frames, blocks, check_all, check_amplitudes, select
from ptychopinn.scan.scan import Scan

IN_MEMORY = 2**28
"""Bytes up to which a stack of frames is read at once; a larger one stays in its file."""

NO_POSITIONS = "the file holds frames only: give the file with positions and probe, and this one by --frames."
NO_FRAMES = "the file holds no frames: give them by --frames FILE."
MAKE_PROBE = "give one by --probe FILE, make one by 'ptychopinn probe make', or let 'ptychopinn reconstruct' find it."
NO_PROBE = f"the file holds no probe; {MAKE_PROBE}"

INTERPOLATION = "interpolation"
"""Key in ``extra``: interpolation of the object of a simulated scan."""

PROVENANCE = "provenance"
"""Key in ``extra``: how a simulated scan or a view was made, an object."""


class Reading(NamedTuple):
    """How to read a file.

    Attributes:
        format: name of a format; recognised when None.
        map: JSON file that names the datasets of an HDF5 file.
        frames: file with the frames, when they are in another one.
        probe: file whose probe to take.
        pixel_size: edge of an object pixel in metres, where the file does not say.
        in_memory: bytes up to which frames are read at once.
        growing: whether a detector still appends, so that frames and positions may differ in number.
        microscope: settings of an electron microscope.
        allow_external: read datasets that keep their values outside the folder of the file.
        measurement: what float frames hold, whatever the file says or does not say.
    """

    format: str | None = None
    map: Path | None = None
    frames: Path | None = None
    probe: Path | None = None
    pixel_size: float | None = None
    in_memory: int = IN_MEMORY
    growing: bool = False
    microscope: Microscope = Microscope()
    allow_external: bool = False
    measurement: str | None = None


ELECTRON_ENERGY = "electron_energy_eV"
"""Key in ``extra``, and in files whose programs know photons only: kinetic energy of the electrons."""


@dataclass(frozen=True, eq=False)
class Record:
    """Parts of a file; None for a part that it lacks.

    Attributes:
        format: name in :mod:`ptychopinn.files.formats.registry`.
        counts: (n, N, N) as stored, zero frequency at ``[N // 2, N // 2]``.
        measurement: "counts" or "amplitude"; None where floats could be either.
        positions: (n, 2) float64 object pixels (y, x), centre N / 2; of a growing scan NaN where there is none yet.
        probe: (m, N, N) complex, in the precision of the file.
        object: (H, W) complex, the product of all layers.
        good_pixels: (N, N) bool.
        scan_index: (n,) which scan a frame belongs to.
        pixel_m: height and width of an object pixel.
        origin_m: metres (y, x) of object pixel coordinate 0, in the frame of the file.
        energy_eV: of the photons, or kinetic energy of the electrons.
        particle: which of them.
        distance_m: from the object to the detector.
        detector_pixel_m: height and width.
        made_up: whether the pixel size is a placeholder.
        metric: whether the file has positions in metres.
        near_field: why the data are no far-field data.
        partial: whether such a file may hold only a part of a scan.
        extra: values that only some formats know, by their names in ptychodus.
        notes: what was assumed or changed.
        doubted: what was assumed and may be wrong, a clause each, said of an image that explains the frames badly.
        absent: message for each missing part.
        frames_key: name of the frames in the file.
    """

    format: str
    counts: Counts | None = None
    measurement: str | None = "counts"
    positions: NDArray[np.float64] | None = None
    probe: NDArray[np.complexfloating[Any]] | None = None
    object: NDArray[np.complexfloating[Any]] | None = None
    good_pixels: NDArray[np.bool_] | None = None
    scan_index: NDArray[np.integer[Any]] | None = None
    pixel_m: tuple[float, float] | None = None
    origin_m: tuple[float, float] | None = None
    energy_eV: float | None = None  # noqa: N815 - eV is the unit
    particle: Particle = "photon"
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None
    made_up: bool = False
    metric: bool = False
    near_field: str | None = None
    partial: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    frames_key: str = "diffraction"

    @property
    def is_empty(self) -> bool:
        """Whether it has no frames, positions, probe or object."""
        return all(part is None for part in (self.counts, self.positions, self.probe, self.object))

    def missing(self, part: str, what: str) -> PtychoError:
        """The error for a missing part."""
        return PtychoError(self.absent.get(part, f"{part}: not there; {what} needed."))

    def check_parts(self, what: str, *parts: str) -> None:
        """Refuse a record without parts that are needed."""
        for part in parts:
            if getattr(self, part) is None:
                raise self.missing(part, what)

    @property
    def far_field_pixel(self) -> tuple[float, float] | None:
        """Object pixel that energy, distance, detector pixel and frames give; None where one of them is unknown."""
        if self.energy_eV is None or self.distance_m is None or self.detector_pixel_m is None or self.counts is None:
            return None
        return object_pixel(self.energy_eV, self.distance_m, self.detector_pixel_m, self.counts.shape, self.particle)

    @property
    def wavelength_m(self) -> float | None:
        """Wavelength of the photons or electrons; None where their energy is not known."""
        return None if not self.energy_eV else wavelength(self.energy_eV, self.particle)

    def in_metres(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (n, 2) and the origin (y, x) in metres; without one the middle of ``shape`` is 0."""
        pixel = np.array(self.pixel_m)
        origin = np.array(self.origin_m or -pixel * shape / 2)
        return origin + pixel * self.positions, origin

    def all_modes(self) -> Array:
        """Coherent (OPR) modes of incoherent modes, (C, m, N, N), as ptychodus stores a probe."""
        assert self.probe is not None
        others = [np.asarray(self.extra["opr_modes"])] if "opr_modes" in self.extra else []
        return np.concatenate([self.probe[None], *others])


def scan_of(
    record: Record, measurement: str | None = None, nphotons: float | None = None, scan_index: int | None = None
) -> Scan:
    """The scan of a record.

    Args:
        record: of the file.
        measurement: "counts" or "amplitude"; overrules the file for float frames.
        nphotons: mean photons per frame of amplitudes, whose unit is often unknown.
        scan_index: which scan of a file that holds several.

    Raises:
        PtychoError: for what is missing, near-field data, or values that make no scan.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses values that are not finite
        if record.counts is None:
            raise record.missing("counts", "frames are")
        if record.positions is None:
            raise record.missing("positions", "one per frame is")
        if record.near_field is not None:
            raise PtychoError(
                f"near-field data ({record.near_field}); only far-field data can be reconstructed; should they be "
                "far-field data, check distance, energy, detector pixel and the unit of the positions."
            )
        counts, notes = _counts(record, measurement, nphotons)
        if record.probe is None:
            raise record.missing("probe", "the illumination is")
        scan = Scan(
            counts=counts,
            positions=record.positions,
            probe=record.probe.astype(np.complex64),
            object=None if record.object is None else record.object.astype(np.complex64),
            good_pixels=record.good_pixels,
            pixel_size_m=None if record.made_up else pixel_size(record),
            notes=(*record.notes, *notes),
            doubted=record.doubted,
            interpolation=_interpolation(record),
            provenance=record.extra.get(PROVENANCE),
        )
        return _one_scan(scan, record.scan_index, scan_index)


def _interpolation(record: Record) -> str | None:
    """Interpolation of a simulated scan; None for other scans."""
    told = record.extra.get(INTERPOLATION)
    return shortened(told, 40) if isinstance(told, str) else None


def counts_of(
    record: Record, measurement: str | None = None, nphotons: float | None = None
) -> tuple[Counts, list[str]]:
    """The frames as counts, 0 where the detector is bad, and what was assumed; see :func:`scan_of`.

    Raises:
        PtychoError: for frames that are no counts; those in a file are checked when they are read.
    """
    assert record.counts is not None
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
        counts, notes = _counts(record, measurement, nphotons)
    check_all(counts)
    return counts, notes


def start_of(record: Record) -> dict[str, Array]:
    """Parts to start a simulation from: any of ``object``, ``probe``, ``positions``; frames are ignored."""
    checks: dict[str, Callable[[Any], None]]
    checks = {"object": check_object, "probe": check_probe, "positions": check_positions}
    found = {name: part for name in checks if (part := getattr(record, name)) is not None}
    with np.errstate(over="ignore", invalid="ignore"):  # the checks refuse values that are not finite
        for name, part in found.items():
            found[name] = part if name == "positions" else part.astype(np.complex64)
            checks[name](found[name])
    return found


def pixel_size(record: Record) -> float | None:
    """Edge of an object pixel in metres; None where it is unknown or not square."""
    if record.pixel_m is None or not np.isclose(*record.pixel_m, rtol=1e-6):
        return None
    return float(np.mean(record.pixel_m))


def with_gaps(places: NDArray[np.float64], pixel: Any) -> NDArray[np.float64]:
    """Positions of a growing scan, NaN where they cannot be used: not finite, too far away, or not written yet.

    Room that was made for positions holds 0 in all coordinates, from the last position that was written on.

    Args:
        places: (n, 2) in the unit of the file.
        pixel: edges of an object pixel (y, x), or both, in that unit.

    Raises:
        PtychoError: when none can be used.
    """
    written = np.flatnonzero(np.isfinite(places).all(axis=1) & (places != 0).any(axis=1))
    if not len(written):
        raise leading(places)[1] or PtychoError("positions: all are 0, as where a writer only made room for them.")
    found = np.where(np.isfinite(places).all(axis=1, keepdims=True), places, np.nan)
    found[written[-1] + 1 :] = np.nan
    # Relative to the middle: an unusable position would shift the corner of the scan.
    with np.errstate(over="ignore", invalid="ignore"):  # comparisons with NaN are False
        near = (abs((found - np.nanmedian(found, axis=0)) / pixel) <= MAX_POSITION).all(axis=1, keepdims=True)
    return np.where(near, found, np.nan)


def as_far_as_complete(record: Record) -> Record:
    """The frames of a growing scan that already have a position, which may be NaN."""
    if record.counts is None or record.positions is None:
        return record
    count = min(len(record.counts), len(record.positions))
    return replace(record, counts=select(record.counts, slice(0, count)), positions=record.positions[:count])


def near_field(record: Record) -> str | None:
    """Why the data are no far-field data; None where they may be.

    A far-field frame of N pixels holds an illumination of at most N / 2 object pixels, or its fringes are undersampled.
    Frames farther apart than that cannot overlap. A file with a probe was reconstructed before and is trusted.
    """
    if record.near_field is not None or record.probe is not None or not record.metric:
        return record.near_field
    if record.counts is None or record.positions is None:
        return None
    places = record.positions[np.isfinite(record.positions).all(axis=1)]
    if len(places) < 2:
        return None
    step = float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))
    size = record.counts.shape[-1]
    if step <= size / 2:
        return None
    return (
        f"neighbouring positions are {step:.3g} object pixels apart, but far-field frames of {size} pixels overlap "
        f"only below {size / 2:g}"
    )


def _cleared(frames: Counts, good: NDArray[np.bool_] | None) -> Counts:
    """Frames with 0 in bad pixels."""
    if good is None:
        return frames
    if good.shape != frames.shape[1:]:
        raise PtychoError(f"bad_pixels: shape {good.shape}; the frames are {frames.shape[1:]}.")
    if isinstance(frames, Frames):
        return frames.masked(good)
    frames[:, ~good] = 0
    return frames


def _counts(record: Record, measurement: str | None, nphotons: float | None) -> tuple[Counts, list[str]]:
    assert record.counts is not None
    frames, key = _cleared(record.counts, record.good_pixels), record.frames_key
    if frames.dtype.kind == "b" and not isinstance(frames, Frames):
        frames = frames.astype(np.uint8)  # one bit per pixel: hit or not
    told = measurement or record.measurement
    if told not in (None, "counts", "amplitude"):
        raise PtychoError(f"_metadata: measurement {shortened(repr(told))}; counts or amplitude is needed.")
    unscaled = [] if nphotons is None else [f"--nphotons {nphotons:g} is not used: {key} holds counts, not amplitudes."]
    if frames.dtype.kind in "ui":
        if told == "amplitude":
            by = "--measurement amplitude was given" if measurement else "the file says that they are amplitudes"
            raise PtychoError(f"{key}: dtype {frames.dtype} means counts, but {by}.")
        return frames, unscaled
    if not isinstance(frames, Frames):
        frames = frames.astype(np.float32)
    if told == "counts":
        return frames, unscaled
    notes = [] if told else [f"{key} is {frames.dtype} and nothing says what it holds: taken as amplitude."]
    counts = _squared(frames, key)
    if nphotons is None or not len(counts):
        return counts, [*notes, "No --nphotons: the squared amplitudes are taken as photons."]
    total = sum(float(counts[block].sum(dtype=np.float64)) for block in blocks(counts.shape))
    if not total:
        raise PtychoError(f"{key}: zero everywhere; it cannot be scaled to {nphotons:g} photons per frame.")
    scale = nphotons / (total / len(counts))
    scaled = replace(counts, scale=scale) if isinstance(counts, Frames) else counts * np.float32(scale)
    return scaled, [*notes, f"Amplitudes scaled to {nphotons:g} photons per frame."]


def _squared(frames: Counts, key: str) -> Any:
    if isinstance(frames, Frames):
        return replace(frames, scale=1.0)
    check_amplitudes(frames, np.arange(len(frames)), key)
    return np.square(frames)


def _one_scan(scan: Scan, index: NDArray[Any] | None, wanted: int | None) -> Scan:
    """The frames of one scan of a file that may hold several."""
    if index is None:
        if wanted is not None:
            raise PtychoError(f"scan_index: not there, but --scan-index {wanted} was given; omit it.")
        return scan
    if index.shape != (len(scan),) or index.dtype.kind not in "ui":
        raise PtychoError(
            f"scan_index: shape {index.shape}, dtype {index.dtype}; one whole number per frame is needed."
        )
    found = np.unique(index)
    if wanted is None and len(found) == 1:
        return scan
    if wanted not in found:
        asked = "several scans in one file" if wanted is None else f"--scan-index {wanted} given"
        names = ", ".join(map(str, found[:10])) + (" ..." if len(found) > 10 else "")
        raise PtychoError(f"scan_index: {asked}; give --scan-index as one of {names}.")
    return scan.subset(index == wanted)

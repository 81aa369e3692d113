"""What a file of any format holds, in the conventions of this package, before it is asked to be a scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.physics.wavelength import HC_EV_M as HC_EV_M
from ptychopinn.physics.wavelength import Particle, wavelength
from ptychopinn.scan.arrays import check_object, check_positions, check_probe, leading
from ptychopinn.scan.frames import Counts, Frames, blocks, check_all, check_amplitudes, select
from ptychopinn.scan.scan import Scan

Array = NDArray[Any]

SMALLEST_PIXEL, LARGEST_PIXEL = 1e-15, 1.0
"""Metres between which an object pixel can be."""

JOULE_PER_EV = 1.602176634e-19

INTERPOLATION = "interpolation"
"""In ``extra``: how the object of a simulated scan was read between pixels."""


ELECTRON_ENERGY = "electron_energy_eV"
"""In ``extra``, and as an attribute of files whose programs know photons only: kinetic energy of the electrons."""


@dataclass(frozen=True, eq=False)
class Record:
    """Parts of a file; None is what it does not hold.

    Attributes:
        format: name in :mod:`ptychopinn.files.formats.registry`.
        counts: (n, N, N) as stored, zero frequency at ``[N // 2, N // 2]``.
        measurement: "counts" or "amplitude"; None where floats could be either.
        positions: (n, 2) float64 object pixels (y, x), centre N / 2.
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
        made_up: whether pixel, energy and distance are placeholders.
        metric: whether the positions came as metres.
        near_field: why the data are no far-field data.
        partial: whether a file of this kind need not hold a whole scan.
        refused: of a growing scan, why its frames end here: the position of the next one cannot be used.
        extra: what only some formats know, by the name that ptychodus gives it.
        notes: what was assumed or changed.
        absent: sentence for a part that is missing.
        frames_key: what the file calls its frames.
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
    refused: PtychoError | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    frames_key: str = "diffraction"

    @property
    def wavelength_m(self) -> float | None:
        """Wavelength of the photons or electrons; None where their energy is not known."""
        return None if not self.energy_eV else wavelength(self.energy_eV, self.particle)

    def missing(self, part: str, what: str) -> PtychoError:
        """The refusal of a file without a part that is needed."""
        return PtychoError(self.absent.get(part, f"{part}: not there; {what} needed."))


def scan_of(
    record: Record, measurement: str | None = None, nphotons: float | None = None, scan_index: int | None = None
) -> Scan:
    """A scan to reconstruct, from what a file holds.

    Args:
        record: of the file.
        measurement: "counts" or "amplitude"; overrules the file for float frames.
        nphotons: mean photons per frame of amplitudes, whose unit is often unknown.
        scan_index: which scan of a file that holds several.

    Raises:
        PtychoError: for what is missing, near-field data, or values that make no scan.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses what is not finite
        if record.counts is None:
            raise record.missing("counts", "frames are")
        if record.positions is None:
            raise record.missing("positions", "one per frame is")
        if record.near_field is not None:
            raise PtychoError(
                f"near-field data ({record.near_field}); only far-field data can be reconstructed; should they be "
                "far-field data, check distance, energy, detector pixel and the unit of the positions."
            )
        counts, notes = _counts(_cleared(record.counts, record.good_pixels), record, measurement, nphotons)
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
            interpolation=_interpolation(record),
        )
        return _one_scan(scan, record.scan_index, scan_index)


def _interpolation(record: Record) -> str | None:
    """How a simulated scan says that it was made; None of others."""
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
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
        counts, notes = _counts(_cleared(record.counts, record.good_pixels), record, measurement, nphotons)
    check_all(counts)
    return counts, notes


def start_of(record: Record) -> dict[str, Array]:
    """What a simulation starts from: any of ``object``, ``probe``, ``positions``; the frames are not looked at."""
    found: dict[str, Array] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # the checks refuse what is not finite
        if record.object is not None:
            found["object"] = record.object.astype(np.complex64)
            check_object(found["object"])
        if record.probe is not None:
            found["probe"] = record.probe.astype(np.complex64)
            check_probe(found["probe"])
        if record.positions is not None:
            found["positions"] = record.positions
            check_positions(record.positions)
    return found


def pixel_size(record: Record) -> float | None:
    """Edge of an object pixel in metres; None where it is unknown or not square."""
    if record.pixel_m is None or not np.isclose(*record.pixel_m, rtol=1e-6):
        return None
    return float(np.mean(record.pixel_m))


def checked_pixel(name: str, value: Any) -> float:
    """A positive length below a metre.

    Raises:
        PtychoError: naming it.
    """
    known = isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
    if not known or not SMALLEST_PIXEL < value < LARGEST_PIXEL:
        raise PtychoError(f"{name} {shortened(repr(value))}; a positive number of metres, below 1, is needed.")
    return float(value)


def object_pixel(
    energy_eV: float,
    distance_m: float,
    detector_pixel_m: tuple[float, float],
    shape: tuple[int, ...],
    particle: Particle = "photon",
) -> tuple[float, float]:
    """Height and width of an object pixel in the far field, ``wavelength * distance / (N * detector pixel)``."""
    reach = wavelength(energy_eV, particle) * distance_m
    return reach / (shape[-2] * detector_pixel_m[0]), reach / (shape[-1] * detector_pixel_m[1])


def as_far_as_usable(places: NDArray[np.float64], pixel: Any) -> tuple[NDArray[np.float64], PtychoError | None]:
    """Positions of a growing scan before the first that cannot be used, and what is wrong with that one.

    Args:
        places: (n, 2) in the unit of the file.
        pixel: edges of an object pixel (y, x), or both, in that unit.

    Raises:
        PtychoError: when it is the first of all.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for
        # Seen from the first frame: the corner of the scan may be that of the wrong one.
        count, why = leading((places - places[:1]) / pixel)
    if why is not None and not count:
        raise why
    return places[:count], why


def as_far_as_complete(record: Record) -> Record:
    """The frames of a growing scan that have a position already."""
    if record.counts is None or record.positions is None:
        return record
    count = min(len(record.counts), len(record.positions))
    return replace(
        record,
        counts=select(record.counts, slice(0, count)),
        positions=record.positions[:count],
        refused=record.refused if len(record.counts) > count else None,
    )


def near_field(record: Record) -> str | None:
    """Why the data cannot be far-field data; None where they can.

    A far-field frame of N pixels holds an illumination of at most N / 2 object pixels, or its fringes are undersampled.
    Frames farther apart than that cannot overlap. A file that has a probe was reconstructed already and is believed.
    """
    if record.near_field is not None or record.probe is not None or not record.metric:
        return record.near_field
    if record.counts is None or record.positions is None or len(record.positions) < 2:
        return None
    step = float(np.median(cKDTree(record.positions).query(record.positions, k=2)[0][:, 1]))
    size = record.counts.shape[-1]
    if step <= size / 2:
        return None
    return (
        f"neighbouring positions are {step:.3g} object pixels apart, but far-field frames of {size} pixels overlap "
        f"only below {size / 2:g}"
    )


def _cleared(frames: Counts, good: NDArray[np.bool_] | None) -> Counts:
    """Frames with 0 where the detector is bad, whatever stood there."""
    if good is None:
        return frames
    if good.shape != frames.shape[1:]:
        raise PtychoError(f"bad_pixels: shape {good.shape}; the frames are {frames.shape[1:]}.")
    if isinstance(frames, Frames):
        return replace(frames, good_pixels=good)
    frames[:, ~good] = 0
    return frames


def _counts(
    frames: Counts, record: Record, measurement: str | None, nphotons: float | None
) -> tuple[Counts, list[str]]:
    key = record.frames_key
    told = measurement or record.measurement
    if told not in (None, "counts", "amplitude"):
        raise PtychoError(f"_metadata: measurement {shortened(repr(told))}; counts or amplitude is needed.")
    unscaled = [] if nphotons is None else [f"--nphotons {nphotons:g} is not used: {key} holds counts, not amplitudes."]
    if frames.dtype.kind in "ui":
        if measurement == "amplitude" or (measurement is None and record.measurement == "amplitude"):
            by = "--measurement amplitude was given" if measurement else "the file says that they are amplitudes"
            raise PtychoError(f"{key}: dtype {frames.dtype} means counts, but {by}.")
        return frames, unscaled
    if not isinstance(frames, Frames):
        frames = frames.astype(np.float32)
    if told == "counts":
        return frames, unscaled
    notes = [] if told else [f"{key} is {frames.dtype} and nothing says what it holds: taken as amplitude."]
    if not told and len(frames) and (first := np.asarray(frames[:1])).any() and (first == np.rint(first)).all():
        notes.append(f"{key}: the first frame has whole numbers only; if they are counts, give --measurement counts.")
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
            raise PtychoError(f"scan_index: not there, but --scan-index {wanted} was given; leave it away.")
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


def as_complex(value: Array, key: str) -> NDArray[np.complexfloating[Any]]:
    """Complex numbers in the precision of the file.

    Raises:
        PtychoError: naming ``key``.
    """
    if value.dtype.kind not in "cfui":
        raise PtychoError(f"{key}: dtype {value.dtype}; complex numbers are needed.")
    if value.dtype.kind == "c":
        return value
    return value.astype(np.complex128 if value.dtype.itemsize > 4 else np.complex64)


def as_modes(probe: NDArray[np.complexfloating[Any]]) -> NDArray[np.complexfloating[Any]]:
    """A probe of any usual shape, ``(N, N)``, ``(m, N, N)``, ``(N, N, 1)`` or with leading ones, as (m, N, N)."""
    while probe.ndim > 3 and probe.shape[0] == 1:
        probe = probe[0]
    if probe.ndim == 2:
        return probe[None]
    if probe.ndim == 3 and probe.shape[-1] == 1 and probe.shape[0] == probe.shape[1]:
        return np.ascontiguousarray(probe[None, ..., 0])
    return probe


def as_product(layers: NDArray[np.complexfloating[Any]]) -> NDArray[np.complexfloating[Any]]:
    """An object (H, W), or the product of its layers (L, H, W)."""
    if layers.ndim == 2:
        return layers
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by a scan
        return layers[0] if len(layers) == 1 else np.prod(layers, axis=0)


def as_column(value: Array, key: str) -> NDArray[np.float64]:
    """One number per frame.

    Raises:
        PtychoError: naming ``key``.
    """
    if value.ndim != 1 or value.dtype.kind not in "uif":
        raise PtychoError(f"{key}: shape {value.shape}, dtype {value.dtype}; one number per frame is needed.")
    return value.astype(np.float64)


def as_good(value: Array, key: str = "bad_pixels") -> NDArray[np.bool_]:
    """Good pixels from a mask that is nonzero where the detector is bad.

    Raises:
        PtychoError: naming ``key``.
    """
    if value.dtype.kind not in "bui":
        raise PtychoError(f"{key}: dtype {value.dtype}; booleans or whole numbers are needed.")
    return value == 0


PARTS = ("counts", "positions", "probe", "object")

NO_POSITIONS = "the file holds frames only: give the file with positions and probe, and this one by --frames."
NO_FRAMES = "the file holds no frames: give them by --frames FILE."
NO_PROBE = "the file holds no probe; give one by --probe FILE."


def pairs(values: Array, name: str) -> NDArray[np.float64]:
    """Two real numbers for each frame, (n, 2) float64."""
    if values.ndim != 2 or values.shape[1] != 2 or values.dtype.kind not in "uif" or not len(values):
        raise PtychoError(f"{name}: shape {values.shape}, dtype {values.dtype}; two numbers per frame are needed.")
    return values.astype(np.float64)

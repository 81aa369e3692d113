"""CXI 1.6, also the flavour of ptychodus with probe, object and losses in the same file.

A translation is that of the sample in the laboratory, so the beam is on the sample at minus it; its component along a
detector axis ``e`` (column of ``basis_vectors``, the first for rows) is ``-translation . e``. Without basis vectors the
axes are those of the standard's usual detector, rows along -y and columns along -x: the position is then plus the
translation, as ptychodus takes it.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.atomic import writing
from ptychopinn.files.formats import cxi_corrections
from ptychopinn.files.record import (
    HC_EV_M,
    JOULE_PER_EV,
    Array,
    Record,
    as_complex,
    as_far_as_usable,
    as_good,
    as_modes,
    as_product,
    object_pixel,
)

ENTRY = "entry_1"
DETECTOR = f"{ENTRY}/instrument_1/detector_1"
SOURCE = f"{ENTRY}/instrument_1/source_1"
TRANSLATIONS = (
    f"{ENTRY}/sample_1/geometry_1/translation",
    f"{ENTRY}/data_1/translation",
    f"{DETECTOR}/translation",
)
PROBES = (f"{ENTRY}/image_1/data", f"{SOURCE}/illumination", f"{SOURCE}/probe", f"{DETECTOR}/probe")
OBJECT = f"{ENTRY}/image_2/data"
PTYCHODUS = f"{ENTRY}/ptychodus"
OWN = f"{ENTRY}/ptychopinn"
KEPT = ("loss_epochs", "loss_values", "opr_weights", "opr_modes", "object_layers", "object_layer_spacing_m")
NUMBERS = ("probe_photon_count", "exposure_time_s", "mass_attenuation_m2_per_kg", "tomography_angle_deg")
USUAL_AXES = ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))

DISAGREE = 0.01
"""Relative difference of energy and wavelength beyond which one of them is wrong."""


def read_cxi(
    path: Path, pixel_m: float | None = None, in_memory: int = hdf5.IN_MEMORY, growing: bool = False
) -> Record:
    """Read frames, translations, mask and geometry, and probe, object and losses where they are.

    Args:
        path: CXI file.
        pixel_m: edge of an object pixel, for a file without distance, energy or detector pixel.
        in_memory: bytes up to which frames are read at once.
        growing: whether frames and translations may differ in number.

    Raises:
        PtychoError: naming the file and the dataset.
    """
    with hdf5.opened(path) as file:
        try:
            return _record(file, pixel_m, in_memory, growing)
        except PtychoError as error:
            raise PtychoError(f"{path}: {error}") from None


def _record(file: h5py.File, pixel_m: float | None, in_memory: int, growing: bool) -> Record:
    data = _first(file, f"{ENTRY}/data_1/data", f"{DETECTOR}/data")
    frames = None if data is None else hdf5.stack(data)
    detector_pixel, axes, notes = _axes(file)
    energy, distance = _energy(file), _length(file, f"{DETECTOR}/distance")
    probes, image = _images(file, frames)
    layers = _layers(image)
    pixel = _object_pixel(file, frames, energy, distance, detector_pixel, pixel_m)
    shape = None if layers is None else layers.shape[-2:]
    positions, origin, refused = _positions(file, axes, pixel, frames, shape, growing)
    extra = _extra(file)
    if not growing and frames is not None and positions is not None and len(positions) != frames.shape[0]:
        raise PtychoError(f"translation: {len(positions)} entries for {frames.shape[0]} frames; as many are needed.")
    probe, more = _probe(probes)
    made_up = _text(file, f"{OWN}/made_up_geometry") or ""
    placeholders = [f"Placeholders, not measured: {made_up}."] if made_up else []
    mask = file.get(f"{DETECTOR}/mask")
    good = None if mask is None else _mask(hdf5.array(mask))
    if frames is not None and (lit := cxi_corrections.sensitive(file, tuple(frames.shape[-2:]))) is not None:
        good = lit if good is None else good & lit if good.shape == lit.shape else good
        notes = (*notes, f"qe_mask: {int((~lit).sum())} pixels without sensitivity are bad.")
    return Record(
        "cxi",
        counts=None if frames is None else hdf5.frames_of(frames, in_memory),
        positions=positions,
        probe=probe,
        object=None if layers is None else as_product(layers),
        good_pixels=good,
        pixel_m=pixel,
        origin_m=origin,
        energy_eV=None if "energy" in made_up else energy,
        distance_m=None if "distance" in made_up else distance,
        detector_pixel_m=None if made_up else detector_pixel,
        made_up="pixel" in made_up,
        metric=positions is not None and "pixel" not in made_up,
        near_field=_text(file, f"{OWN}/near_field"),
        refused=refused,
        extra=extra | more | ({"object_layers": layers} if layers is not None and _is_stack(layers) else {}),
        notes=(*notes, *placeholders, *cxi_corrections.not_modelled(file)),
        absent={
            "counts": f"{ENTRY}/data_1/data: not there; frames are needed.",
            "probe": "the file holds no probe; give one by --probe FILE.",
            "positions": f"{TRANSLATIONS[0]}: not there; positions are needed.",
        },
        frames_key=f"{ENTRY}/data_1/data",
    )


def _images(file: h5py.File, frames: hdf5.Stack | None) -> tuple[h5py.Dataset | None, h5py.Dataset | None]:
    """Probe and object.

    ptychodus has them as images 1 and 2. An image alone, of another size than a frame or beside the illumination of
    the source, is the object.
    """
    image, lone = _first(file, f"{OWN}/object", OBJECT), _first(file, PROBES[0])
    if f"{OWN}/object" in file:
        return _first(file, *PROBES[1:]), image
    if image is None and lone is not None:
        others = _first(file, *PROBES[1:])
        if (others is not None and others != lone) or (frames is not None and lone.shape[-2:] != frames.shape[-2:]):
            return others, lone
    return _first(file, *PROBES), image


def _layers(image: h5py.Dataset | None) -> NDArray[np.complexfloating[Any]] | None:
    """The object, (H, W) or (L, H, W), where there is one."""
    if image is None:
        return None
    name = str(image.name).strip("/")
    layers = as_complex(hdf5.array(image), name)
    if layers.ndim not in (2, 3) or not layers.size:
        raise PtychoError(f"{name}: shape {layers.shape}; (H, W) or (layers, H, W) is needed.")
    return layers


def _is_stack(layers: Array) -> bool:
    return layers.ndim == 3 and len(layers) > 1


def _first(file: h5py.File, *names: str) -> h5py.Dataset | None:
    return next((hdf5.find(file, name) for name in names if file.get(name) is not None), None)


def _length(file: h5py.File, name: str) -> float | None:
    return None if file.get(name) is None else hdf5.positive(hdf5.find(file, name), "m", "length")


def _text(file: h5py.File, name: str) -> str | None:
    if file.get(name) is None:
        return None
    value = hdf5.find(file, name)[()]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _energy(file: h5py.File) -> float | None:
    """Photon energy in electronvolts, from the energy (in J unless it says otherwise) or the wavelength."""
    wavelength = _length(file, f"{SOURCE}/wavelength")
    energy = None
    if file.get(f"{SOURCE}/energy") is not None:
        energy = hdf5.positive(hdf5.find(file, f"{SOURCE}/energy"), "J", "energy")
    if energy is None or wavelength is None:
        return energy if wavelength is None else HC_EV_M / wavelength
    if abs(energy * wavelength / HC_EV_M - 1) > DISAGREE:
        raise PtychoError(
            f"{SOURCE}: energy {energy:.4g} eV and wavelength {wavelength:.4g} m do not belong together; "
            "check their units (J and m)."
        )
    return energy


def _axes(file: h5py.File) -> tuple[tuple[float, float] | None, NDArray[np.float64], tuple[str, ...]]:
    """Detector pixel (height, width), unit vectors (x, y, z) along rows and columns, and what was assumed."""
    sizes = [_length(file, f"{DETECTOR}/{axis}_pixel_size") for axis in "yx"]
    pixel = (sizes[0], sizes[1]) if sizes[0] is not None and sizes[1] is not None else None
    vectors = file.get(f"{DETECTOR}/basis_vectors")
    if vectors is None:
        return (
            pixel,
            np.array(USUAL_AXES),
            ("No basis_vectors: rows along -y, columns along -x; position = translation.",),
        )
    values = hdf5.reals(hdf5.find(file, f"{DETECTOR}/basis_vectors"))
    if values.shape != (3, 2) or not np.isfinite(values).all() or not (np.linalg.norm(values, axis=0) > 0).all():
        raise PtychoError(
            f"{DETECTOR}/basis_vectors: shape {values.shape}; two vectors (x, y, z) as columns are needed."
        )
    lengths = np.linalg.norm(values, axis=0)
    units = (values / lengths).T
    named = ", ".join(f"{name} along {_direction(axis)}" for name, axis in zip(("rows", "columns"), units, strict=True))
    note = f"basis_vectors: {named}; position = -translation along them."
    return pixel or (float(lengths[0]), float(lengths[1])), units, (note,)


def _direction(axis: NDArray[np.float64]) -> str:
    largest = int(np.abs(axis).argmax())
    return ("-" if axis[largest] < 0 else "+") + "xyz"[largest]


def _object_pixel(
    file: h5py.File,
    frames: hdf5.Stack | None,
    energy: float | None,
    distance: float | None,
    detector_pixel: tuple[float, float] | None,
    given: float | None,
) -> tuple[float, float] | None:
    stored = [_length(file, f"{group}/object_pixel_{edge}_m") for group in (PTYCHODUS,) for edge in ("height", "width")]
    if stored[0] is not None and stored[1] is not None:
        return stored[0], stored[1]
    if energy is not None and distance is not None and detector_pixel is not None and frames is not None:
        return object_pixel(energy, distance, detector_pixel, frames.shape)
    return None if given is None else (given, given)


def _positions(
    file: h5py.File,
    axes: NDArray[np.float64],
    pixel: tuple[float, float] | None,
    frames: hdf5.Stack | None,
    shape: tuple[int, ...] | None,
    growing: bool,
) -> tuple[NDArray[np.float64] | None, tuple[float, float] | None, PtychoError | None]:
    """Positions (n, 2) in object pixels, metres of pixel coordinate 0, and why no more of a growing scan are usable.

    An object in the file says where it lies; else the first patch touches the corner of the image.
    """
    found = _first(file, *TRANSLATIONS)
    if found is None:
        return None, None, None
    translation = hdf5.reals(found) * hdf5.unit_of(found, "m", "length")
    if translation.ndim != 2 or translation.shape[1] not in (2, 3) or not len(translation):
        raise PtychoError(f"{found.name}: shape {translation.shape}; one (x, y, z) per frame is needed.")
    if not growing and not np.isfinite(translation).all():
        raise PtychoError(f"{found.name}: holds NaN or infinity.")
    if pixel is None:
        raise PtychoError(
            f"{DETECTOR}: distance, energy or pixel size is not there; the size of an object pixel is needed: "
            "give --set pixel_size=METRES."
        )
    places, refused = -translation @ axes[:, : translation.shape[1]].T, None
    if growing:
        places, refused = as_far_as_usable(places, pixel)
    center = [_value(file, f"{PTYCHODUS}/object_center_{axis}_m") for axis in "yx"]
    stored = [_value(file, f"{OWN}/origin_{axis}_m") for axis in "yx"]
    if stored[0] is not None and stored[1] is not None:
        origin = stored[0], stored[1]
    elif center[0] is not None and center[1] is not None and shape is not None:
        origin = center[0] - pixel[0] * shape[0] / 2, center[1] - pixel[1] * shape[1] / 2
    else:
        half = 0 if frames is None else frames.shape[-1] / 2
        low = places.min(axis=0)
        origin = float(low[0] - pixel[0] * half), float(low[1] - pixel[1] * half)
    return (places - origin) / pixel, origin, refused


def _value(file: h5py.File, name: str) -> float | None:
    return None if file.get(name) is None else hdf5.number(hdf5.find(file, name), name)


def _probe(found: h5py.Dataset | None) -> tuple[Array | None, dict[str, Any]]:
    """(m, N, N) of the first coherent mode, and the others."""
    if found is None:
        return None, {}
    probes = as_complex(hdf5.array(found), str(found.name))
    if probes.ndim == 4 and len(probes) > 1:
        return probes[0], {"opr_modes": probes[1:]}
    return as_modes(probes), {}


def _mask(mask: Array) -> NDArray[np.bool_]:
    mask = cxi_corrections.without_signal_bit(mask)
    return as_good(mask[0] if mask.ndim == 3 and len(mask) == 1 else mask, f"{DETECTOR}/mask")


def _extra(file: h5py.File) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for name in KEPT:
        if (item := file.get(f"{PTYCHODUS}/{name}")) is not None:
            extra[name] = hdf5.array(item)
    for name in NUMBERS:
        if (value := _value(file, f"{PTYCHODUS}/{name}")) is not None:
            extra[name] = value
    if (item := file.get(f"{PTYCHODUS}/probe_position_indexes")) is not None:
        extra["probe_position_indexes"] = hdf5.array(item)
    texts = {"name": f"{ENTRY}/title", "comments": f"{ENTRY}/experiment_description"}
    return extra | {key: text for key, name in texts.items() if (text := _text(file, name)) is not None}


def write_cxi(path: Path, record: Record) -> None:
    """Write all that is known, in the layout of CXI 1.6 with the extension of ptychodus, frame by frame.

    Args:
        path: CXI file, written whole or not at all.
        record: with counts and positions, or with an object; pixel size, energy and distance.
    """
    if record.counts is None and record.object is None:
        raise record.missing("counts", "a CXI file needs them, or an object; they are")
    if record.counts is not None and record.positions is None:
        raise record.missing("positions", "a CXI file needs them; they are")
    with writing(path) as temporary, h5py.File(temporary, "w") as file:
        file["cxi_version"], file["number_of_entries"] = 160, 1
        _write_detector(file, record)
        _write_sample(file, record)
        _write_images(file, record)


def _write_detector(file: h5py.File, record: Record) -> None:
    assert record.energy_eV is not None
    detector = file.create_group(DETECTOR)
    if record.counts is not None:
        hdf5.write_frames(detector, "data", record.counts, signed=True)
        file[f"{ENTRY}/data_1/data"] = h5py.SoftLink(f"/{DETECTOR}/data")
    _put(file, f"{SOURCE}/energy", record.energy_eV * JOULE_PER_EV, "J")
    _put(file, f"{SOURCE}/wavelength", HC_EV_M / record.energy_eV, "m")
    _put(file, f"{DETECTOR}/distance", record.distance_m, "m")
    if record.detector_pixel_m is not None:
        height, width = record.detector_pixel_m
        _put(file, f"{DETECTOR}/y_pixel_size", height, "m")
        _put(file, f"{DETECTOR}/x_pixel_size", width, "m")
        _put(file, f"{DETECTOR}/basis_vectors", (np.array(USUAL_AXES) * [[height], [width]]).T, "m")
    if record.good_pixels is not None:
        detector["mask"] = (~record.good_pixels).astype(np.uint32)


def _put(file: h5py.File, name: str, value: Any, units: str) -> None:
    file[name] = value
    file[name].attrs["units"] = units


def _write_sample(file: h5py.File, record: Record) -> None:
    assert record.pixel_m is not None
    shape = np.zeros(2) if record.object is None else np.array(record.object.shape)
    origin = np.array(record.origin_m or -np.array(record.pixel_m) * shape / 2)
    if record.positions is not None:
        places = origin + np.array(record.pixel_m) * record.positions
        translation = np.stack([places[:, 1], places[:, 0], np.zeros(len(places))], axis=-1)
        _put(file, TRANSLATIONS[0], translation, "m")
        for name in (*TRANSLATIONS[1:], f"{DETECTOR}/geometry_1/translation"):
            file[name] = h5py.SoftLink(f"/{TRANSLATIONS[0]}")
    for axis, name in enumerate("yx"):
        _put(file, f"{OWN}/origin_{name}_m", origin[axis], "m")
        file[f"{PTYCHODUS}/object_center_{name}_m"] = origin[axis] + record.pixel_m[axis] * shape[axis] / 2
    for axis, name in enumerate(("height", "width")):
        file[f"{PTYCHODUS}/object_pixel_{name}_m"] = record.pixel_m[axis]
        file[f"{PTYCHODUS}/probe_pixel_{name}_m"] = record.pixel_m[axis]
    if "made_up_geometry" in record.extra:
        file[f"{OWN}/made_up_geometry"] = str(record.extra["made_up_geometry"])
    if record.near_field is not None:
        file[f"{OWN}/near_field"] = record.near_field


def _write_images(file: h5py.File, record: Record) -> None:
    """Probe and object as images 1 and 2, as ptychodus has them; of a file without frames the object is image 1."""
    extra = record.extra
    assert record.pixel_m is not None
    size = np.array([record.pixel_m[1], record.pixel_m[0]])
    first, second = ("image_1", "image_2") if record.counts is not None else ("image_2", "image_1")
    if record.probe is not None:
        modes = [record.probe[None]] + ([np.asarray(extra["opr_modes"])] if "opr_modes" in extra else [])
        _write_image(file, first, np.concatenate(modes), "coherent:incoherent:y:x", size)
        file[f"{SOURCE}/illumination"] = h5py.SoftLink(f"/{ENTRY}/{first}/data")
    if record.object is not None and record.counts is None and "object_layers" not in extra:
        _write_image(file, second, record.object, "y:x", size)
    elif record.object is not None:
        _write_image(file, second, np.asarray(extra.get("object_layers", record.object[None])), "layer:y:x", size)
    if record.object is not None and record.counts is None:
        file[f"{OWN}/object"] = h5py.SoftLink(f"/{ENTRY}/{second}/data")
    for name in (*KEPT, *NUMBERS, "probe_position_indexes"):
        if name in extra and name not in ("opr_modes", "object_layers"):
            file[f"{PTYCHODUS}/{name}"] = extra[name]
    if "probe_position_indexes" not in extra and record.positions is not None:
        file[f"{PTYCHODUS}/probe_position_indexes"] = np.arange(len(record.positions))
    for key, name in (("name", "title"), ("comments", "experiment_description")):
        if key in extra:
            file[f"{ENTRY}/{name}"] = str(extra[key])


def _write_image(file: h5py.File, name: str, values: Array, axes: str, pixel: NDArray[np.float64]) -> None:
    group = file.create_group(f"{ENTRY}/{name}")
    group["data"] = values
    group["data"].attrs["axes"] = axes
    group["data_space"] = "real"
    group["image_size"] = np.array([*(pixel * values.shape[:-3:-1]), 0.0])

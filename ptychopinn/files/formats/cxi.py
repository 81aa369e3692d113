"""CXI 1.6, also the flavour of ptychodus with probe, object and losses in the same file.

A translation is that of the sample in the laboratory, so the beam is on the sample at minus it; its component along a
detector axis ``e`` (column of ``basis_vectors``, the first for rows) is ``-translation . e``. Without basis vectors the
axes are those of the standard's usual detector, rows along -y and columns along -x: the position is then plus the
translation, as ptychodus takes it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5, nexus
from ptychopinn.files.conventions.units import photon_energy
from ptychopinn.files.formats import cxi_corrections
from ptychopinn.files.geometry.pixels import in_pixels, without_placeholders
from ptychopinn.files.record import ELECTRON_ENERGY, NO_PROBE, Reading, Record, with_gaps
from ptychopinn.files.values import (
    HC_EV_M,
    JOULE_PER_EV,
    LARGEST_DETECTOR_PIXEL_M,
    LARGEST_PIXEL,
    LONGEST_DISTANCE_M,
    Array,
    as_complex,
    as_coordinates,
    as_good,
    as_modes,
    as_product,
    both,
    check_finite,
    likely_length,
)
from ptychopinn.files.written_hdf5 import WrittenFile, writing_hdf5

ENTRY = "entry_1"
DETECTOR = f"{ENTRY}/instrument_1/detector_1"
SOURCE = f"{ENTRY}/instrument_1/source_1"
BEAM = f"{ENTRY}/instrument_1/beam_1"
TRANSLATIONS = (
    f"{ENTRY}/sample_1/geometry_1/translation",
    f"{ENTRY}/data_1/translation",
    f"{DETECTOR}/translation",
)
COORDINATES = tuple(
    (f"{group}/{before}x{after}", f"{group}/{before}y{after}")
    for group in (f"{ENTRY}/data_1", f"{ENTRY}/sample_1/geometry_1", f"{ENTRY}/sample_1/transformations")
    for before, after in (("", ""), ("", "_translation"), ("translation_", ""))
)
"""x and y of the translation, where they are apart, as NXptycho has them."""
ENERGIES = (f"{BEAM}/incident_beam_energy", f"{BEAM}/incident_energy", f"{BEAM}/energy", f"{SOURCE}/energy")
WAVELENGTHS = (f"{SOURCE}/wavelength", f"{BEAM}/incident_wavelength", f"{BEAM}/wavelength")
PROBES = (f"{ENTRY}/image_1/data", f"{SOURCE}/illumination", f"{SOURCE}/probe", f"{DETECTOR}/probe")
OBJECT = f"{ENTRY}/image_2/data"
PTYCHODUS = f"{ENTRY}/ptychodus"
OWN = f"{ENTRY}/ptychopinn"
CLASSES: Final = {
    ENTRY: "NXentry",
    f"{ENTRY}/data_1": "NXdata",
    f"{ENTRY}/image_1": "NXdata",
    f"{ENTRY}/image_2": "NXdata",
    f"{ENTRY}/sample_1": "NXsample",
    f"{ENTRY}/instrument_1": "NXinstrument",
    DETECTOR: "NXdetector",
    SOURCE: "NXsource",
}
"""NeXus classes of what :func:`write` writes; the frames are shown first, of a file without them the image."""
KEPT = ("loss_epochs", "loss_values", "opr_weights", "opr_modes", "object_layers", "object_layer_spacing_m")
NUMBERS = (
    "probe_photon_count",
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "tomography_angle_deg",
    ELECTRON_ENERGY,
)
USUAL_AXES = ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))

DISAGREE = 0.01
"""Largest relative difference of energy and wavelength; beyond it one of them is wrong."""


def read(file: h5py.File, how: Reading) -> Record:
    """Frames, translations, mask and geometry; probe, object and losses where they exist.

    Raises:
        PtychoError: naming the dataset.
    """
    data = hdf5.first(file, f"{ENTRY}/data_1/data", f"{DETECTOR}/data", need="frames are needed")
    frames = None if data is None else hdf5.stack(data)
    detector_pixel, axes, note = _axes(file)
    probes, image = _images(file, frames)
    layers = _layers(image)
    probe, others = _probe(probes)
    good, masked = _good_pixels(file, frames)
    energy, assumed = _energy(file)
    stacked = {"object_layers": layers} if layers is not None and layers.ndim == 3 and len(layers) > 1 else {}
    record = Record(
        "cxi",
        counts=None if frames is None else hdf5.frames_of(frames, how.in_memory),
        probe=probe,
        object=None if layers is None else as_product(layers),
        good_pixels=good,
        energy_eV=energy,
        distance_m=_length(file, f"{DETECTOR}/distance", LONGEST_DISTANCE_M),
        detector_pixel_m=detector_pixel,
        near_field=_text(file, f"{OWN}/near_field"),
        extra=_extra(file) | others | stacked,
        notes=(note, *assumed, *masked, *cxi_corrections.not_modelled(file)),
        doubted=("the energy has no unit",) if assumed else (),
        absent={
            "counts": f"{ENTRY}/data_1/data: not there; frames are needed.",
            "probe": NO_PROBE,
            "positions": f"{TRANSLATIONS[0]}: not there; positions are needed.",
        },
        frames_key=f"{ENTRY}/data_1/data",
    )
    stored = both(*(_length(file, f"{PTYCHODUS}/object_pixel_{edge}_m", LARGEST_PIXEL) for edge in ("height", "width")))
    pixel = stored or record.far_field_pixel or both(how.pixel_size, how.pixel_size)
    record = _with_positions(file, replace(record, pixel_m=pixel), axes, how.growing)
    return without_placeholders(record, _text(file, f"{OWN}/made_up_geometry") or "")


def _images(file: h5py.File, frames: hdf5.Stack | None) -> tuple[h5py.Dataset | None, h5py.Dataset | None]:
    """Probe and object.

    ptychodus has them as images 1 and 2. An image alone, of another size than a frame or beside the illumination of
    the source, is the object.
    """
    image, lone = hdf5.first(file, f"{OWN}/object", OBJECT), hdf5.first(file, PROBES[0])
    if f"{OWN}/object" in file:
        return hdf5.first(file, *PROBES[1:]), image
    if image is None and lone is not None:
        others = hdf5.first(file, *PROBES[1:])
        if (others is not None and others != lone) or (frames is not None and lone.shape[-2:] != frames.shape[-2:]):
            return others, lone
    return hdf5.first(file, *PROBES), image


def _good_pixels(file: h5py.File, frames: hdf5.Stack | None) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Pixels that the mask allows and that have a sensitivity, and a line where some have none."""
    mask, name = hdf5.first(file, f"{DETECTOR}/mask"), f"{DETECTOR}/mask"
    good = None
    if mask is not None:
        good = as_good(cxi_corrections.without_signal_bit(np.squeeze(hdf5.array(mask))), name)
    lit = None if frames is None else cxi_corrections.sensitive(file, tuple(frames.shape[-2:]))
    if lit is None or (good is not None and good.shape != lit.shape):
        return good, []
    line = f"qe_mask: {int((~lit).sum())} pixels without sensitivity are bad."
    return lit if good is None else good & lit, [line]


def _layers(image: h5py.Dataset | None) -> NDArray[np.complexfloating[Any]] | None:
    """The object, (H, W) or (L, H, W), where there is one."""
    if image is None:
        return None
    name = str(image.name).strip("/")
    layers = as_complex(hdf5.array(image), name)
    if layers.ndim not in (2, 3) or not layers.size:
        raise PtychoError(f"{name}: shape {layers.shape}; (H, W) or (layers, H, W) is needed.")
    return layers


def _length(file: h5py.File, name: str, longest: float) -> float | None:
    found = hdf5.first(file, name)
    return None if found is None else likely_length(hdf5.positive(found, "m", "length"), name, longest)


def _value(file: h5py.File, name: str) -> float | None:
    found = hdf5.first(file, name)
    return None if found is None else hdf5.number(found, name)


def _text(file: h5py.File, name: str) -> str | None:
    found = hdf5.first(file, name)
    return None if found is None else hdf5.text(found)


def _energy(file: h5py.File) -> tuple[float | None, list[str]]:
    """Photon energy in electronvolts, from the energy (in J unless it says otherwise) or the wavelength; and a note."""
    found, waves = hdf5.first(file, *ENERGIES), hdf5.first(file, *WAVELENGTHS)
    wavelength = None if waves is None else hdf5.positive(waves, "m", "length")
    if found is None:
        return (None, []) if wavelength is None else (HC_EV_M / wavelength, [])
    name, told = str(found.name).strip("/"), hdf5.told_unit_of(found)
    energy, notes = photon_energy(hdf5.one_number(found), told, "J", name)
    if wavelength is not None and abs(energy * wavelength / HC_EV_M - 1) > DISAGREE:
        raise PtychoError(
            f"{SOURCE}: energy {energy:.4g} eV and wavelength {wavelength:.4g} m do not belong together; "
            "check their units (J and m)."
        )
    return energy, notes


def _axes(file: h5py.File) -> tuple[tuple[float, float] | None, NDArray[np.float64], str]:
    """Detector pixel (height, width), unit vectors (x, y, z) along rows and columns, and what was assumed."""
    name = f"{DETECTOR}/basis_vectors"
    pixel = both(*(_length(file, f"{DETECTOR}/{axis}_pixel_size", LARGEST_DETECTOR_PIXEL_M) for axis in "yx"))
    if file.get(name) is None:
        note = "No basis_vectors: rows along -y, columns along -x; position = translation."
        return pixel, np.array(USUAL_AXES), note
    values = hdf5.reals(hdf5.find(file, name))
    if values.shape != (3, 2) or not np.isfinite(values).all() or not (np.linalg.norm(values, axis=0) > 0).all():
        raise PtychoError(f"{name}: shape {values.shape}; two vectors (x, y, z) as columns are needed.")
    lengths = np.linalg.norm(values, axis=0)
    units = (values / lengths).T
    named = ", ".join(f"{name} along {_direction(axis)}" for name, axis in zip(("rows", "columns"), units, strict=True))
    note = f"basis_vectors: {named}; position = -translation along them."
    return pixel or (float(lengths[0]), float(lengths[1])), units, note


def _direction(axis: NDArray[np.float64]) -> str:
    largest = int(np.abs(axis).argmax())
    return ("-" if axis[largest] < 0 else "+") + "xyz"[largest]


def _with_positions(file: h5py.File, record: Record, axes: NDArray[np.float64], growing: bool) -> Record:
    """A record with positions; those of a growing scan are NaN where they cannot be used.

    The origin is that of the object in the file; without one the first patch touches the corner of the image.
    """
    translation = _translation(file, growing)
    if translation is None:
        return record
    pixel, shape = record.pixel_m, None if record.object is None else record.object.shape
    if pixel is None:
        raise PtychoError(
            f"{DETECTOR}: distance, energy or pixel size is not there; the size of an object pixel is needed: "
            "give --set pixel_size=METRES."
        )
    places = -translation @ axes[:, : translation.shape[1]].T
    if growing:
        places = with_gaps(places, pixel)
    center = both(*(_value(file, f"{PTYCHODUS}/object_center_{axis}_m") for axis in "yx"))
    origin = both(*(_value(file, f"{OWN}/origin_{axis}_m") for axis in "yx"))
    if origin is None and center is not None and shape is not None:
        origin = center[0] - pixel[0] * shape[0] / 2, center[1] - pixel[1] * shape[1] / 2
    record = replace(in_pixels(record, places, pixel, origin, growing), metric=True)
    if not growing and record.counts is not None and len(places) != len(record.counts):
        raise PtychoError(f"translation: {len(places)} entries for {len(record.counts)} frames; as many are needed.")
    return record


def _translation(file: h5py.File, growing: bool) -> NDArray[np.float64] | None:
    """(n, 2) or (n, 3), (x, y, z) in metres; frames on a grid are counted row by row."""
    found = hdf5.first(file, *TRANSLATIONS)
    if found is None:
        return _apart(file, growing)
    translation = hdf5.reals(found) * hdf5.unit_of(found, "m", "length")
    if translation.ndim < 2 or translation.shape[-1] not in (2, 3) or not translation.size:
        raise PtychoError(f"{found.name}: shape {translation.shape}; one (x, y, z) per frame is needed.")
    translation = translation.reshape(-1, translation.shape[-1])
    if not growing:
        check_finite(translation, str(found.name))
    return translation


def _apart(file: h5py.File, growing: bool) -> NDArray[np.float64] | None:
    """The translation (n, 2) from two datasets, x and y."""
    for names in COORDINATES:
        items = [hdf5.first(file, name) for name in names]
        if (pair := both(*items)) is None:
            continue
        x, y = (np.ravel(hdf5.reals(item)) * hdf5.unit_of(item, "m", "length") for item in pair)
        count = min(len(x), len(y)) if growing else None
        translation = as_coordinates(x[:count], y[:count], f"{names[0]}, {names[1].rsplit('/', 1)[-1]}")
        if not growing:
            check_finite(translation, names[0])
        return translation
    return None


def _probe(found: h5py.Dataset | None) -> tuple[Array | None, dict[str, Any]]:
    """(m, N, N) of the first coherent mode, and the others."""
    if found is None:
        return None, {}
    probes = as_complex(hdf5.array(found), str(found.name))
    if probes.ndim == 4 and len(probes) > 1:
        return probes[0], {"opr_modes": probes[1:]}
    return as_modes(probes), {}


def _extra(file: h5py.File) -> dict[str, Any]:
    items = {name: file.get(f"{PTYCHODUS}/{name}") for name in (*KEPT, "probe_position_indexes")}
    extra: dict[str, Any] = {name: hdf5.array(item) for name, item in items.items() if item is not None}
    values = {name: _value(file, f"{PTYCHODUS}/{name}") for name in NUMBERS}
    extra |= {name: value for name, value in values.items() if value is not None}
    texts = {"name": f"{ENTRY}/title", "comments": f"{ENTRY}/experiment_description"}
    return extra | {key: text for key, name in texts.items() if (text := _text(file, name)) is not None}


def write(path: Path, record: Record) -> None:
    """Write a record in the layout of CXI 1.6 with the extension of ptychodus, frame by frame.

    Args:
        path: CXI file, written whole or not at all.
        record: with counts and positions, or with an object; pixel size, energy and distance.
    """
    if record.counts is None and record.object is None:
        record.check_parts("a CXI file needs them, or an object; they are", "counts")
    if record.counts is not None:
        record.check_parts("a CXI file needs them; they are", "positions")
    with writing_hdf5(path) as file:
        file["cxi_version"], file["number_of_entries"] = 160, 1
        _write_detector(file, record)
        _write_sample(file, record)
        _write_images(file, record)
        nexus.mark(file, CLASSES)


def _write_detector(file: WrittenFile, record: Record) -> None:
    assert record.energy_eV is not None
    file.create_group(DETECTOR)
    if record.counts is not None:
        hdf5.write_frames(file, f"{DETECTOR}/data", record.counts, signed=True)
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
        file[f"{DETECTOR}/mask"] = (~record.good_pixels).astype(np.uint32)


def _put(file: h5py.File, name: str, value: Any, units: str) -> None:
    file[name] = value
    file[name].attrs["units"] = units


def _write_sample(file: h5py.File, record: Record) -> None:
    assert record.pixel_m is not None
    shape = (0, 0) if record.object is None else record.object.shape
    known = record if record.positions is not None else replace(record, positions=np.empty((0, 2)))
    places, origin = known.in_metres(shape)
    if record.positions is not None:
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
        _write_image(file, first, record.all_modes(), "coherent:incoherent:y:x", size)
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

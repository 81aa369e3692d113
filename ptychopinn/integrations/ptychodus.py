"""What ptychodus 1.7 calls: reconstruct on its grid, train with losses and progress, export, load, save.

``ptychodus.model.processing.subprocess_reconstructor.SubprocessReconstructor`` starts :func:`run_reconstruct` and
:func:`run_train` in a child process; :func:`reconstructor` builds it. Payloads are plain dictionaries::

    {"input": ReconstructInput, "model": path or None, "options": {"refine": True, "accelerator": "cpu"}}
    {"input_path": folder or file, "output_path": folder, "options": {"nepochs": 20}}

Options have the names of :mod:`ptychopinn.config`. Only names that ``ptychodus.api`` publishes are used.
"""

import csv
import logging
import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.train import fill_run, open_validation
from ptychopinn.config import ProbeScale, Settings
from ptychopinn.engines import native
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.reading import open_scan
from ptychopinn.files.replacing import holding
from ptychopinn.inference.infer import infer
from ptychopinn.model import bundle
from ptychopinn.model.bundle import Run, reading_of, with_trained_probe
from ptychopinn.model.execution import device_of
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.probe_scale import with_probe_scale
from ptychopinn.scan.scan import Scan
from ptychopinn.training.plan import check_training

logger = logging.getLogger(__name__)

GOAL: Final = 100
"""Progress at the end."""

FOLDER = "ptychopinn"
"""Folder of a training inside the output folder."""

STANDARD: Final = ("product.h5", "diffraction.h5", "fluorescence.h5")
"""Of the folder that ``ptychodus --batch train`` hands over: positions and probe, frames, and what is not used."""

TRAINING_FILES = ("train_data.npz", "train_data.h5", "*.npz", "*.h5", "*.hdf5", "*.cxi")


def scan_from(parameters: Any, probe_scale: ProbeScale = "auto") -> Scan:
    """The scan in a ``ReconstructInput``, its half-pixel convention converted.

    Args:
        parameters: of ptychodus.
        probe_scale: setting; some engines keep the probe in other units than sqrt(photons).

    Raises:
        PtychoError: when its parts do not form a scan.
    """
    product = parameters.product
    geometry, places = product.object_.get_geometry(), product.probe_positions
    y = geometry.map_probe_positions_to_object_y_px(places)
    x = geometry.map_probe_positions_to_object_x_px(places)
    bad = np.asarray(parameters.bad_pixels, dtype=bool)
    counts = np.where(bad, 0, parameters.diffraction_patterns)
    probe = np.asarray(product.probes.get_probe_no_opr().get_array(), dtype=np.complex64)
    pixel = geometry.pixel_width_m
    scan = Scan(
        counts=counts,
        positions=np.stack([y, x], axis=-1) + 0.5,
        probe=probe,
        object=product.object_.get_layers_flattened().astype(np.complex64),
        good_pixels=~bad,
        pixel_size_m=float(pixel) if np.isclose(pixel, geometry.pixel_height_m, rtol=1e-6) else None,
        frame_numbers=np.asarray(places.get_indexes(), dtype=np.int64),
    )
    scan = with_probe_scale(scan, probe_scale)
    for note in scan.notes:
        logger.info(note)
    return scan


def run_reconstruct(payload: Mapping[str, Any], queue: Any) -> None:
    """Child process: an image with a trained network, or without a model by the native iterative engine."""
    parameters, given, model = payload["input"], dict(payload.get("options") or {}), payload.get("model")
    settings, run = Settings.of(given, "options"), None
    if model is not None:
        run = bundle.load_run(Path(model))
        settings = Settings.of(reading_of(run) | given, "options")
    scan = scan_from(parameters, settings.data.probe_scale)
    _put_output(queue, parameters.product, 1)
    result = _image(scan, run, settings)
    _put_output(queue, _product(parameters.product, scan, result), GOAL)


def _image(scan: Scan, run: Run | None, settings: Settings) -> Reconstruction:
    device, start = device_of(settings), None
    if run is not None:
        start = infer(run, scan, settings.inference, device)
        if not settings.inference.refine:
            return start
        scan = with_trained_probe(run, scan)
    seed = settings.training.seed
    return native.reconstruct(scan, settings.baseline, settings.refinement, seed, device, start, logger.info)


def _product(before: Any, scan: Scan, result: Reconstruction) -> Any:
    """The caller's product with our image on its grid, and the positions and the probe that belong to this image.

    Pixels that no frame covers keep their old values.
    """
    from ptychodus.api.object import Object
    from ptychodus.api.product import LossValue, Product

    old = before.object_
    size = old.get_array().shape[-2:]
    covered = replace(result, object=(result.coverage > 0).astype(np.complex64)).window(size).real > 0
    layers = old.get_array().copy()
    layers[0] = np.where(covered, result.window(size), layers[0])
    layers[1:] = np.where(covered, 1, layers[1:])
    losses = result.loss or (result.deviance,)
    return Product(
        metadata=before.metadata,
        probe_positions=_positions(before, result.positions - scan.positions),
        probes=_probes(before, scan, result),
        object_=Object(layers, old.get_pixel_geometry(), old.get_center(), old.layer_spacing_m),
        losses=[LossValue(epoch, float(loss)) for epoch, loss in enumerate(losses)],
    )


def _positions(before: Any, moves: NDArray[np.float64]) -> Any:
    """The caller's positions, moved by (n, 2) pixels (y, x); themselves where nothing moved."""
    from ptychodus.api.probe_positions import ProbePositionSequence

    if not moves.any():
        return before.probe_positions
    pixel = before.object_.get_pixel_geometry()
    return ProbePositionSequence(
        [
            replace(place, x_m=place.x_m + x * pixel.width_m, y_m=place.y_m + y * pixel.height_m)
            for place, (y, x) in zip(before.probe_positions, moves.tolist(), strict=True)
        ]
    )


def _probes(before: Any, scan: Scan, result: Reconstruction) -> Any:
    """The probe of the image where it was refined or scaled; otherwise the caller's."""
    from ptychodus.api.probe import ProbeSequence

    if result.probe is None and scan.probe_factor == 1:
        return before.probes
    probe = scan.probe if result.probe is None else result.probe
    return ProbeSequence(probe[None], None, before.probes.get_pixel_geometry())


def _put_output(queue: Any, product: Any, progress: int) -> None:
    from ptychodus.api.reconstruct import ReconstructOutput

    queue.put(("output", pickle.dumps(ReconstructOutput(product, progress))))


def run_train(payload: Mapping[str, Any], queue: Any) -> None:
    """Child process: train on an exported file; losses and progress after every epoch, then where the model is."""
    source, frames = training_source(Path(payload["input_path"]))
    settings = Settings.of(payload.get("options") or {}, "options")
    folder = Path(payload["output_path"]) / FOLDER
    scan = open_scan(source, settings.data.model_copy(update={"frames": frames} if frames else {}))
    plan = check_training(scan, settings, open_validation(settings))

    with holding(folder, "train", overwrite=True) as place:

        def report(line: str) -> None:
            logger.info(line)
            if re.match(r"epoch \d+/", line) and not place.waits:
                _put_losses(queue, folder / "metrics.csv", plan.settings.training.nepochs)

        used = {"scan": str(source)} | ({"frames": frames} if frames else {})
        fill_run(scan, plan, Request(settings, out=folder, report=report), place, used)
    _put_losses(queue, folder / "metrics.csv", None)
    queue.put(("model_saved", str(folder / "wts.h5.zip")))


def _put_losses(queue: Any, table: Path, epochs: int | None) -> None:
    """Send the losses so far; ``epochs`` None means the training has ended."""
    from ptychodus.api.product import LossValue
    from ptychodus.api.reconstruct import TrainOutput

    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    curves = [
        [LossValue(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
        for name in ("train_loss", "val_loss")
    ]
    done = max(map(len, curves))
    progress = GOAL if epochs is None else min(GOAL - 1, GOAL * done // epochs)
    queue.put(("train_output", pickle.dumps(TrainOutput(*curves, progress=progress))))


def training_source(path: Path) -> tuple[Path, str | None]:
    """The file to train on, and the one with its frames where they lie in another.

    An export (``train_data.npz``) goes before the product and the frames of ptychodus's standard folder.

    Raises:
        PtychoError: see :func:`training_file`.
    """
    product, frames = path / STANDARD[0], path / STANDARD[1]
    if not path.is_dir() or not product.is_file() or any((path / name).is_file() for name in TRAINING_FILES[:2]):
        return training_file(path), None
    return product, str(frames) if frames.is_file() else None


def training_file(path: Path) -> Path:
    """The file to train on: itself, or the one in a folder.

    Raises:
        PtychoError: when there is none, or more than one that could be it.
    """
    if not path.is_dir():
        return path
    for pattern in TRAINING_FILES:
        found = sorted(file for file in path.glob(pattern) if file.name not in STANDARD)
        if len(found) > 1:
            raise PtychoError(f"{path}: holds {len(found)} files {pattern}; name one train_data{found[0].suffix}.")
        if found:
            return found[0]
    raise PtychoError(f"{path}: holds no training data; export them first.")


def export_training_data(path: Path, parameters: Any) -> None:
    """Write a ``ReconstructInput`` as NPZ, whose positions have our centre."""
    write_npz(path.with_suffix(".npz"), scan_from(parameters))


def save_model(source: Path, destination: Path) -> None:
    """Copy a model; it is one file that loads by itself.

    Raises:
        PtychoError: when ``source`` is no model of ours.
    """
    bundle.load_run(source)
    shutil.copyfile(source, destination)


def reconstructor(options: Mapping[str, Any] | None = None, name: str = "ptychopinn") -> Any:
    """A ``SubprocessReconstructor`` of ptychodus for its list of algorithms.

    Args:
        options: settings by name, for reconstruction and training.
        name: shown to the user.

    Raises:
        PtychoError: for an option that is no setting.
    """
    from ptychodus.model.processing.subprocess_reconstructor import SubprocessReconstructor

    chosen = dict(options or {})
    Settings.of(chosen, "options")
    return SubprocessReconstructor(
        name=name,
        reconstruct_entry_point=f"{__name__}:run_reconstruct",
        progress_goal_fn=lambda: GOAL,
        build_reconstruct_payload=lambda parameters, model: {
            "input": parameters,
            "model": None if model is None else str(model),
            "options": chosen,
        },
        is_trainable=True,
        train_entry_point=f"{__name__}:run_train",
        build_train_payload=lambda source, out: {"input_path": str(source), "output_path": str(out), "options": chosen},
        model_file_filter="ptychopinn models (*.zip)",
        model_file_extension=".zip",
        training_data_file_filter="Scans (*.npz)",
        export_training_data=export_training_data,
        save_model=save_model,
    )

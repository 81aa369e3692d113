"""Functions from a scan file to an image; keyword arguments are settings of :mod:`ptychopinn.config`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.simulate import make_scan
from ptychopinn.commands.train import fill_run
from ptychopinn.config import DataConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.figures import notebook
from ptychopinn.files import reconstruction as images
from ptychopinn.files.reading import open_scan
from ptychopinn.files.replacing import holding
from ptychopinn.inference import infer as inference
from ptychopinn.model import bundle
from ptychopinn.model import pretrained as shipped
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import device_of
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.training.plan import check_training

Drawn = notebook.Drawn
"""What ``plot()`` of a scan, a run and an image returns; its import also lets them show themselves in notebooks."""

READING = frozenset(DataConfig.model_fields) - {"n_groups", "neighbor_count", "sequential_sampling"}
"""Settings of ``DataConfig`` that have no effect once a scan is read."""


def read_scan(path: Path | str, **settings: Any) -> Scan:
    """Read a scan file and prepare it.

    Args:
        path: file of any format of docs/formats.md.
        **settings: of ``DataConfig``: crop, flips, every k-th frame, measurement, nphotons, format.

    Raises:
        PtychoError: naming file and key, what is there and what is needed.
    """
    return open_scan(Path(path), _chosen(settings, "data").data)


def simulate(source: Path | str | None = None, **settings: Any) -> Scan:
    """Simulate a scan of an embedded object, or of what a file holds.

    Args:
        source: file with any of object, probe and positions to use instead.
        **settings: of ``SimulationConfig`` and ``BeamlineConfig``, ``nphotons`` and ``seed``.

    Raises:
        PtychoError: when object, probe and positions do not fit together, or a setting of what the file holds is given.
    """
    chosen = _chosen(settings, "simulation", "beamline", also=("nphotons", "seed"))
    return make_scan(chosen, None if source is None else Path(source), {name: name for name in settings})


def train(
    scan: Scan | Sequence[Scan], out: Path | str | None = None, *, validate_on: Scan | None = None, **settings: Any
) -> Run:
    """Train a network on a scan, or on several together, each with its own probe, N and dose.

    Args:
        scan: from :func:`read_scan` or :func:`simulate`; several as a list.
        out: new or empty folder for the bundle and checkpoints; nothing is written when None.
        validate_on: second scan, not trained on; frames of the first are held out when None.
        **settings: of ``ModelConfig``, ``TrainingConfig`` and the grouping part of ``DataConfig``.

    Raises:
        PtychoError: for a wrong setting, a scan too small to train on, or when ``out`` holds something already.
    """
    chosen = _chosen(settings, "model", "data", "training", "execution")
    for name in READING:
        if name in settings:
            raise PtychoError(f"settings: {name}: has no effect here; give it to read_scan.")
    scans = list(scan) if isinstance(scan, Sequence) and scan else [scan]
    for each in scans:
        _expect(each, Scan, "scan", "read_scan or simulate")
    if chosen.execution.devices > 1:
        raise PtychoError("devices: several train together from the command line: ptychopinn train --devices 2.")
    if validate_on is not None:
        _expect(validate_on, Scan, "validate_on", "read_scan or simulate")
        if "val_fraction" in settings:
            raise PtychoError("val_fraction: has no effect with validate_on; give one of them.")
    from ptychopinn.training.train import train

    first = cast(Scan, scans[0])
    others = {f"scan {number}": cast(Scan, other) for number, other in enumerate(scans[1:], 2)}
    plan = check_training(first, chosen, validate_on, others)
    if out is None:
        return train(first, chosen, plan=plan)
    with holding(Path(out), "train") as place:
        return fill_run(first, plan, Request(chosen, out=Path(out)), place)


def infer(run: Run, scan: Scan, **settings: Any) -> Reconstruction:
    """Reconstruct a scan with a trained run.

    Args:
        run: from :func:`train` or :func:`load_run`.
        scan: of any object.
        **settings: of ``InferenceConfig`` and ``accelerator``.

    Raises:
        PtychoError: for a wrong setting, or a scan that the run cannot take.
    """
    settings_of_all = _chosen(settings, "inference", "execution")
    _expect(run, Run, "run", "train or load_run")
    _expect(scan, Scan, "scan", "read_scan or simulate")
    chosen, device = settings_of_all.inference, device_of(settings_of_all)
    return inference.infer(run, scan, chosen, device)


def pretrained() -> Run:
    """The network that ships with the package: ``infer(pretrained(), scan)`` needs no training."""
    return shipped.pretrained()


def reconstruct(source: Path | str, **settings: Any) -> Reconstruction:
    """Reconstruct a raw scan file: mask, centre, probe, scale, start and terms of the model are found.

    Args:
        source: file of any format of docs/formats.md, with or without a probe.
        **settings: those of the command ``reconstruct``.

    Returns:
        Image, probe, positions, and what else was fitted (``fitted``), with error bars.

    Raises:
        PtychoError: for a wrong setting, or a scan that cannot be reconstructed.
    """
    from ptychopinn.commands.reconstruct import reconstruct_file

    sections = ("data", "probe", "start", "baseline", "refinement")
    chosen = _chosen(settings, *sections, also=("seed", "accelerator"))
    return reconstruct_file(Path(source), Request(chosen, sources=_sources(settings)))[1]


def make_probe(source: Path | str, **settings: Any) -> NDArray[np.complex64]:
    """Make the probe of a scan file: search it in the frames, or take it from optics or another file.

    Args:
        source: scan file; one with a probe gives it, unless ``probe_from`` says otherwise.
        **settings: those of the command ``probe make``.

    Returns:
        (m, N, N) incoherent modes, sqrt(photons), the strongest first.

    Raises:
        PtychoError: for optics that are not described, or a probe that does not fit.
    """
    from ptychopinn.commands.probe import probe_of

    chosen = _chosen(settings, "data", "probe", also=("subpixel", "seed", "accelerator"))
    return probe_of(Path(source), chosen).scan.probe


def load_run(path: Path | str) -> Run:
    """Load a run folder or its ``wts.h5.zip``; nothing in it is executed."""
    return bundle.load_run(path)


def read_reconstruction(path: Path | str) -> Reconstruction:
    """Read the image that a command wrote: ``reconstruction.h5`` or ``.npz``, or their folder.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    return images.read_reconstruction(Path(path))


def _sources(settings: Mapping[str, Any]) -> dict[str, str]:
    """Where each setting of a call came from."""
    return {name: "argument" if name in settings else "default" for name in Settings().flat()}


def _expect(value: Any, kind: type, name: str, makers: str) -> None:
    if not isinstance(value, kind):
        raise PtychoError(f"{name}: {type(value).__name__} given; a {kind.__name__} from {makers} is needed.")


def _chosen(settings: Mapping[str, Any], *sections: str, also: tuple[str, ...] = ()) -> Settings:
    """Settings of a function; refuses those outside the sections and names that it uses."""
    chosen = Settings.of(settings)
    used = {name for section in sections for name in type(getattr(chosen, section)).model_fields} | set(also)
    for name in settings:
        if name not in used:
            raise PtychoError(
                f"settings: {name}: has no effect here; settings of {', '.join((*sections, *also))} are taken."
            )
    return chosen

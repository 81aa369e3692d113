"""The main job as five functions; settings are keyword arguments with the names of :mod:`ptychopinn.config`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ptychopinn import bundle, inference, simulation
from ptychopinn.bundle import Run
from ptychopinn.config import DataConfig, Settings, SimulationConfig
from ptychopinn.errors import PtychoError
from ptychopinn.execution import Report, device_of
from ptychopinn.files import formats, npz
from ptychopinn.files.folder import filling, write_json, write_provenance
from ptychopinn.files.record import Record, scan_of, start_of
from ptychopinn.grouping import choose_frames
from ptychopinn.inference import Reconstruction
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan import Scan, leading_on_canvas
from ptychopinn.training_plan import check_training, derived

DEFAULT_PHOTONS = 1e6

READ_ONCE = 2**26
"""Bytes of HDF5 frames up to which they are read at once, where a second look at them is rare."""

FROM_FILE: Final = {
    "object": ("an object", ("object", "object_size")),
    "probe": ("a probe", ("N", "probe_radius", "probe_curvature")),
    "positions": ("positions", ("step", "jitter")),
}
"""What a simulation takes from a file, what to call it, and the settings that then have no effect."""

READING = frozenset(DataConfig.model_fields) - {"n_groups", "neighbor_count", "sequential_sampling"}
"""Settings of ``DataConfig`` that are over once a scan is read."""


def read_scan(path: Path | str, **settings: Any) -> Scan:
    """Read a scan file and prepare it.

    Args:
        path: file of any format of docs/formats.md.
        **settings: of ``DataConfig``: crop, flips, every k-th frame, measurement, nphotons, format.

    Raises:
        PtychoError: naming file and key, what is there and what is needed.
    """
    return open_scan(Path(path), _chosen(settings, "data").data)


def open_scan(path: Path, data: DataConfig, once: bool = False) -> Scan:
    """:func:`read_scan` with a settings object; ``once`` when frames are looked at once or twice only."""
    how = _reading(data)
    return scan_in(path, formats.read(path, how._replace(in_memory=READ_ONCE) if once else how), data)


def open_record(path: Path, data: DataConfig) -> Record:
    """All that a file of any format holds, see :mod:`ptychopinn.files.formats`."""
    return formats.read(path, _reading(data))


def check_growing(path: Path, data: DataConfig) -> None:
    """Refuse to follow a kind of file that does not grow, and settings that need all frames.

    Raises:
        PtychoError: naming the file or the setting.
    """
    for name in ("n_subsample", "nphotons", "frames"):
        if getattr(data, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise PtychoError(f"--follow: {flag} needs a scan that is complete; leave it away.")
    if data.drop_dark:
        raise PtychoError("--follow: drop_dark needs a scan that is complete; leave it away.")
    formats.check_growing(path, _reading(data))


def open_growing(path: Path, data: DataConfig) -> tuple[Scan, PtychoError | None]:
    """:func:`open_scan` for a file to which a detector still appends.

    Returns:
        The frames that have a position by now, as far as these can be used, and what is wrong with the next one.

    Raises:
        PtychoError: naming what is not there yet, or wrong with the first frame.
        IncurableError: for what no further frame can put right.
    """
    record = formats.read(path, _reading(data)._replace(in_memory=0, growing=True))
    scan, refused = scan_in(path, record, data), record.refused
    count, wide = leading_on_canvas(scan)
    refused = wide or refused
    return scan.subset(slice(0, count)), None if refused is None else refused.of(path)


def _reading(data: DataConfig) -> formats.Reading:
    mapping, frames, probe = (None if name is None else Path(name) for name in (data.map, data.frames, data.probe))
    return formats.Reading(data.format, mapping, frames, probe, data.pixel_size)


def scan_in(path: Path, record: Record, data: DataConfig) -> Scan:
    """The scan in what a file holds, prepared; the second half of :func:`open_scan`."""
    try:
        scan = scan_of(record, data.measurement, data.nphotons, data.scan_index)
    except PtychoError as error:
        raise error.of(path) from None
    if data.every > 1:
        scan = scan.subset(slice(None, None, data.every))
    if data.n_subsample is not None:
        scan = scan.subset(choose_frames(len(scan), data.n_subsample, data.subsample_seed, data.sequential_sampling))
    scan = scan.move(swap_xy=data.swap_xy, flip_x=data.flip_x, flip_y=data.flip_y)
    try:
        scan = scan if data.crop is None else scan.crop(data.crop)
        scan = scan.mask_probe(data.probe_mask_diameter) if data.probe_mask else scan
        return scan.without_dark() if data.drop_dark else scan
    except PtychoError as error:
        raise error.of(path) from None


def simulate(source: Path | str | None = None, **settings: Any) -> Scan:
    """Simulate a scan of an embedded object, or of what a file holds.

    Args:
        source: file with any of object, probe and positions to use instead.
        **settings: of ``SimulationConfig``, ``nphotons`` and ``seed``.

    Raises:
        PtychoError: when object, probe and positions do not fit together, or a setting of what the file holds is given.
    """
    chosen = _chosen(settings, "simulation", also=("nphotons", "seed"))
    return make_scan(chosen, None if source is None else Path(source), {name: name for name in settings})


def make_scan(settings: Settings, source: Path | None = None, given: Mapping[str, str] = MappingProxyType({})) -> Scan:
    """:func:`simulate` with a settings object; ``given`` says what the user calls the settings that were asked for."""
    what, seed = settings.simulation, settings.training.seed
    found = start_in(source) if source is not None else {}
    if source is not None and not found:
        raise PtychoError(f"{source}: holds none of objectGuess, probeGuess, xcoords and ycoords.")
    for part in found:
        holds, names = FROM_FILE[part]
        if name := next((name for name in names if name in given), None):
            raise PtychoError(f"{given[name]}: has no effect: {source} holds {holds} to use; leave it away.")
    image = found["object"] if "object" in found else _object(what, seed)
    probe = found["probe"] if "probe" in found else make_probe(what)
    positions = found.get("positions")
    if positions is None:
        positions = simulation.raster(image.shape, probe.shape[-1], what.step, what.jitter, seed)
    nphotons = settings.data.nphotons or DEFAULT_PHOTONS
    return simulation.simulate(image, probe, positions, nphotons, seed, what.interpolation)


def start_in(path: Path) -> dict[str, np.ndarray]:
    """Any of object, probe and positions that a file of any format holds."""
    if formats.recognise(path).name == "npz":
        return npz.read_object_and_probe(path)
    try:
        return start_of(formats.read(path))
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def train(scan: Scan, out: Path | str | None = None, **settings: Any) -> Run:
    """Train a network on a scan.

    Args:
        scan: from :func:`read_scan` or :func:`simulate`.
        out: new or empty folder for the bundle and checkpoints; nothing is written when None.
        **settings: of ``ModelConfig``, ``TrainingConfig`` and the grouping part of ``DataConfig``.

    Raises:
        PtychoError: for a wrong setting, a scan too small to train on, or when ``out`` holds something already.
    """
    chosen = _chosen(settings, "model", "data", "training", "execution")
    for name in READING:
        if name in settings:
            raise PtychoError(f"settings: {name}: has no effect here; give it to read_scan.")
    _expect(scan, Scan, "scan", "read_scan or simulate")
    if chosen.execution.devices > 1:
        raise PtychoError("devices: several train together from the command line: ptychopinn train --set devices=2.")
    from ptychopinn import training  # it takes seconds to import

    if out is None:
        return training.train(scan, chosen)
    check_training(scan, chosen)
    with filling(Path(out), "train"):
        return fill_run(Path(out), scan, chosen)


def fill_run(
    folder: Path,
    scan: Scan,
    settings: Settings,
    origin: Mapping[str, Any] = MappingProxyType({}),
    report: Report = lambda line: None,
    progress_bar: bool = False,
    resume: bool = False,
) -> Run:
    """Train into a folder that is held: settings, provenance, checkpoints and the bundle.

    Args:
        folder: to write to.
        scan: to train on.
        settings: as given; ``settings.json`` keeps them, the provenance has what the data made of them.
        origin: for the provenance: the scan file, and the ``sources`` of the settings.
        report: receives lines of progress.
        progress_bar: draw one.
        resume: go on from the last checkpoint.
    """
    from ptychopinn import training  # it takes seconds to import

    found = derived(scan, settings)
    sources = {**origin.get("sources", {}), **dict.fromkeys(found, "data")}
    values = {**origin, "sources": sources, "frames": len(scan), "settings": settings.flat() | found}
    provenance = write_provenance(folder, "train", values)
    write_json(folder / "settings.json", settings.flat())
    run = training.train(scan, settings, folder, report, progress_bar, resume)
    run.provenance.update(provenance)
    bundle.save_run(folder, run)
    return run


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


def load_run(path: Path | str) -> Run:
    """Load a run folder or its ``wts.h5.zip``; nothing in it is executed."""
    return bundle.load_run(path)


def _expect(value: Any, kind: type, name: str, makers: str) -> None:
    if not isinstance(value, kind):
        raise PtychoError(f"{name}: {type(value).__name__} given; a {kind.__name__} from {makers} is needed.")


def _chosen(settings: Mapping[str, Any], *sections: str, also: tuple[str, ...] = ()) -> Settings:
    """Settings by name, of the sections, and some others, that a function uses."""
    chosen = Settings.of(settings)
    used = {name for section in sections for name in type(getattr(chosen, section)).model_fields} | set(also)
    for name in settings:
        if name not in used:
            raise PtychoError(
                f"settings: {name}: has no effect here; settings of {', '.join((*sections, *also))} are taken."
            )
    return chosen


def _object(what: SimulationConfig, seed: int) -> np.ndarray[Any, np.dtype[np.complex64]]:
    if what.object == "lines":
        return simulation.smooth_lines(what.object_size, seed)
    return simulation.siemens_star(what.object_size)


def make_probe(what: SimulationConfig) -> np.ndarray[Any, np.dtype[np.complex64]]:
    """The embedded probe (1, N, N), of unit power.

    Raises:
        PtychoError: when it does not fit into its frame.
    """
    if not 1 <= what.probe_radius <= what.N / 2:
        raise PtychoError(
            f"probe_radius: {what.probe_radius:g} px given; from 1 to half of N = {what.N} is needed, so that the "
            "probe fits into its frame."
        )
    probe = curved_disc(what.N, what.probe_radius, what.probe_curvature).numpy()
    if not np.isfinite(probe).all():
        raise PtychoError(f"probe_curvature: {what.probe_curvature:g} rad given; a smaller number is needed.")
    return probe

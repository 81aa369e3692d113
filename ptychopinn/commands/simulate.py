"""``simulate``: write a simulated scan, or one scan cut in two."""

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ptychopinn.commands.shared.request import Request
from ptychopinn.config import BeamlineConfig, Settings, SimulationConfig
from ptychopinn.config.simulation import HARD
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz import write_npz, write_npz_files
from ptychopinn.files.output_folder import check_apart, check_new, file_hash
from ptychopinn.files.reading import start_in
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan import simulation
from ptychopinn.scan.beamline import draw, room
from ptychopinn.scan.scan import Scan

SIDES = ("train", "test")


def simulate_files(
    request: Request, source: Path | None = None, split: str | None = None, gap: float | None = None
) -> None:
    """Simulate a scan and write it whole, or cut in two along an axis; of two files both or none are written.

    The cut halves the frames; those less than half the gap away from it are in neither file.

    Args:
        request: ``out`` is an NPZ file, or the beginning of two names.
        source: NPZ file with object, probe or positions to use instead of embedded ones.
        split: axis, y or x.
        gap: pixels along it between the positions of the two parts; :attr:`Scan.clear_distance` when None.

    Raises:
        PtychoError: for a name or a split that cannot be, or a file that is there already.
    """
    out, report = request.out, request.report
    if out.suffix != ".npz":
        raise PtychoError(f"{out}: the name of the file to write must end in .npz.")
    if split is None and gap is not None:
        raise PtychoError("--split-gap: given without --split; give --split y or x too.")
    if split not in (None, "y", "x"):
        raise PtychoError(f"--split: {split!r} given; y or x is needed.")
    files = [out] if split is None else [out.with_name(f"{out.stem}_{side}.npz") for side in SIDES]
    for file in files:
        check_new(file, request.overwrite)
    check_apart(files, request.reads(source))
    scan = make_scan(request.settings, source, request.written)
    if split is None:
        parts: tuple[Scan, ...] = (scan,)
        write_npz(out, scan)
    else:
        gap = scan.clear_distance if gap is None else gap
        parts = tuple(
            replace(part, provenance={**(scan.provenance or {}), "split": side, "split_axis": split, "split_gap": gap})
            for side, part in zip(SIDES, scan.split(split, gap=gap), strict=True)
        )
        write_npz_files(dict(zip(files, parts, strict=True)))
        left_out = len(scan) - sum(map(len, parts))
        report(f"{left_out} of {len(scan)} frames lie in a gap of {gap:g} px along {split} and are left out")
    for file, part in zip(files, parts, strict=True):
        report(f"{file}: {len(part)} frames of {part.N} x {part.N} pixels, {part.photons:.3g} photons per frame")


DEFAULT_PHOTONS = 1e6

FROM_FILE: Final = {
    "object": ("an object", ("object", "object_size")),
    "probe": ("a probe", ("N", "probe_radius", "probe_curvature")),
    "positions": ("positions", ("step", "jitter")),
}
"""Parts that a file can provide: words for each, and the settings that then have no effect."""


def make_scan(settings: Settings, source: Path | None = None, given: Mapping[str, str] = MappingProxyType({})) -> Scan:
    """Simulate a scan from settings; ``given`` maps the settings of the call to how the user wrote them."""
    what, seed = settings.simulation, settings.training.seed
    found = start_in(source, settings.data.allow_external) if source is not None else {}
    if source is not None and not found:
        raise PtychoError(f"{source}: holds none of objectGuess, probeGuess, xcoords and ycoords.")
    for part in found:
        holds, names = FROM_FILE[part]
        if name := next((name for name in names if name in given), None):
            raise PtychoError(f"{given[name]}: has no effect: {source} holds {holds} to use; omit it.")
    image = found["object"] if "object" in found else _object(what, seed)
    probe = found["probe"] if "probe" in found else make_probe(what)
    positions, faults = found.get("positions"), _faults(settings, given)
    if positions is None:
        reach = math.hypot(*image.shape) / 2 - probe.shape[-1] / 2
        free = room(faults, reach) if faults else 0.0
        positions = simulation.raster(image.shape, probe.shape[-1], what.step, what.jitter, seed, free)
    beamline = None
    if faults:
        if faults["dead_pixels"] + faults["hot_pixels"] > probe.shape[-1] ** 2 / 2:
            raise PtychoError(
                f"dead_pixels, hot_pixels: {faults['dead_pixels']} and {faults['hot_pixels']} given; at most half of "
                f"the {probe.shape[-1]} x {probe.shape[-1]} pixels can be."
            )
        beamline, probe = draw(faults, positions, probe, seed)
    nphotons = settings.data.nphotons or DEFAULT_PHOTONS
    scan = simulation.simulate(image, probe, positions, nphotons, seed, what.interpolation, beamline)
    return replace(scan, provenance=_provenance(settings, nphotons, source, found, faults))


def _faults(settings: Settings, given: Mapping[str, str]) -> dict[str, Any]:
    """Settings of what the beamline does; empty where it does nothing.

    Those of a hard scan hold where the call or its file of settings does not give another value.
    """
    chosen = settings.beamline.model_dump(exclude={"hard"})
    usual = BeamlineConfig().model_dump(exclude={"hard"})
    if settings.beamline.hard:
        chosen |= {name: value for name, value in HARD.items() if name not in given and chosen[name] == usual[name]}
    return {} if chosen == usual else chosen


def _provenance(
    settings: Settings, nphotons: float, source: Path | None, found: Mapping[str, Any], faults: Mapping[str, Any]
) -> dict[str, Any]:
    """How a scan was made: the settings that had an effect, and the file that gave the rest."""
    used = {"nphotons": nphotons, "seed": settings.training.seed} | settings.simulation.model_dump(mode="json")
    for part in found:
        used = {name: value for name, value in used.items() if name not in FROM_FILE[part][1]}
    version = metadata.version("ptychopinn")
    origin = {} if source is None else {"from": {"file": source.name, "sha256": file_hash(source)}}
    return {"command": "simulate", "ptychopinn": version, **used, **faults, **origin}


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

"""The probe of a scan: of its file, of optics, of another file, or found from the frames."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.engines.probe_search import Found, search_probe
from ptychopinn.errors import WARNING, PtychoError
from ptychopinn.files.geometry.optics import OPTICS, Beam, beam_of, fitted_to, length, optics_probe
from ptychopinn.files.reading import read
from ptychopinn.files.record import Reading, Record, pixel_size
from ptychopinn.physics.start_probes import hermite_modes, pattern_probe
from ptychopinn.scan.beam import mean_root
from ptychopinn.scan.probe_scale import with_probe_scale
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

SEARCH: Final = "search"
PATTERN: Final = "mean-pattern"
KINDS: Final = (SEARCH, PATTERN, *OPTICS)

OF_OPTICS: Final = ("aperture_diameter", "focal_length", "central_stop", "defocus")


class Lit(NamedTuple):
    """A scan with its probe, where that came from, and what a search found."""

    scan: Scan
    source: str
    found: Found | None = None


def lit_scan(
    record: Record,
    scan: Scan,
    settings: Settings,
    device: str,
    report: Report,
    given: bool = False,
    end: float = math.inf,
) -> Lit:
    """A scan with the probe that the settings ask for, in sqrt(photons).

    Args:
        record: of its file.
        scan: its probe counts only where ``given``.
        settings: ``probe_from``, ``modes``, ``refocus`` and the optics.
        device: torch device of a search.
        report: receives a line for what was decided.
        given: whether the probe of the scan is that of a file.
        end: of a search, see :func:`ptychopinn.engines.probe_search.search_probe`.

    Raises:
        PtychoError: for optics that are not described, or a probe that does not fit.
    """
    flat = settings.flat()
    kind = settings.probe.probe_from or ("file" if given else SEARCH)
    if kind not in OPTICS and (idle := next((name for name in OF_OPTICS if _idle(name, kind, flat)), None)):
        raise PtychoError(f"{idle}: has no effect on a probe from {kind}; give --probe-from zone-plate, or omit it.")
    beam = beam_of(record, scan.N, scan.pixel_size_m, flat)
    if kind == SEARCH:
        if settings.probe.refocus is not None:
            raise PtychoError("refocus: has no effect on a probe that is searched; omit it.")
        root = torch.from_numpy(mean_root(scan))
        modes, seed = settings.probe.modes, settings.training.seed
        found = search_probe(scan, root, modes, settings.refinement.subpixel, seed, device, report, end)
        report_found(found, report)
        return Lit(_with(scan, found.probe, settings), kind, found)
    probe, notes = _made(kind, scan, beam, settings, flat)
    for note in notes:
        report(note)
    if settings.probe.modes is not None:
        probe = hermite_modes(probe, settings.probe.modes)
    return Lit(_with(scan, probe.numpy(), settings), kind)


def report_found(found: Found, report: Report) -> None:
    """Say which probe was found, and whether another would do."""
    count = len(found.probe)
    report(f"Probe found from the frames: from {found.name}, {count} mode{'s' if count > 1 else ''}.")
    if found.rival is not None:
        name, held_out = found.rival
        report(
            f"{WARNING}the probe is ambiguous: another one, from {name}, explains the pixels held out about as well "
            f"(deviance {held_out:.4g}, here {found.held_out:.4g}), and its image differs; give what is known of the "
            "optics by --probe-from, or measure with more light or overlap."
        )


def _idle(name: str, kind: str, flat: dict[str, str | None]) -> bool:
    return flat[name] is not None and not (name == "defocus" and (kind == PATTERN or flat["semiangle"] is not None))


def _made(
    kind: str, scan: Scan, beam: Beam, settings: Settings, flat: dict[str, str | None]
) -> tuple[Tensor, list[str]]:
    """The probe of every kind but a search, and what to say of it."""
    if kind in OPTICS:
        probe, note = optics_probe(kind, beam, flat)
        return (*_moved(probe, beam, flat, [note]),)
    if kind == PATTERN:
        defocus = length(flat, "defocus", signed=True)
        curvature = 0.0
        if defocus:
            pixel, wave = beam.known(PATTERN)
            curvature = math.pi * wave * defocus / (beam.size * pixel) ** 2
        probe = pattern_probe(torch.from_numpy(mean_root(scan)), curvature)
        return (*_moved(probe, beam, flat, [f"Probe of the mean frame, curvature {curvature:.3g} rad/px²."]),)
    if kind == "file":
        return (*_moved(torch.from_numpy(scan.probe), beam, flat, []),)
    path = Path(kind)
    if not path.exists():
        raise PtychoError(f"--probe-from {kind}: neither a file nor one of {', '.join(KINDS)}.")
    other = read(path, Reading(allow_external=settings.data.allow_external))
    if other.probe is None:
        raise PtychoError(f"--probe-from {kind}: holds no probe.")
    refocus = length(flat, "refocus", signed=True)
    found, notes = fitted_to(other.probe.astype("complex64"), beam, pixel_size(other), refocus)
    return torch.from_numpy(found), [f"Probe of {kind}.", *notes]


def _moved(probe: Tensor, beam: Beam, flat: dict[str, str | None], notes: list[str]) -> tuple[Tensor, list[str]]:
    """A probe after ``refocus``."""
    moved, more = fitted_to(probe.numpy(), beam, beam.pixel_m, length(flat, "refocus", signed=True))
    return torch.from_numpy(moved), [*notes, *more]


def _with(scan: Scan, probe: object, settings: Settings) -> Scan:
    """The scan with a probe, scaled to the brightest frames."""
    lit = replace(scan, probe=probe)  # type: ignore[arg-type]
    how = "counts" if settings.data.probe_scale == "auto" else settings.data.probe_scale
    return replace(with_probe_scale(lit, how), notes=scan.notes)

"""``overlap``: measure the overlap of scans; write a view, numbers and a figure for each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.commands.shared.messages import scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.figures.overlap import draw_view
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.naming import naming
from ptychopinn.files.output_folder import check_apart, file_hash, write_json, write_provenance
from ptychopinn.files.reading import open_scan
from ptychopinn.files.record import PROVENANCE
from ptychopinn.files.replacing import holding
from ptychopinn.scan.grouping import check_neighbor_count, choose_frames, usual_neighbor_count
from ptychopinn.scan.overlap import Selection, measure, select_spaced, spacing_of
from ptychopinn.scan.probe import light
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

BUNDLE = "metrics_bundle.json"


@dataclass(frozen=True, eq=False)
class Split:
    """One scan file, the frames that its view keeps, and what was measured."""

    source: Path
    scan: Scan
    kept: np.ndarray[Any, np.dtype[np.int64]]
    metrics: dict[str, Any]

    @property
    def files(self) -> list[str]:
        """Names of its output files."""
        return [f"{self.source.stem}{ending}" for ending in (".npz", "_metrics.json", ".png")]


def overlap_folder(sources: Sequence[Path], request: Request) -> None:
    """Measure the overlap of scans, and write a view of each that keeps the frames the settings ask for.

    Args:
        sources: scan files; each is one split, named by its stem.
        request: its ``n_subsample`` and ``overlap`` choose frames; the grouping is that of ``train``.

    Raises:
        PtychoError: for files that cannot be read, two of one name, or frames that all lie at one position.
    """
    out, settings = request.out, request.settings
    _check_sources(sources)
    check_apart([out], request.reads(*sources))
    if settings.data.neighbor_count is not None:
        check_neighbor_count(settings.data.neighbor_count, settings.model.gridsize**2)
    used, origins = request.used(settings.data, settings.overlap, names=("gridsize", "seed"))
    with holding(out, "overlap", request.overwrite) as place:
        splits = [_split(source, settings, request.report) for source in sources]
        record = {
            "scans": {str(split.source): split.metrics["sha256"] for split in splits},
            "settings": used,
            "sources": origins,
            "files": [BUNDLE, *(name for split in splits for name in split.files)],
        }

        def write(folder: Path) -> None:
            write_provenance(folder, "overlap", record)
            for split in splits:
                _write_view(folder, split)
            metrics = {split.source.stem: split.metrics for split in splits}
            write_json(folder / BUNDLE, {"splits": metrics, "settings": used})

        place.publish(write)


def _write_view(folder: Path, split: Split) -> None:
    """Write the view of a scan, its numbers and its picture."""
    npz, numbers, picture = (folder / name for name in split.files)
    write_npz(npz, replace(split.scan.subset(split.kept), provenance=_provenance(split)))
    write_json(numbers, split.metrics)
    found = split.metrics["parameters"]
    draw_view(picture, split.scan.positions, split.kept, found["probe_diameter_px"], found["spacing_threshold"])


def _check_sources(sources: Sequence[Path]) -> None:
    (stem, count), *_ = Counter(source.stem for source in sources).most_common(1)
    if count > 1:
        raise PtychoError(f"{stem}.npz: {count} files of this name given; a split is named by its file, rename one.")


def _split(source: Path, settings: Settings, report: Report) -> Split:
    """Read a scan, choose the frames of its view, and measure both."""
    data, wanted = settings.data, settings.overlap
    scan = open_scan(source, data.model_copy(update={"n_subsample": None}))
    for note in scan.notes:
        report(f"{source.stem}: {note}")
    subsample = np.arange(len(scan))
    if data.n_subsample is not None:
        with naming(source):
            subsample = choose_frames(len(scan), data.n_subsample, data.subsample_seed, data.sequential_sampling)
    if len(np.unique(scan.positions[subsample], axis=0)) < 2:
        raise PtychoError(
            f"{source}: {len(subsample)} frames at one position; frames at two positions at least are needed."
        )
    spacing = None if wanted.overlap is None else spacing_of(wanted.overlap, scan.N)
    selection = select_spaced(scan.positions[subsample], spacing)
    kept = subsample[selection.frames]
    diameter = wanted.probe_diameter_px or light.width(scan.probe)
    metrics = {
        "split": source.stem,
        "source": str(source),
        "sha256": file_hash(source),
        **scan_record(scan),
        "parameters": _parameters(scan, settings, selection, diameter),
        "selection": {"n_read": len(scan), "n_subsampled": len(subsample), **selection.metadata()},
        "scan": _measured(scan, np.arange(len(scan)), settings, diameter),
        "view": _measured(scan, kept, settings, diameter),
    }
    for line in _lines(metrics):
        report(line)
    return Split(source, scan, kept, metrics)


def _parameters(scan: Scan, settings: Settings, selection: Selection, diameter: float) -> dict[str, Any]:
    flat = settings.flat()
    given = ("overlap_neighbors", "gridsize", "neighbor_count", "n_groups", "seed")
    frames = ("n_subsample", "subsample_seed", "sequential_sampling")
    return {
        "N": scan.N,
        "overlap": flat["overlap"],
        "spacing_threshold": selection.spacing_threshold,
        "probe_diameter_px": diameter,
        "probe_diameter_from": "FWHM of the probe" if flat["probe_diameter_px"] is None else "probe_diameter_px",
        **{name: flat[name] for name in given + frames},
    }


def _provenance(split: Split) -> dict[str, Any]:
    """How a view was made: the rule, what it kept, the file it was cut from and how that was made."""
    given = split.metrics["parameters"]
    view = {name: given[name] for name in ("overlap", "n_subsample", "subsample_seed", "sequential_sampling")}
    source = {"file": split.source.name, "sha256": split.metrics["sha256"]}
    if split.scan.provenance is not None:
        source[PROVENANCE] = dict(split.scan.provenance)
    about = {"command": "overlap", "ptychopinn": metadata.version("ptychopinn")}
    return {**about, "view": view, "selection": split.metrics["selection"], "from": source}


def _measured(scan: Scan, frames: np.ndarray[Any, np.dtype[np.int64]], settings: Settings, diameter: float) -> Any:
    """Overlap of some frames of a scan, its groups drawn as ``train`` draws them."""
    positions, data, gridsize = scan.positions[frames], settings.data, settings.model.gridsize
    neighbor_count = data.neighbor_count or usual_neighbor_count(positions, gridsize, scan.probe_diameter)
    neighbors, seed = settings.overlap.overlap_neighbors, settings.training.seed
    return measure(positions, diameter, neighbors, gridsize, neighbor_count, data.n_groups, seed)


def _lines(metrics: dict[str, Any]) -> list[str]:
    """The numbers of a split as lines of text."""
    name, chosen, given = metrics["split"], metrics["selection"], metrics["parameters"]
    spacing = chosen["spacing_threshold"]
    apart = "" if spacing is None else f" at least {spacing:g} px apart ({chosen['selection_strategy']})"
    diameter, origin = given["probe_diameter_px"], given["probe_diameter_from"]
    lines = [
        f"{name}: {chosen['n_accepted']} of {chosen['n_read']} frames{apart}",
        f"{name}: discs of {diameter:.1f} px ({origin}); overlap of all frames, then of the view:",
    ]
    rows = {
        "metric_1_group": "seed and group",
        "metric_2_image": "image and nearest images",
        "metric_3_group_to_group": "group and nearest groups",
    }
    for key, label in rows.items():
        shown = [_shown(metrics[part][key]) for part in ("scan", "view")]
        if shown != ["-", "-"]:
            lines.append(f"{name}:   {label:<25} {shown[0]:>6} {shown[1]:>6}")
    return lines + [f"{name}: view: {note}" for note in metrics["view"]["notes"]]


def _shown(metric: dict[str, float] | None) -> str:
    return "-" if metric is None else f"{metric['mean']:.3f}"

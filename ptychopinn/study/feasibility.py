"""Positions of the frames of every view, before anything is simulated, and the jobs they make impossible."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.commands.simulate import make_probe
from ptychopinn.config import SimulationConfig
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz import read_object_and_probe
from ptychopinn.memory import check_memory
from ptychopinn.scan.grouping import check_reach, choose_frames, form_groups
from ptychopinn.scan.overlap import select_spaced, spacing_of
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import FRAME_BYTES, raster
from ptychopinn.study.design import EMBEDDED, FULL, SPLITS, StudyDesign
from ptychopinn.study.jobs import Job
from ptychopinn.training.plan import FEWEST_FRAMES

MOST_FRAMES = 1e6
"""Frames of the full view of a study: to plan more takes minutes."""

Places = dict[tuple[str, str], NDArray[np.float64]]


def places_of(design: StudyDesign) -> Places:
    """Positions (n, 2) in pixels of the frames of every view and split, as the jobs will choose them.

    Raises:
        PtychoError: when base, frames and gap do not fit together.
    """
    scan = _outline(design)
    width = scan.probe_diameter
    if design.split_gap is not None and design.split_gap < width:
        raise PtychoError(
            f"split_gap: {design.split_gap:g} px given; train and test must lie at least a probe width apart, "
            f"{width:.1f} px at 10 % of its peak."
        )
    gap = scan.clear_distance if design.split_gap is None else design.split_gap
    places: Places = {}
    for split, part in zip(SPLITS, scan.split(design.split_axis, gap=gap), strict=True):
        places[FULL, split] = part.positions
        for view, overlap in design.views.items():
            places[view, split] = _view(part.positions, design, spacing_of(overlap, design.N))
    return places


def counts_line(places: Places) -> str:
    """``frames: baseline 510 train, 510 test; dense ...``."""
    views = dict.fromkeys(view for view, _ in places)
    counts = (f"{view} " + ", ".join(f"{len(places[view, split])} {split}" for split in SPLITS) for view in views)
    return "frames: " + "; ".join(counts)


def impossible_jobs(design: StudyDesign, jobs: Sequence[Job], places: Places) -> dict[str, str]:
    """Reasons, by name, why jobs are impossible: too few frames, or a job that they need is impossible."""
    reasons: dict[str, str] = {}
    for job in jobs:
        if reason := _too_few(design, job, places):
            reasons[job.name] = reason
        elif lost := [name for name in job.needs if name in reasons]:
            reasons[job.name] = f"needs {lost[0]}, which is impossible: {reasons[lost[0]]}"
    return reasons


def still_impossible(design: StudyDesign, jobs: Sequence[Job]) -> dict[str, str]:
    """:func:`impossible_jobs` of an existing study; empty when its base file is gone."""
    try:
        return impossible_jobs(design, jobs, places_of(design))
    except PtychoError:
        return {}


def _outline(design: StudyDesign) -> Scan:
    """The whole scan of the design, its frames empty."""
    found: Mapping[str, Any] = {}
    if design.base not in EMBEDDED:
        found = read_object_and_probe(Path(design.base))
        for name in ("object", "probe"):
            if name not in found:
                raise PtychoError(f"base: {design.base} holds no {name}Guess; a study needs object and probe.")
        size = found["probe"].shape[-1]
        if size != design.N:
            raise PtychoError(f"N: {design.N} in the design, but probeGuess of {design.base} has {size}; set N={size}.")
    what = SimulationConfig(N=design.N, probe_radius=design.radius, probe_curvature=design.probe_curvature)
    probe = found["probe"] if "probe" in found else make_probe(what)
    positions = found.get("positions")
    if positions is None:
        shape = found["object"].shape if "object" in found else (design.object_size, design.object_size)
        _check_count(design, shape)
        positions = raster(shape, design.N, design.step, design.jitter, design.simulation_seed)
    empty = np.broadcast_to(np.uint16(0), (len(positions), design.N, design.N))
    return Scan(counts=empty, positions=np.asarray(positions, dtype=np.float64), probe=probe)


def _check_count(design: StudyDesign, shape: tuple[int, ...]) -> None:
    """Refuse a full view of too many frames, before their positions are made."""
    count = math.prod(length / design.step for length in shape)
    told = f"step: {design.step:g} px on an object of {shape[0]} x {shape[1]} px, {count:.3g} frames of {design.N} px"
    if count > MOST_FRAMES:
        raise PtychoError(f"{told}; at most {MOST_FRAMES:g} frames make a study, a larger step is needed.")
    check_memory(FRAME_BYTES * count * design.N**2, told)


def _view(positions: NDArray[np.float64], design: StudyDesign, spacing: float) -> NDArray[np.float64]:
    if design.n_subsample is not None:
        positions = positions[choose_frames(len(positions), design.n_subsample, design.subsampling_seed)]
    return positions[select_spaced(positions, spacing).frames]


def _too_few(design: StudyDesign, job: Job, places: Places) -> str:
    """Why a job is impossible; empty when it is possible."""
    if job.view is None or job.split is None:
        return ""
    found = places[job.view, job.split]
    count = f"{len(found)} frames in the {job.split} part of view {job.view}"
    size, neighbours = job.gridsize or 1, design.neighbor_count
    if job.stage == "compare":
        size = design.gridsizes[-1]
    fewest = max(FEWEST_FRAMES, neighbours + 1 if size > 1 else 0)
    if job.stage == "train" and len(found) < fewest:
        return f"{count}; a training with gridsize {size} and neighbor_count {neighbours} needs {fewest}"
    if len(found) < max(2, size**2):
        return f"{count}; at least {max(2, size**2)} are needed"
    if size > 1:
        groups = form_groups(found, size, min(neighbours, len(found) - 1), None, design.grouping_seed)
        try:
            check_reach(found, groups, design.N)
        except PtychoError as error:
            return str(error)
    return ""

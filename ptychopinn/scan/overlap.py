"""Overlap of the frames of a scan in numbers, and views of it whose frames keep a minimum spacing.

The probe counts as a disc of diameter D. Two discs at a distance d share the fraction f(d) of their area.
"""

import math
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import PtychoError
from ptychopinn.scan.grouping import form_groups, nearest

Positions = NDArray[np.float64]
Indices = NDArray[np.int64]

FEWEST_ACCEPTED = 0.1
"""Smallest share of the frames that selection in the order of the file must accept."""


@dataclass(frozen=True)
class Overlap:
    """How much places overlap with their neighbours; each place counts with the mean over its neighbours.

    Attributes:
        mean: over all places, 0 to 1.
        median: likewise.
        min: of the place that overlaps least.
        max: of the place that overlaps most.
        distance_px: mean distance to a neighbour.
        places: how many there are.
        neighbors: of each.
    """

    mean: float
    median: float
    min: float
    max: float
    distance_px: float
    places: int
    neighbors: int


@dataclass(frozen=True, eq=False)
class Selection:
    """Frames of a view.

    Attributes:
        frames: their indices, ascending.
        total: frames to choose from.
        strategy: ``all``; ``direct``, in the order of the file; ``greedy``, in the order of (y, x).
        spacing_threshold: pixels that any two frames are apart at least; None where nothing was asked.
        direct_rate: share of the frames that ``direct`` accepts.
    """

    frames: Indices
    total: int
    strategy: Literal["all", "direct", "greedy"]
    spacing_threshold: float | None = None
    direct_rate: float = 1.0

    def metadata(self) -> dict[str, Any]:
        """Entries for the record of the view."""
        return {
            "selection_strategy": self.strategy,
            "acceptance_rate": len(self.frames) / self.total,
            "spacing_threshold": self.spacing_threshold,
            "n_accepted": len(self.frames),
            "n_rejected": self.total - len(self.frames),
            "direct_acceptance_rate": self.direct_rate,
        }


def disc_overlap(distances: NDArray[np.float64], diameter: float) -> NDArray[np.float64]:
    """Share of its area that a disc has in common with an equal one: ``f(d)``, 1 at d = 0 and 0 from d = D on.

    ``f(d) = (2 / pi) (acos(q) - q sqrt(1 - q^2))`` with ``q = d / D``, the lens of two circles over the circle.

    Args:
        distances: d between the centres, pixels, any shape.
        diameter: D, pixels.
    """
    q = np.minimum(np.asarray(distances) / diameter, 1.0)
    return (2 / math.pi) * (np.arccos(q) - q * np.sqrt(1 - q * q))


def image_overlap(positions: Positions, diameter: float, neighbors: int = 6) -> Overlap | None:
    """Overlap of every position with its K nearest others; coinciding frames count once.

    Args:
        positions: (n, 2) pixels.
        diameter: D, pixels.
        neighbors: K; all others where there are fewer.

    Returns:
        None where there is only one position.
    """
    return _with_nearest(np.unique(positions, axis=0), diameter, neighbors)


def group_overlap(positions: Positions, groups: Indices, diameter: float) -> Overlap:
    """Overlap of the seed of every group with the other frames of the group.

    Args:
        positions: (n, 2) pixels.
        groups: (g, C) frames, the seed first, C > 1.
        diameter: D, pixels.
    """
    places = positions[groups]
    return _summary(np.linalg.norm(places[:, 1:] - places[:, :1], axis=-1), diameter)


def group_to_group_overlap(
    positions: Positions, groups: Indices, diameter: float, neighbors: int = 6
) -> Overlap | None:
    """Overlap of discs at the centres of mass of the groups, each with its K nearest others.

    Groups of the same frames count once.

    Args:
        positions: (n, 2) pixels.
        groups: (g, C) frames.
        diameter: D, pixels.
        neighbors: K; all others where there are fewer.

    Returns:
        None where there is only one group.
    """
    different = np.unique(np.sort(groups, axis=1), axis=0)
    return _with_nearest(positions[different].mean(axis=1), diameter, neighbors)


def measure(
    positions: Positions,
    diameter: float,
    neighbors: int = 6,
    gridsize: int = 1,
    neighbor_count: int = 7,
    n_groups: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """All overlap numbers of a scan, ready for JSON.

    Args:
        positions: (n, 2) pixels (y, x).
        diameter: D, pixels.
        neighbors: K of the metrics between images and between groups.
        gridsize: groups of gridsize^2 frames are drawn as a training draws them; with 1 there are none.
        neighbor_count: frames a group may choose from.
        n_groups: how many; one per frame when None.
        seed: of the draw.

    Returns:
        ``n_frames``, ``n_positions``, the three metrics, each None where there is nothing to measure, the
        ``neighbor_count`` and ``n_groups`` of the groups, and ``notes`` that say why something is None.
    """
    notes: list[str] = []
    different = len(np.unique(positions, axis=0))
    images, within, between, groups = image_overlap(positions, diameter, neighbors), None, None, None
    if images is None:
        notes.append(f"{len(positions)} frames at one position have no neighbours")
    if gridsize == 1:
        notes.append("gridsize 1 has no groups")
    else:
        try:
            groups = form_groups(positions, gridsize, neighbor_count, n_groups, seed, row_major=False)
        except PtychoError as error:
            notes.append(str(error))
    if groups is not None:
        within = group_overlap(positions, groups, diameter)
        between = group_to_group_overlap(positions, groups, diameter, neighbors)
        if between is None:
            notes.append("one group has no neighbours")
    metrics = {"metric_1_group": within, "metric_2_image": images, "metric_3_group_to_group": between}
    return {
        "n_frames": len(positions),
        "n_positions": different,
        **{name: None if found is None else asdict(found) for name, found in metrics.items()},
        "neighbor_count": None if groups is None else neighbor_count,
        "n_groups": None if groups is None else len(groups),
        "notes": notes,
    }


def spacing_of(overlap: float, size: int) -> float:
    """Minimum spacing ``S = (1 - f) N`` in pixels of frames of N pixels that overlap by f along an edge.

    Computed in decimals, so that f = 0.7 and N = 128 give 38.4 and not 38.400000000000006.
    """
    return float((1 - Decimal(repr(float(overlap)))) * size)


def select_spaced(positions: Positions, spacing: float | None) -> Selection:
    """Frames of which any two are at least ``spacing`` apart; no other frame could be added.

    ``direct`` visits the frames in the order of the file and accepts each that is far enough from all accepted
    before. Where it accepts less than a tenth, ``greedy`` does the same in the order of (y, x), ties in the order
    of the file. Both depend on nothing but the arguments. Distances are compared as they come out in float64,
    without a tolerance: exactly ``spacing`` is far enough.

    Args:
        positions: (n, 2) pixels (y, x).
        spacing: S > 0, pixels; every frame is taken when None.
    """
    count = len(positions)
    if spacing is None:
        return Selection(np.arange(count), count, "all")
    frames = _accept(positions, spacing, np.arange(count))
    rate = len(frames) / count
    if rate >= FEWEST_ACCEPTED:
        return Selection(frames, count, "direct", spacing, rate)
    frames = _accept(positions, spacing, np.lexsort((positions[:, 1], positions[:, 0])))
    return Selection(frames, count, "greedy", spacing, rate)


def _accept(positions: Positions, spacing: float, order: Indices) -> Indices:
    """Visit frames in an order; accept those at least ``spacing`` from all accepted ones. Ascending."""
    tree = cKDTree(positions)
    free = np.ones(len(positions), dtype=bool)
    accepted = []
    for frame in order:
        if not free[frame]:
            continue
        accepted.append(frame)
        # The tree may round differently: it only finds candidates, the comparison below decides.
        near = np.array(tree.query_ball_point(positions[frame], spacing * (1 + 1e-9)))
        free[near[np.linalg.norm(positions[near] - positions[frame], axis=-1) < spacing]] = False
    return np.sort(np.array(accepted, dtype=np.int64))


def _with_nearest(places: Positions, diameter: float, neighbors: int) -> Overlap | None:
    neighbors = min(neighbors, len(places) - 1)
    if neighbors < 1:
        return None
    others = nearest(places, neighbors)
    return _summary(np.linalg.norm(places[others] - places[:, None], axis=-1), diameter)


def _summary(distances: NDArray[np.float64], diameter: float) -> Overlap:
    """Summary of distances (places, neighbours)."""
    each = disc_overlap(distances, diameter).mean(axis=1)
    return Overlap(
        mean=float(each.mean()),
        median=float(np.median(each)),
        min=float(each.min()),
        max=float(each.max()),
        distance_px=float(distances.mean()),
        places=distances.shape[0],
        neighbors=distances.shape[1],
    )

"""Which frames the network sees together: seeds and their neighbours."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import PtychoError

Indices = NDArray[np.int64]


def form_groups(
    positions: NDArray[np.float64],
    gridsize: int,
    neighbor_count: int,
    n_groups: int | None = None,
    seed: int = 0,
    seeds: Indices | None = None,
    sequential: bool = False,
    row_major: bool = True,
) -> Indices:
    """Draw groups of C = gridsize^2 neighbouring frames.

    A group is a seed frame and C - 1 of its ``neighbor_count`` nearest neighbours. With ``n_groups`` up to the number
    of frames every seed is used at most once; above it (oversampling) seeds repeat and their neighbours are drawn
    anew. The result depends on the arguments only, not on the process or on earlier random numbers.

    Args:
        positions: (n, 2) pixels (y, x). Coinciding positions are different frames.
        gridsize: 1, 2 or 3.
        neighbor_count: K >= C - 1 nearest neighbours to choose from.
        n_groups: how many groups; every seed frame once when None.
        seed: of the draw.
        seeds: frames that may be seeds; all when None.
        sequential: take the seeds in order instead of at random; neighbours are drawn all the same.
        row_major: sort each group into rows by its positions, so that a channel means a place; otherwise the seed
            comes first and its neighbours as they were drawn.

    Returns:
        (n_groups, C) frame indices; no frame twice in a group.

    Raises:
        PtychoError: when K < C - 1, when there are not more than K frames, or when more groups than seeds are
            asked for and single frames, or K < C, give nothing new.
    """
    seeds = np.arange(len(positions)) if seeds is None else seeds
    channels = gridsize**2
    n_groups = len(seeds) if n_groups is None else n_groups
    _check(len(positions), len(seeds), channels, neighbor_count, n_groups)
    rng = np.random.default_rng(seed)
    rounds = -(-n_groups // len(seeds))
    drawn = np.concatenate([seeds if sequential else rng.permutation(seeds) for _ in range(rounds)])[:n_groups]
    if channels == 1:
        return drawn[:, None].astype(np.int64)
    neighbours = nearest(positions, neighbor_count)
    order = rng.random((n_groups, neighbor_count)).argsort(axis=1)[:, : channels - 1]
    chosen = np.take_along_axis(neighbours[drawn], order, axis=1)
    groups = np.column_stack([drawn, chosen]).astype(np.int64)
    return _row_major(groups, positions, gridsize) if row_major else groups


def usual_neighbor_count(positions: NDArray[np.float64], gridsize: int, diameter: float) -> int:
    """Default number of neighbours to choose from: those within a quarter of the probe's diameter.

    Closer frames add little information, farther ones overlap too little. Limited to 4 .. 32, and by the size of the
    group and of the scan.
    """
    inside = cKDTree(positions).query_ball_point(positions, diameter / 4, return_length=True)
    wanted = int(np.clip(np.median(inside) - 1, max(4, gridsize**2 - 1), 32))
    return max(1, min(wanted, len(positions) - 1))


def reach(positions: NDArray[np.float64], groups: Indices) -> int:
    """Whole pixels, along an axis, from the centre of any group to its farthest frame."""
    if groups.shape[1] == 1:
        return 0
    places = positions[groups]
    return int(np.ceil(np.abs(places - places.mean(axis=1, keepdims=True)).max()))


def check_reach(positions: NDArray[np.float64], groups: Indices, size: int) -> None:
    """Refuse groups whose frames lie far apart; the canvas of a group would grow without need.

    Neighbours in a sparse view need not overlap: with a spacing of 0.8 N and a choice of 7, distances of 1.7 N from
    the centre occur.

    Args:
        positions: (n, 2) pixels (y, x).
        groups: (n, C) frame indices.
        size: N, the patch edge.

    Raises:
        PtychoError: when a frame lies more than 2 N pixels from the centre of its group.
    """
    found = reach(positions, groups)
    if found > 2 * size:
        raise PtychoError(
            f"positions: a frame lies {found} pixels from the centre of its group, too far for patches of {size} "
            "pixels; use gridsize 1, a smaller neighbor_count, or check the unit of xcoords and ycoords."
        )


def check_neighbor_count(neighbor_count: int, channels: int) -> None:
    """Refuse a choice of fewer neighbours than the C - 1 that a group of ``channels`` frames needs."""
    if neighbor_count < channels - 1:
        raise PtychoError(
            f"neighbor_count: {neighbor_count} given, but a group of {channels} frames needs at least "
            f"{channels - 1} neighbours of its seed."
        )


def choose_frames(count: int, n_subsample: int, seed: int = 0, sequential: bool = False) -> Indices:
    """Draw frames of a scan to use, in ascending order.

    Args:
        count: frames in the scan.
        n_subsample: frames to keep.
        seed: of the draw.
        sequential: keep the first ones instead.

    Raises:
        PtychoError: when more frames are asked for than there are.
    """
    if n_subsample > count:
        raise PtychoError(f"n_subsample: {n_subsample} frames asked of a scan of {count}; ask for at most {count}.")
    if sequential:
        return np.arange(n_subsample)
    return np.sort(np.random.default_rng(seed).permutation(count)[:n_subsample])


def nearest(positions: NDArray[np.float64], neighbor_count: int) -> Indices:
    """Indices (n, K) of the K nearest other frames of every frame, nearest first."""
    _, found = cKDTree(positions).query(positions, k=neighbor_count + 1)
    itself = found == np.arange(len(positions))[:, None]
    # Among coinciding positions a frame may not find itself: then drop the farthest instead.
    itself[~itself.any(axis=1), -1] = True
    return found[~itself].reshape(len(positions), neighbor_count)


def halved(positions: NDArray[np.float64]) -> tuple[Indices, Indices]:
    """Cut a scan in two equally many frames across its longer side; the indices of either half, ascending."""
    along = positions[:, np.ptp(positions, axis=0).argmax()]
    first, second = np.split(along.argsort(kind="stable"), [(len(positions) + 1) // 2])
    return np.sort(first), np.sort(second)


def _row_major(groups: Indices, positions: NDArray[np.float64], gridsize: int) -> Indices:
    """Sort every group into gridsize rows by y, and each row by x; ties go to x and then to the frame's number."""
    y, x = positions[groups, 0], positions[groups, 1]
    by_y = np.take_along_axis(groups, np.lexsort((groups, x, y), axis=1), axis=1)
    rows = by_y.reshape(-1, gridsize)
    by_x = np.take_along_axis(rows, positions[rows, 1].argsort(axis=1, kind="stable"), axis=1)
    return by_x.reshape(groups.shape)


def _check(count: int, seeds: int, channels: int, neighbor_count: int, n_groups: int) -> None:
    if n_groups < 1:
        raise PtychoError(f"n_groups: {n_groups} given, at least 1 is needed.")
    if channels == 1:
        if n_groups > seeds:
            raise PtychoError(
                f"n_groups: {n_groups} groups of one frame asked of {seeds} frames; "
                "ask for fewer, or use gridsize 2 or 3, where a frame can be in many groups."
            )
        return
    if count < channels:
        raise PtychoError(f"gridsize: groups of {channels} frames asked of a scan of {count} frames; use gridsize 1.")
    if n_groups > seeds and neighbor_count < channels:
        raise PtychoError(
            f"n_groups: {n_groups} groups asked of {seeds} frames need a choice of neighbours, but neighbor_count "
            f"{neighbor_count} allows one group per frame; ask for at most {seeds}, or for neighbor_count {channels}."
        )
    check_neighbor_count(neighbor_count, channels)
    if count <= neighbor_count:
        raise PtychoError(
            f"neighbor_count: {neighbor_count} neighbours asked of a scan of {count} frames; "
            f"at most {count - 1} are there."
        )


def spread_frames(positions: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Frames spread evenly over a scan: the outermost on each side, then repeatedly the one farthest from all chosen.

    Args:
        positions: (n, 2) pixels.
        count: how many, at least 4.

    Returns:
        (count,) indices, ascending; always the same ones.

    Raises:
        PtychoError: for fewer than 4, or more than there are.
    """
    if not 4 <= count <= len(positions):
        raise PtychoError(f"n: {count} given; from 4 to {len(positions)}, the frames of the scan, are possible.")
    edges = np.concatenate([positions.argmin(axis=0), positions.argmax(axis=0)])
    chosen = list(dict.fromkeys(edges.tolist()))
    away = np.min([np.linalg.norm(positions - positions[frame], axis=1) for frame in chosen], axis=0)
    away[chosen] = -1.0
    while len(chosen) < count:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(positions - positions[chosen[-1]], axis=1))
        away[chosen] = -1.0
    return np.sort(chosen)

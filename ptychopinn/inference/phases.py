"""Global phases of groups of patches, synchronised before the groups are stitched."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph, linalg
from scipy.spatial import cKDTree
from torch import Tensor

from ptychopinn.inference.stitching import lit_square
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.frames import chunks

LINKS = 16
"""Number of overlapping groups that each group is compared with."""

FARTHEST = 512
"""Largest rank of such a group, by distance: to search thousands costs more than it gains."""

TOGETHER, TOGETHER_ON_GPU = 2**17, 2**20
"""Pixels of pairs of groups that are compared at once: they fit the cache of a core, or fill a GPU."""

DARK = 1e-6
"""Share of the light, at the rim of a patch, that does not contribute to its phase."""


def group_phases(patches: Tensor, positions: Tensor, weight: Tensor, reach: float) -> Tensor:
    """Find the global phase of every group from the overlaps between groups.

    Groups a and b that overlap give ``A_ab = sum sqrt(w_a w_b) p_a p_b^*``. The phases are those of the leading
    eigenvector of the degree-normalised Hermitian matrix A (Singer, Appl. Comput. Harmon. Anal. 30, 2011),
    found by Lanczos iteration for each connected set of groups.

    Args:
        patches: (n, C, N, N) complex.
        positions: (n, C, 2) pixels.
        weight: (N, N) real, >= 0.
        reach: distance in pixels up to which patches share light.

    Returns:
        (n,) float64 rad on the CPU; subtract them. Each connected set as a whole keeps the phase that it has.
    """
    lead, places = _representatives(patches, positions)
    pairs = _links(places.double().numpy(), reach)
    if len(pairs) == 0:
        return torch.zeros(len(patches), dtype=torch.float64)
    lit = lit_square(weight, DARK)
    root, size = weight[lit, lit].sqrt(), lit.stop - lit.start
    held = patches[torch.arange(len(patches)), lead, lit, lit].to(root.device).mul_(root)
    # One array from the start: small results between large temporary arrays would fragment the memory.
    products = torch.empty(len(pairs), dtype=patches.dtype)
    count = max(1, (TOGETHER_ON_GPU if root.is_cuda else TOGETHER) // size**2)
    for some in chunks(len(pairs), count):
        a, b = torch.from_numpy(pairs[some]).T
        offsets = (places[a] - places[b]).to(root.device)[:, None] + size // 2
        seen = extract_patches(held[b], offsets, size)[:, 0]
        products[some] = (held[a] * seen.conj()).sum(dim=(-2, -1))
    return torch.from_numpy(_leading_phases(pairs, products.numpy(), len(patches)))


def _representatives(patches: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The frame nearest to the centre of each group (n,), and its position (n, 2)."""
    distance = (positions - positions.mean(dim=1, keepdim=True)).norm(dim=-1)
    lead = distance.argmin(dim=1)
    return lead, positions[torch.arange(len(patches)), lead].cpu()


def _links(places: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """Pairs (p, 2) of overlapping groups: near ones and, in growing steps, farther ones up to ``reach``."""
    count = len(places)
    tree = cKDTree(places)
    inside = int(np.median(tree.query_ball_point(places, reach, return_length=True))) - 1
    furthest = min(max(inside, LINKS), FARTHEST, count - 1)
    if furthest < 1:
        return np.empty((0, 2), dtype=np.int64)
    ranks = np.unique(np.geomspace(1, furthest, LINKS).round().astype(int))
    distance, found = tree.query(places, k=ranks + 1)  # these ranks alone, the nearest being the place itself
    partner, far = found.ravel(), distance.ravel()
    itself = np.repeat(np.arange(count), len(ranks))
    pairs = np.sort(np.stack([itself, partner], axis=1)[(far <= 2 * reach) & (itself != partner)], axis=1)
    return np.unique(pairs, axis=0).astype(np.int64)


def _leading_phases(pairs: NDArray[np.int64], products: NDArray[np.complex64], count: int) -> NDArray[np.float64]:
    """Phases of the leading eigenvector of each connected block of the Hermitian matrix of ``products``."""
    upper = sparse.coo_matrix((products.astype(np.complex128), (pairs[:, 0], pairs[:, 1])), (count, count)).tocsr()
    matrix = upper + upper.conj().T
    degree = np.asarray(abs(matrix).sum(axis=1)).ravel()
    scale = sparse.diags(1 / np.sqrt(np.maximum(degree, np.finfo(np.float64).tiny)))
    matrix = (scale @ matrix @ scale).tocsr()
    sets, label = csgraph.connected_components(abs(matrix), directed=False)
    phases = np.zeros(count)
    for number in range(sets):
        members = np.flatnonzero(label == number)
        if len(members) > 1:
            vector = _leading_vector(matrix[members][:, members])
            # The phase of an eigenvector is free: choose the one that does not turn the set as a whole.
            phases[members] = np.angle(vector * np.exp(-1j * np.angle(vector.sum())))
    return phases


def _leading_vector(matrix: sparse.csr_matrix) -> NDArray[np.complex128]:
    count = matrix.shape[0]
    if count <= 64:
        return np.linalg.eigh(matrix.toarray())[1][:, -1]
    start = np.ones(count, dtype=np.complex128)
    try:
        return linalg.eigsh(matrix, k=1, which="LA", v0=start, tol=1e-5, maxiter=20 * count)[1][:, 0]
    except linalg.ArpackNoConvergence as error:
        # Nearly disconnected sets converge slowly; the best vector so far is good enough.
        return error.eigenvectors[:, 0] if error.eigenvectors.size else start

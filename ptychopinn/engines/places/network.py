"""All positions from the shifts of pairs: one robust least-squares solve."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from ptychopinn.engines.places.pairs import Matches

Vector = NDArray[np.float64]

PRECISION = 0.5
"""Standard deviation of the shift of a good pair along each axis, pixels."""

OUTLIER = 1.2
"""Scale of the residual beyond which a pair loses its weight, pixels."""

ROUNDS = 30


def place(nominal: Vector, matches: Matches, error: float) -> tuple[Vector, Vector]:
    """Place all frames: the minimum of ``sum_ij t_ij rho(|r_j - r_i - s_ij|) / p^2 + sum_i |r_i - n_i|^2 / e^2``.

    With the loss ``rho(x) = x^2 / (1 + x^2 / q^2)`` of Geman and McClure wrong pairs lose their say. Iteratively
    reweighted least squares, whose scale q falls from the error of the positions to ``OUTLIER``, does not stick to the
    start (graduated non-convexity: Yang et al., IEEE Robotics and Automation Letters 5, 2020).

    Args:
        nominal: (n, 2) positions n, pixels.
        matches: shifts s and trust t of pairs.
        error: standard deviation e of a nominal position along each axis, pixels.

    Returns:
        (n, 2) positions, and (m,) the weights of the pairs that remain, in [0, 1].
    """
    count, pairs = len(nominal), matches.pairs.cpu().numpy()
    shifts, trust = matches.shifts.cpu().numpy(), matches.trust.double().cpu().numpy()
    rows = np.arange(len(pairs))
    signs = np.concatenate([np.ones(len(pairs)), -np.ones(len(pairs))])
    steps = sparse.csr_matrix(
        (signs, (np.tile(rows, 2), np.concatenate([pairs[:, 1], pairs[:, 0]]))), (len(pairs), count)
    )
    found, kept = nominal, np.ones(len(pairs))
    for turn in range(ROUNDS):
        scale = OUTLIER * max(1.0, error / OUTLIER) ** max(0.0, 1 - 1.6 * turn / ROUNDS)
        rest = np.linalg.norm(steps @ found - shifts, axis=1)
        kept = 1 / (1 + (rest / scale) ** 2) ** 2
        weight = trust * kept / PRECISION**2
        normal = steps.T @ sparse.diags(weight) @ steps + sparse.identity(count) / error**2
        found = splu(normal.tocsc()).solve(steps.T @ (weight[:, None] * shifts) + nominal / error**2)
    return found, kept

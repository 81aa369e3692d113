"""From object patches to expected counts on the detector."""

import torch
from torch import Tensor

POWER_FLOOR = 1e-9
"""Photons. A weaker field has no phase; the floor keeps the gradient of its modulus finite."""


def squared(field: Tensor) -> Tensor:
    """``|field|^2`` of complex numbers, real: a third of the time of the sum of two squares on a CPU."""
    real, imag = field.real, field.imag
    return torch.addcmul(real * real, imag, imag)


def diffract(probe: Tensor, patches: Tensor) -> Tensor:
    """Expected counts: ``sum over modes of |to_detector(probe_m * patch)|^2``.

    Args:
        probe: (m, N, N) complex, sqrt(photons); or (..., m, N, N), a probe for each patch.
        patches: (..., N, N) complex transmission.

    Returns:
        (..., N, N) real, photons per detector pixel.
    """
    field = torch.fft.fft2(probe * patches.unsqueeze(-3), norm="ortho")
    # The real sum over modes is centred, not the complex field of every mode.
    return torch.fft.fftshift(squared(field).sum(dim=-3), dim=(-2, -1))


def project_to_counts(
    probe: Tensor,
    patches: Tensor,
    counts: Tensor,
    mask: Tensor | None = None,
    offset: float = 0.0,
    background: Tensor | None = None,
) -> Tensor:
    """Exit-wave update of one projection step onto the measured counts.

    The detector field keeps its phase and takes the measured modulus,
    ``F^-1[sqrt((k + c) / (|F psi|^2 + c)) F psi] - psi``, the modes sharing the modulus in proportion. For the
    amplitude likelihood (c = 0) this is the full Newton step in psi (Maiden & Rodenburg, Ultramicroscopy 109, 2009).
    With c = 3/8 the roots have equal variance at every rate and almost no bias (Anscombe, Biometrika 35, 1948); without
    it the root is biased below about 3 expected photons.

    Args:
        probe: (m, N, N) complex, sqrt(photons); or (..., m, N, N), a probe for each patch.
        patches: (..., N, N) complex transmission.
        counts: (..., N, N) photons.
        mask: (N, N) bool, True for good detector pixels; the others keep the modulus of the model.
        offset: c, photons.
        background: (N, N) counts b that are not of the sample: the ratio is then ``(k + c) / (|F psi|^2 + b + c)``.

    Returns:
        (..., m, N, N) complex update of the exit waves.
    """
    # Shifting the real counts once is cheaper than shifting the complex field of every mode.
    modulus = (torch.fft.ifftshift(counts, dim=(-2, -1)) + offset).sqrt()
    more = offset if background is None else torch.fft.ifftshift(background, dim=(-2, -1)) + offset
    good = None if mask is None else torch.fft.ifftshift(mask, dim=(-2, -1))
    return project_to_modulus(probe * patches.unsqueeze(-3), modulus, good, more)


def project_to_modulus(
    waves: Tensor, modulus: Tensor, good: Tensor | None = None, more: Tensor | float = 0.0
) -> Tensor:
    """:func:`project_to_counts` for exit waves, with everything on the detector as the transform orders it.

    Args:
        waves: (..., m, N, N) complex, sqrt(photons).
        modulus: (..., N, N) wanted, zero frequency at [0, 0]; sqrt(photons).
        good: (N, N) bool, True for good detector pixels, in the same order; None means all.
        more: photons that are not of the waves, added to their power.

    Returns:
        (..., m, N, N) complex update of the exit waves.
    """
    field = torch.fft.fft2(waves, norm="ortho")
    power = squared(field).sum(dim=-3, keepdim=True) + more
    ratio = modulus.unsqueeze(-3) * power.clamp_min(POWER_FLOOR).rsqrt() - 1
    if good is not None:
        ratio = ratio * good
    return torch.fft.ifft2(ratio * field, norm="ortho")

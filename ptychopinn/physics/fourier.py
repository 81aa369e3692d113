"""The unitary, centred Fourier transform between the exit wave and the detector."""

import torch
from torch import Tensor


def to_detector(field: Tensor) -> Tensor:
    """Propagate an exit wave to the far field: ``fftshift(fft2(field, norm="ortho"))``.

    Zero frequency lands at ``[N // 2, N // 2]``. There is no ``ifftshift`` before the transform: the
    phase ramp that this leaves on the result is invisible to a detector.

    Args:
        field: (..., N, N) complex, sqrt(photons) per pixel.

    Returns:
        (..., N, N) complex, the same total power (Parseval).
    """
    return torch.fft.fftshift(torch.fft.fft2(field, norm="ortho"), dim=(-2, -1))


def from_detector(field: Tensor) -> Tensor:
    """Inverse, and adjoint, of :func:`to_detector`.

    Args:
        field: (..., N, N) complex, zero frequency at ``[N // 2, N // 2]``.

    Returns:
        (..., N, N) complex exit wave.
    """
    return torch.fft.ifft2(torch.fft.ifftshift(field, dim=(-2, -1)), norm="ortho")

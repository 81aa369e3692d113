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


def fourier_crop(field: Tensor, size: int) -> Tensor:
    """Cut the central ``size`` x ``size`` frequencies out of the transform of ``field``.

    This is what cropping the detector does to a probe: the pixel grows by N / size and the power outside
    the cropped detector is lost.

    Args:
        field: (..., N, N), or (..., H, W), complex real-space field.
        size: pixels to keep, at most N.

    Returns:
        (..., size, size) complex real-space field, centred on ``[size // 2, size // 2]``.
    """
    rows, columns = (slice(full // 2 - size // 2, full // 2 - size // 2 + size) for full in field.shape[-2:])
    # Centre on the origin first: cropping must keep the middle of the probe in the middle.
    spectrum = to_detector(torch.fft.ifftshift(field, dim=(-2, -1)))[..., rows, columns]
    return torch.fft.fftshift(from_detector(spectrum), dim=(-2, -1))


def fourier_pad(field: Tensor, size: int) -> Tensor:
    """Put the frequencies of ``field`` into the middle of ``size`` x ``size`` ones, the others zero.

    The adjoint of :func:`fourier_crop`, which takes it back: ``fourier_crop(fourier_pad(f, M), N) = f``.

    Args:
        field: (..., N, N) complex real-space field, centred on ``[N // 2, N // 2]``.
        size: pixels, of the parity of N, at least N.

    Returns:
        (..., size, size) complex real-space field of the same power and finer pixels.
    """
    small = field.shape[-1]
    before = size // 2 - small // 2
    after = size - small - before
    spectrum = to_detector(torch.fft.ifftshift(field, dim=(-2, -1)))
    spectrum = torch.nn.functional.pad(spectrum, (before, after, before, after))
    return torch.fft.fftshift(from_detector(spectrum), dim=(-2, -1))

"""Light and size of a probe, from its array: a command that reads or draws a scan need not wait for torch.

:mod:`ptychopinn.physics.probe` has the power and the intensity of tensors, for what is fitted on a device.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating]
Real = NDArray[np.floating]

AXES: Final = (-2, -1)


def power(probe: Complex) -> Real:
    """Power of each mode, ``sum |P_m|^2`` in photons: (..., m, N, N) -> (..., m)."""
    return np.asarray((probe.real**2 + probe.imag**2).sum(axis=(-2, -1)))


def intensity(probe: Complex) -> Real:
    """Photons per object pixel summed over modes: (..., m, N, N) -> (..., N, N)."""
    return np.asarray((probe.real**2 + probe.imag**2).sum(axis=-3))


def far_intensity(probe: Complex) -> Real:
    """Photons per detector pixel without an object, ``sum_m |F P_m|^2``: (m, N, N) -> (N, N).

    F is :func:`ptychopinn.physics.fourier.to_detector`: unitary, zero frequency at ``[N // 2, N // 2]``.
    """
    return intensity(_to_detector(probe))


def cropped(field: Complex, size: int) -> Complex:
    """Cut the central ``size`` x ``size`` frequencies out of the transform of ``field``.

    This is what cropping the detector does to a probe: the pixel grows by N / size and the power outside
    the cropped detector is lost.

    Args:
        field: (..., N, N), or (..., H, W), real-space field.
        size: pixels to keep, at most N.

    Returns:
        (..., size, size) real-space field, centred on ``[size // 2, size // 2]``.
    """
    rows, columns = (slice(full // 2 - size // 2, full // 2 - size // 2 + size) for full in field.shape[-2:])
    # Centre on the origin first: cropping must keep the middle of the probe in the middle.
    return _from_detector(_to_detector(np.fft.ifftshift(field, axes=AXES))[..., rows, columns])


def padded(field: Complex, size: int) -> Complex:
    """Put the frequencies of ``field`` into the middle of ``size`` x ``size`` ones, the others zero.

    The adjoint of :func:`cropped`, which takes it back: ``cropped(padded(f, M), N) = f``.

    Args:
        field: (..., N, N) real-space field, centred on ``[N // 2, N // 2]``.
        size: pixels, of the parity of N, at least N.

    Returns:
        (..., size, size) real-space field of the same power and finer pixels.
    """
    small = field.shape[-1]
    before = size // 2 - small // 2
    spectrum = np.zeros((*field.shape[:-2], size, size), field.dtype)
    spectrum[..., before : before + small, before : before + small] = _to_detector(np.fft.ifftshift(field, axes=AXES))
    return _from_detector(spectrum)


def spread_light(probe: Complex, positions: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Photons on each pixel of a canvas, summed over frames at some positions, to 1e-6 of the peak.

    The sum that :func:`ptychopinn.scan.coverage.probe_coverage` makes frame by frame, as a convolution of the
    positions, each shared out between four pixels, with the intensity.

    Args:
        probe: (m, N, N).
        positions: (n, 2) canvas pixels (y, x) of the middle of each patch.
        shape: (H, W) of the canvas, which holds every patch.
    """
    N = probe.shape[-1]
    corners = positions - N // 2
    first = np.floor(corners).astype(np.int64)
    places = np.zeros((shape[0] + 1, shape[1] + 1), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - np.array([down, right]) - (corners - first)).prod(axis=1)
            np.add.at(places, tuple((first + [down, right]).T), share)
    whole = tuple(edge + N for edge in places.shape)
    spectrum = np.fft.rfft2(places, whole)
    spectrum *= np.fft.rfft2(intensity(probe).astype(np.float32), whole)
    found = np.fft.irfft2(spectrum, whole)[: shape[0], : shape[1]]
    return np.asarray(np.maximum(found, 0, out=found), np.float32)


def _to_detector(field: Complex) -> Complex:
    return np.asarray(np.fft.fftshift(np.fft.fft2(field, norm="ortho"), axes=AXES))


def _from_detector(spectrum: Complex) -> Complex:
    """Back from the detector, the middle of the field in the middle."""
    return np.asarray(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum, axes=AXES), norm="ortho"), axes=AXES))


def support(probe: Complex, share: float = 0.998) -> int:
    """Edge in pixels of the smallest central square, a multiple of 4, that holds ``share`` of the power.

    Args:
        probe: (m, N, N).
        share: of ``sum |P|^2``.
    """
    light, N = intensity(probe).astype(np.float64), probe.shape[-1]
    for size in range(8, N, 4):
        keep = slice(N // 2 - size // 2, N // 2 + size // 2)
        if light[keep, keep].sum() >= share * light.sum():
            return size
    return N


def width(probe: Complex, level: float = 0.5) -> float:
    """Diameter in pixels of the disc that has the area where the intensity exceeds ``level`` of its robust peak.

    With ``level`` 0.5 this is the full width at half maximum of a smooth probe. The peak is the 99th
    percentile of the pixels that hold 99 % of the power, so that one hot pixel does not decide.

    Args:
        probe: (m, N, N).
        level: fraction of the peak.
    """
    light = intensity(probe).astype(np.float64).ravel()
    ranked = np.sort(light)[::-1]
    lit = int((np.cumsum(ranked) < 0.99 * ranked.sum()).sum()) + 1
    peak = np.quantile(ranked[:lit], 0.99)
    return 2.0 * math.sqrt(int((light > level * peak).sum()) / math.pi)

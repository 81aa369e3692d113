"""Sub-pixel patches of an image: ``extract_patches`` and its adjoint ``place_patches``.

``patch[r, c] = image[y - h + r, x - h + c]`` with ``h = size // 2``, bilinear between pixels and zero outside
the image. Both functions are linear in their first argument, differentiable in it and in the positions, and
exact adjoints of each other: <extract(o), p> = <o, place(p)>.
"""

import torch
from torch import Tensor


def extract_patches(image: Tensor, positions: Tensor, size: int) -> Tensor:
    """Read patches of an image at sub-pixel positions.

    Args:
        image: (..., H, W) real or complex.
        positions: (..., n, 2) patch centres (y, x) in pixels, with the same leading dimensions.
        size: patch edge in pixels.

    Returns:
        (..., n, size, size), of the dtype of ``image``.
    """
    height, width = image.shape[-2:]
    corner, fraction = _split(positions, size)
    index, inside = _window(corner, size + 1, height, width)
    flat = image.reshape(-1)
    window = flat.index_select(0, index.reshape(-1)).reshape(index.shape) * inside
    return _lerp(_lerp(window, fraction[..., 0], -2), fraction[..., 1], -1)


def place_patches(patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Add patches into an empty image at sub-pixel positions, the adjoint of :func:`extract_patches`.

    Args:
        patches: (..., n, N, N) real or complex.
        positions: (..., n, 2) patch centres (y, x) in pixels, with the same leading dimensions.
        shape: height and width of the image; what falls outside is dropped.

    Returns:
        (..., H, W), of the dtype of ``patches``; overlapping patches are summed.
    """
    size = patches.shape[-1]
    corner, fraction = _split(positions, size)
    window = _spread(_spread(patches, fraction[..., 1], -1), fraction[..., 0], -2)
    index, inside = _window(corner, size + 1, *shape)
    batch = positions.shape[:-2]
    canvas = window.new_zeros(int(torch.Size(batch).numel()) * shape[0] * shape[1])
    canvas = canvas.index_add(0, index.reshape(-1), (window * inside).reshape(-1))
    return canvas.reshape(*batch, *shape)


def _split(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Integer top-left corner (..., n, 2) and sub-pixel remainder in [0, 1) of each patch."""
    start = positions - size // 2
    corner = start.detach().floor()
    return corner.long(), start - corner


def _window(corner: Tensor, size: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Flat indices (..., n, size, size) of integer windows into a batch of images, and which lie inside."""
    steps = torch.arange(size, device=corner.device)
    rows = corner[..., 0, None] + steps
    cols = corner[..., 1, None] + steps
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((cols >= 0) & (cols < width))[..., None, :]
    batch = corner.shape[:-2]
    which = torch.arange(int(torch.Size(batch).numel()), device=corner.device).reshape(*batch, 1, 1)
    rows = which * height + rows.clamp(0, height - 1)
    return rows[..., :, None] * width + cols.clamp(0, width - 1)[..., None, :], inside


def _lerp(window: Tensor, fraction: Tensor, dim: int) -> Tensor:
    """Mix each pixel with its successor along ``dim``; the edge shrinks by one."""
    size = window.shape[dim] - 1
    weight = fraction[..., None, None].to(window.real.dtype)
    return (1 - weight) * window.narrow(dim, 0, size) + weight * window.narrow(dim, 1, size)


def _spread(patches: Tensor, fraction: Tensor, dim: int) -> Tensor:
    """Adjoint of :func:`_lerp`; the edge grows by one."""
    weight = fraction[..., None, None].to(patches.real.dtype)
    before, after = (1 - weight) * patches, weight * patches
    pad = [0, 0, 0, 0]
    low = 0 if dim == -1 else 2
    pad[low + 1] = 1
    first = torch.nn.functional.pad(before, pad)
    pad[low], pad[low + 1] = 1, 0
    return first + torch.nn.functional.pad(after, pad)

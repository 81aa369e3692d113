"""Sub-pixel patches of an image: ``extract_patches`` and its adjoint ``place_patches``.

``patch[r, c] = image[y - h + r, x - h + c]`` with ``h = size // 2``, bilinear between pixels and zero outside
the image. Both functions are linear in their first argument, differentiable in it and in the positions, and
exact adjoints of each other: <extract(o), p> = <o, place(p)>.
"""

import torch
from torch import Tensor

BLOCK = 8
"""Pixels of a canvas row that are added together."""

WINDOWS = 64
"""Windows handled together: few enough to stay in a core's cache."""


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
    batch = positions.shape[:-2]
    if not batch and patches.device.type == "cpu":
        return _place_by_blocks(patches, positions, shape)
    size = patches.shape[-1]
    corner, fraction = _split(positions, size)
    window = _spread(_spread(patches, fraction[..., 1], -1), fraction[..., 0], -2)
    index, inside = _window(corner, size + 1, *shape)
    canvas = window.new_zeros(int(torch.Size(batch).numel()) * shape[0] * shape[1])
    canvas = canvas.index_add(0, index.reshape(-1), (window * inside).reshape(-1))
    return canvas.reshape(*batch, *shape)


def _place_by_blocks(patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
    """:func:`place_patches` on one canvas of a CPU: whole blocks of a row are added, not single pixels.

    ``index_add_`` costs about as much for a row of 8 complex numbers as for one. Windows that start at the same
    place within a block are handled together; a margin of one window all around takes what falls outside.
    """
    size = patches.shape[-1] + 1
    corner, fraction = _split(positions, size - 1)
    corner = torch.minimum(corner.clamp_min(-size), torch.tensor(shape)) + size
    height, width = shape
    blocks = -(-(size + BLOCK - 1) // BLOCK)
    row_blocks = -(-(width + 2 * size) // BLOCK) + 1
    canvas = patches.new_zeros((height + 2 * size) * row_blocks, BLOCK)
    flat = _as_real_rows(canvas)
    steps = torch.arange(size)[:, None] * row_blocks + torch.arange(blocks)
    for shift in range(BLOCK):
        for some in (corner[:, 1] % BLOCK == shift).nonzero()[:, 0].split(WINDOWS):
            tile = patches.new_zeros(len(some), size, blocks * BLOCK)
            across = _spread(patches[some], fraction[some, 1], -1)
            tile[..., shift : shift + size] = _spread(across, fraction[some, 0], -2)
            first = corner[some, 0] * row_blocks + corner[some, 1] // BLOCK
            flat.index_add_(0, (first[:, None, None] + steps).flatten(), _as_real_rows(tile.view(-1, BLOCK)))
    return canvas.view(height + 2 * size, -1)[size : size + height, size : size + width].contiguous()


def _as_real_rows(rows: Tensor) -> Tensor:
    """Rows of complex numbers as rows of twice as many real ones, the same memory."""
    return torch.view_as_real(rows).flatten(1) if rows.is_complex() else rows


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

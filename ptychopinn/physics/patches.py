"""Sub-pixel patches of an image: ``extract_patches`` and its adjoint ``place_patches``.

``patch[r, c] = image[y - h + r, x - h + c]`` with ``h = size // 2``, bilinear between pixels and zero outside
the image. Both functions are linear in their first argument, differentiable in it and in the positions, and
exact adjoints of each other: <extract(o), p> = <o, place(p)>.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WINDOWS = 16
"""Patches handled together: few enough to stay in a core's cache."""


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
    if patches.device.type == "cpu" and positions.ndim == 2:
        return _PlaceByRows.apply(patches, positions, shape)
    batch = positions.shape[:-2]
    size = patches.shape[-1]
    corner, fraction = _split(positions, size)
    window = _spread(_spread(patches, fraction[..., 1], -1), fraction[..., 0], -2)
    index, inside = _window(corner, size + 1, *shape)
    canvas = window.new_zeros(int(torch.Size(batch).numel()) * shape[0] * shape[1])
    canvas = canvas.index_add(0, index.reshape(-1), (window * inside).reshape(-1))
    return canvas.reshape(*batch, *shape)


class _PlaceByRows(torch.autograd.Function):
    """:func:`place_patches` on one canvas of a CPU; its gradient is read by :func:`extract_patches`."""

    @staticmethod
    def forward(ctx, patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(patches, positions)
        return _place_by_rows(patches, positions, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        patches, positions = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return extract_patches(gradient, positions, patches.shape[-1]), None, None
        with torch.enable_grad():
            places = positions.detach().requires_grad_()
            seen = extract_patches(gradient, places, patches.shape[-1])
            (slope,) = torch.autograd.grad((seen.conj() * patches.detach()).real.sum(), places)
        return seen.detach(), slope, None


def _place_by_rows(patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Add whole rows of patches to a canvas, each to two of its rows.

    The canvas is seen through overlapping rows of N + 1 pixels, one that starts at every pixel; a sparse matrix of
    the weights ``1 - v`` and ``v`` times the rows of the patches, spread along x, is added to them in place.
    ``index_add_`` takes about four times as long. A margin of one window all around takes what falls outside.
    """
    size = patches.shape[-1]
    edge, channels = size + 1, 2 if patches.is_complex() else 1
    corner, fraction = _split(positions, size)
    fraction = fraction.to(patches.real.dtype)
    corner = torch.minimum(corner.clamp_min(-edge), torch.tensor(shape)) + edge
    pitch = shape[1] + 2 * edge
    canvas = patches.new_zeros(shape[0] + 2 * edge, pitch)
    starts = canvas.numel() - size
    rows = _as_real(canvas).as_strided((starts, channels * edge), (channels, 1))
    first = (corner[:, 0] * pitch + corner[:, 1])[:, None] + torch.arange(size) * pitch
    target = torch.stack([first, first + pitch], dim=-1)
    share = torch.stack([1 - fraction[:, 0], fraction[:, 0]], dim=-1)[:, None].expand(target.shape)
    padded = patches.new_zeros(min(WINDOWS, len(patches)), size, size + 2)
    source = torch.arange(len(padded) * size).repeat_interleave(2)
    for some in torch.arange(len(patches)).split(WINDOWS):
        part = slice(int(some[0]), int(some[-1]) + 1)
        padded[: len(some), :, 1:-1] = patches[part]
        real = _as_real(padded[: len(some)])
        across = torch.lerp(real[..., channels:], real[..., :-channels], fraction[part, 1, None, None])
        where = torch.stack([target[part].flatten(), source[: 2 * size * len(some)]])
        matrix = torch.sparse_coo_tensor(
            where, share[part].flatten(), (starts, size * len(some)), check_invariants=False
        )
        rows.addmm_(matrix, across.flatten(0, 1))
    return canvas[edge : edge + shape[0], edge : edge + shape[1]].contiguous()


def _as_real(pixels: Tensor) -> Tensor:
    """Complex pixels as twice as many real ones along the last dimension, the same memory."""
    return torch.view_as_real(pixels).flatten(-2) if pixels.is_complex() else pixels


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

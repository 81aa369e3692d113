"""Sub-pixel patches of an image: ``extract_patches`` and its adjoint ``place_patches``.

``patch[r, c] = image[y - h + r, x - h + c]`` with ``h = size // 2``, bilinear between pixels and zero outside
the image. Both functions are linear in their first argument, differentiable in it and in the positions, and
exact adjoints of each other: <extract(o), p> = <o, place(p)>.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

CHUNK, CHUNK_ON_GPU = 2**17, 2**22
"""Pixels of patches in one chunk: few enough to stay in a core's cache, enough to keep a GPU busy."""


def chunk_length(pixels: int, most: int) -> int:
    """Number of items of ``pixels`` pixels each in a chunk of at most ``most`` pixels; at least one."""
    return max(1, most // max(1, pixels))


def extract_patches(image: Tensor, positions: Tensor, size: int) -> Tensor:
    """Read patches of an image at sub-pixel positions.

    Args:
        image: (..., H, W) real or complex.
        positions: (..., n, 2) patch centres (y, x) in pixels, with the same leading dimensions.
        size: patch edge in pixels.

    Returns:
        (..., n, size, size), of the dtype of ``image``.
    """
    wanted = torch.is_grad_enabled() and (image.requires_grad or positions.requires_grad)
    if image.device.type == "cpu" and not wanted:
        return _read_windows(image, positions, size)
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
        return _Place.apply(patches, positions, shape)
    batch = positions.shape[:-2]
    index, values = _pixels(patches, positions, shape)
    canvas = values.new_zeros(int(torch.Size(batch).numel()) * shape[0] * shape[1])
    return canvas.index_add(0, index, values).reshape(*batch, *shape)


def _pixels(patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat indices into a batch of images, and what patches add there; outside the image nothing."""
    size = patches.shape[-1]
    corner, fraction = _split(positions, size)
    window = _spread(_spread(patches, fraction[..., 1], -1), fraction[..., 0], -2)
    index, inside = _window(corner, size + 1, *shape)
    return index.reshape(-1), (window * inside).reshape(-1)


@torch.no_grad()
def _read_windows(image: Tensor, positions: Tensor, size: int) -> Tensor:
    """:func:`extract_patches` on a CPU: reads whole windows, with zeros outside the images.

    The images lie one below the other in one array, with a margin of one window above and to the left of each. A
    window that passes the right or lower edge reads the margin of the next row or of the next image. One image that
    holds all windows is read where it is: a copy of a large one takes longer than the patches.
    """
    height, width = image.shape[-2:]
    if image.ndim == 2 and image.stride(1) == 1 and not image.is_conj():
        corner, fraction = _split(positions, size)
        if bool((corner >= 0).all() and (corner + size < torch.tensor([height, width])).all()):
            return _mixed(image, corner[:, 0] * image.stride(0) + corner[:, 1], fraction, size)
    margin, count = size + 1, int(torch.Size(positions.shape[:-2]).numel())
    padded = image.new_zeros((count + 1) * (height + margin) + 1, width + margin)
    each = padded[: count * (height + margin)].view(count, height + margin, width + margin)
    each[:, margin:, margin:] = image.reshape(count, height, width)
    first, fraction = _starts(positions.reshape(count, positions.shape[-2], 2), size, height, width, width + margin)
    first = (first + torch.arange(count)[:, None] * (height + margin) * (width + margin)).flatten()
    patches = _mixed(padded, first, fraction.reshape(-1, 2), size)
    return patches.reshape(*positions.shape[:-1], size, size)


def _mixed(image: Tensor, first: Tensor, fraction: Tensor, size: int) -> Tensor:
    """Patches (n, N, N) of an image, whose windows start at pixels ``first`` (n,), and their remainders (n, 2)."""
    if not bool(fraction.any()):
        whole = _windows(image, size - 1)[0].index_select(0, first)
        return _as_complex(whole) if image.is_complex() else whole
    windows, step = _windows(image, size)[0], 2 if image.is_complex() else 1
    v, u = fraction[:, :, None, None].to(image.real.dtype).unbind(1)
    patches = image.new_empty(len(first), size, size)
    count = chunk_length(size**2, CHUNK)
    down = patches.real.new_empty(min(count, len(first)), size, step * (size + 1))
    for start in range(0, len(first), count):
        some = slice(start, min(start + count, len(first)))
        window, d = windows.index_select(0, first[some]), down[: some.stop - start]
        torch.lerp(window[:, :-1], window[:, 1:], v[some], out=d)
        torch.lerp(d[..., :-step], d[..., step:], u[some], out=_as_real(patches[some]))
    return patches


def _windows(image: Tensor, size: int) -> Tensor:
    """View of all windows of (N + 1) x (N + 1) pixels, one starting at each pixel: (1, starts, N + 1, N + 1)."""
    (height, width), row, step = image.shape, image.stride(0), 2 if image.is_complex() else 1
    starts = (height - 1 - size) * row + width - size
    edges = (1, starts, size + 1, step * (size + 1))
    return _as_real(image).as_strided(edges, (0, step, step * row, 1))


def _starts(positions: Tensor, size: int, height: int, width: int, row: int) -> tuple[Tensor, Tensor]:
    """First pixel (..., n) of the window of each position in an image with a margin, and the remainder (..., n, 2).

    Args:
        positions: (..., n, 2) in the image, pixels.
        size: edge N of the patches; the margin is N + 1 wide, and a window outside the image falls into it.
        height: of the image.
        width: of the image.
        row: pixels from one row to the next, with the margin.
    """
    margin = size + 1
    corner, fraction = _split(positions, size)
    corner = torch.minimum(corner.clamp_min(-margin), torch.tensor([height, width])) + margin
    return corner[..., 0] * row + corner[..., 1], fraction


class _Place(torch.autograd.Function):
    """:func:`place_patches` on one canvas of a CPU; its gradient uses :func:`extract_patches`."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(patches, positions)
        canvas = Canvas(shape, patches.shape[-1], patches.dtype, patches.device)
        canvas.add(patches, positions)
        return canvas.image.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        patches, positions = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return extract_patches(gradient, positions, patches.shape[-1]), None, None
        with torch.enable_grad():
            places = positions.detach().requires_grad_()
            seen = extract_patches(gradient, places, patches.shape[-1])
            (slope,) = torch.autograd.grad((seen.conj() * patches.detach()).real.sum(), places)
        return seen.detach(), slope, None


class Canvas:
    """A running sum of :func:`place_patches` without gradients, on any device.

    A CPU views the canvas as overlapping windows of (N + 1) x (N + 1) pixels, one starting at each pixel, and adds
    whole patches to them: ``index_add_`` along an axis that is neither the first nor the last adds slice by slice
    (along those it adds single rows, which takes about five times as long). A margin of one window on every side
    takes what falls outside.

    Args:
        shape: height and width of the image; what falls outside is dropped.
        size: edge N of the patches, pixels.
        dtype: of the patches, real or complex.
        device: of the patches.
    """

    def __init__(self, shape: tuple[int, int], size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.size = shape, size
        self.margin = size + 1 if device.type == "cpu" else 0
        self.pixels = torch.zeros(*(edge + 2 * self.margin for edge in shape), dtype=dtype, device=device)
        if self.margin:
            self._windows, self._whole = _windows(self.pixels, size), _windows(self.pixels, size - 1)
        self._room: list[Tensor] = []

    @torch.no_grad()
    def add(self, patches: Tensor, positions: Tensor, weight: Tensor | None = None) -> None:
        """Add patches (n, N, N), times the real ``weight`` (N, N), at positions (n, 2) in pixels."""
        if not self.margin:
            count = chunk_length(self.size**2, CHUNK_ON_GPU)
            for part, at in zip(patches.split(count), positions.split(count), strict=True):
                index, values = _pixels(part if weight is None else weight * part, at, self.shape)
                self.pixels.view(-1).index_add_(0, index, values)
            return
        first, fraction = _starts(positions, self.size, *self.shape, self.pixels.shape[1])
        fraction = fraction.to(patches.real.dtype)
        if len(patches) > 1 and patches.stride(0) == 0 and not patches.is_complex():
            self._add_same(patches[0] if weight is None else weight * patches[0], first, fraction)
        else:
            self._add_each(patches, weight, first, fraction)

    def _add_each(self, patches: Tensor, weight: Tensor | None, first: Tensor, fraction: Tensor) -> None:
        """Add patches whose windows start at pixels ``first`` (n,), with zeros around them that mix into the edges."""
        scale = torch.ones(1) if weight is None else weight
        if patches.is_complex() and weight is not None:
            scale = weight.repeat_interleave(2, dim=-1)
        scale, count = scale.to(patches.real.dtype), chunk_length(self.size**2, CHUNK)
        if not bool(fraction.any()):
            for part, at in zip(patches.split(count), first.split(count), strict=True):
                self._whole.index_add_(1, at, (_as_real(part) if weight is None else _as_real(part) * scale)[None])
            return
        step = 2 if patches.is_complex() else 1
        across, down, windows = self._room = self._room or self._fresh_room()
        v, u = fraction[:, :, None, None].unbind(1)
        for start in range(0, len(patches), len(across)):
            some = slice(start, min(start + len(across), len(patches)))
            a, d, w = (room[: some.stop - start] for room in (across, down, windows))
            torch.mul(_as_real(patches[some]), scale, out=a[..., step:-step])
            torch.lerp(a[..., step:], a[..., :-step], u[some], out=d[:, 1:-1])
            torch.lerp(d[:, 1:], d[:, :-1], v[some], out=w)
            self._windows.index_add_(1, first[some], w[None])

    def _fresh_room(self) -> list[Tensor]:
        """Buffers kept between calls: the zeros around patches stay, and new memory is slow."""
        size, step = self.size, 2 if self.pixels.is_complex() else 1
        edges = (size, size + 2), (size + 2, size + 1), (size + 1, size + 1)
        kind = self.pixels.real.dtype
        return [torch.zeros(chunk_length(size**2, CHUNK), rows, step * cols, dtype=kind) for rows, cols in edges]

    def rest(self) -> None:
        """Free the buffers; the next call of :meth:`add` allocates them again."""
        self._room = []

    def _add_same(self, patch: Tensor, first: Tensor, fraction: Tensor) -> None:
        """Add one real patch at many positions: its windows are sums of four shifted copies."""
        pads = [(0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0)]
        copies = torch.stack([pad(patch, edges).flatten() for edges in pads])
        count = chunk_length(self.size**2, CHUNK)
        v, u = fraction.unbind(-1)
        shares = torch.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u], dim=-1)
        for some, at in zip(shares.split(count), first.split(count), strict=True):
            windows = (some @ copies).view(1, -1, self.margin, self.margin)
            self._windows.index_add_(1, at, windows)

    @property
    def image(self) -> Tensor:
        """The sum so far (H, W), a view of the canvas: writing to it changes the sum."""
        inside = (slice(self.margin, self.margin + edge) for edge in self.shape)
        return self.pixels[tuple(inside)]


def _as_real(pixels: Tensor) -> Tensor:
    """Complex pixels as twice as many real ones along the last dimension; a view where possible."""
    return torch.view_as_real(pixels.resolve_conj()).flatten(-2) if pixels.is_complex() else pixels


def _as_complex(pixels: Tensor) -> Tensor:
    """Twice as many real pixels along the last dimension as complex ones; a view."""
    return torch.view_as_complex(pixels.unflatten(-1, (-1, 2)))


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
    after, before = ((0, 1), (1, 0)) if dim == -1 else ((0, 0, 0, 1), (0, 0, 1, 0))
    return pad((1 - weight) * patches, after) + pad(weight * patches, before)

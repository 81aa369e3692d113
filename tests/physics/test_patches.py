"""Patches: an exact adjoint pair, bilinear, zero outside, differentiable in the image and the positions."""

import pytest
import torch
from torch import Tensor

from ptychopinn.physics import patches as module
from ptychopinn.physics.patches import Canvas, extract_patches, place_patches
from tests.helpers import assert_adjoint, assert_gradient_is_adjoint, random_positions, random_tensor

SHAPE = (21, 26)
SIZES = pytest.mark.parametrize("size", [1, 7, 8])
# Sub-pixel and overlapping well inside; then across every edge and corner; then with nothing inside.
PLACES = {
    "inside": [(9.0, 10.0), (10.3, 11.75), (10.31, 11.7), (9.5, 13.999), (12.0, 12.25)],
    "across the edges": [(0.2, 12.4), (20.7, 12.0), (10.1, -1.3), (9.9, 25.6), (-2.5, -2.5), (22.5, 27.5)],
    "one pixel beyond": [(-0.5, 12.0), (20.5, 12.0), (10.0, -0.5), (10.0, 25.5), (-0.25, 25.25)],
    "inside and far outside": [(10.3, 11.75), (-60.4, 12.0), (10.0, 80.6), (300.1, -300.7)],
}
POSITIONS = pytest.mark.parametrize(
    "positions", [torch.tensor(p, dtype=torch.float64) for p in PLACES.values()], ids=PLACES.keys()
)


def hats(centre: float, size: int, length: int) -> Tensor:
    """Bilinear weights (size, length): the triangle ``max(0, 1 - |centre - size // 2 + r - i|)``."""
    at = centre - size // 2 + torch.arange(size, dtype=torch.float64)
    return (1 - (at[:, None] - torch.arange(length)).abs()).clamp_min(0)


def extract_by_definition(image: Tensor, positions: Tensor, size: int) -> Tensor:
    """Read each patch with dense interpolation matrices, ``R image C^T``."""
    rows = [hats(float(y), size, image.shape[0]).to(image.dtype) for y in positions[:, 0]]
    cols = [hats(float(x), size, image.shape[1]).to(image.dtype) for x in positions[:, 1]]
    return torch.stack([row @ image @ col.T for row, col in zip(rows, cols, strict=True)])


def place_by_definition(patches: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Add up each patch with the transposed matrices, ``R^T patch C``."""
    size = patches.shape[-1]
    rows = [hats(float(y), size, shape[0]).to(patches.dtype) for y in positions[:, 0]]
    cols = [hats(float(x), size, shape[1]).to(patches.dtype) for x in positions[:, 1]]
    return sum(row.T @ patch @ col for row, patch, col in zip(rows, patches, cols, strict=True))


@SIZES
@POSITIONS
def test_extract_and_place_follow_the_definition(size, positions):
    image, patches = random_tensor(*SHAPE), random_tensor(len(positions), size, size, seed=1)
    expected = extract_by_definition(image, positions, size)
    torch.testing.assert_close(extract_patches(image, positions, size), expected, rtol=0, atol=1e-13)
    expected = place_by_definition(patches, positions, SHAPE)
    torch.testing.assert_close(place_patches(patches, positions, SHAPE), expected, rtol=0, atol=1e-13)


@SIZES
@POSITIONS
@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64, torch.float64])
def test_adjoint_pair_and_gradients(size, positions, dtype):
    image, patches = random_tensor(*SHAPE, dtype=dtype), random_tensor(len(positions), size, size, seed=1, dtype=dtype)

    def extract(x):
        return extract_patches(x, positions, size)

    def place(p):
        return place_patches(p, positions, SHAPE)

    if size > 1 or bool(extract(image).any()):
        assert_adjoint(extract, place, image, patches)
    assert_gradient_is_adjoint(extract, place, image, patches)
    assert_gradient_is_adjoint(place, extract, patches, image)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("leading", [(2,), (2, 3)])
def test_batches_equal_loops_and_stay_adjoint(size, leading):
    image, patches = random_tensor(*leading, *SHAPE), random_tensor(*leading, 4, size, size, seed=1)
    positions = random_positions(*leading, 4, low=-3, high=24)
    read = extract_patches(image, positions, size)
    placed = place_patches(patches, positions, SHAPE)
    assert read.shape == patches.shape
    assert placed.shape == image.shape
    for at in torch.cartesian_prod(*map(torch.arange, leading)).reshape(-1, len(leading)).tolist():
        i = tuple(at)
        torch.testing.assert_close(read[i], extract_patches(image[i], positions[i], size))
        torch.testing.assert_close(placed[i], place_patches(patches[i], positions[i], SHAPE))
    assert_adjoint(
        lambda x: extract_patches(x, positions, size), lambda p: place_patches(p, positions, SHAPE), image, patches
    )


@pytest.mark.parametrize("size", [7, 8])
def test_an_integer_position_is_a_slice(size):
    image, patch = random_tensor(*SHAPE), random_tensor(1, size, size, seed=1)
    y, x = 9, 13
    window = (slice(y - size // 2, y - size // 2 + size), slice(x - size // 2, x - size // 2 + size))
    position = torch.tensor([[y, x]], dtype=torch.float64)
    assert torch.equal(extract_patches(image, position, size)[0], image[window])
    expected = torch.zeros(SHAPE, dtype=image.dtype)
    expected[window] = patch[0]
    assert torch.equal(place_patches(patch, position, SHAPE), expected)


@pytest.mark.parametrize("size", [7, 8])
def test_bilinear_reading_is_exact_on_a_plane(size):
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SHAPE), indexing="ij")
    positions = random_positions(6, low=6, high=14)
    steps = torch.arange(size) - size // 2
    expected = (
        2 + 3 * (positions[:, 0, None, None] + steps[:, None]) - 5 * (positions[:, 1, None, None] + steps[None, :])
    )
    torch.testing.assert_close(extract_patches(2 + 3 * y - 5 * x, positions, size), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("shift", [(3, 5), (-4, 2)])
def test_a_translated_image_is_read_at_translated_positions(size, shift):
    image = torch.zeros(40, 40, dtype=torch.complex128)
    image[12:28, 12:28] = random_tensor(16, 16)
    moved = image.roll(shift, dims=(0, 1))
    positions = random_positions(6, low=14, high=26)
    expected = extract_patches(image, positions, size)
    read = extract_patches(moved, positions + torch.tensor(shift), size)
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [7, 8])
def test_placing_inside_keeps_the_sum_of_the_patches(size):
    patches = random_tensor(5, size, size)
    placed = place_patches(patches, random_positions(5, low=6, high=14), SHAPE)
    torch.testing.assert_close(placed.sum(), patches.sum())


def test_all_patches_outside_give_zeros():
    positions = torch.tensor([[-30.2, 5.0], [5.0, 70.5]], dtype=torch.float64)
    assert not extract_patches(random_tensor(*SHAPE), positions, 8).any()
    assert not place_patches(random_tensor(2, 8, 8), positions, SHAPE).any()


@pytest.mark.parametrize("size", [3, 4])
def test_gradcheck_in_the_first_argument_and_the_positions(size):
    positions = random_positions(2, 3, low=-1, high=8, seed=2).requires_grad_()
    image = random_tensor(2, 7, 6).requires_grad_()
    patches = random_tensor(2, 3, size, size, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, at: extract_patches(x, at, size), (image, positions))
    assert torch.autograd.gradcheck(lambda p, at: place_patches(p, at, (7, 6)), (patches, positions))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("positions_dtype", [torch.float32, torch.float64])
def test_dtype_of_the_data_is_kept(dtype, positions_dtype):
    image, patches = random_tensor(*SHAPE, dtype=dtype), random_tensor(3, 8, 8, dtype=dtype)
    positions = random_positions(3, low=0, high=20, dtype=positions_dtype).requires_grad_()
    read = extract_patches(image, positions, 8)
    placed = place_patches(patches, positions, SHAPE)
    assert read.dtype == placed.dtype == dtype
    (gradient,) = torch.autograd.grad(read.abs().sum() + placed.abs().sum(), positions)
    assert gradient.dtype == positions_dtype


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradcheck_of_one_canvas(size, dtype):
    positions = random_positions(3, low=-1, high=8, seed=2).requires_grad_()
    patches = random_tensor(3, size, size, seed=1, dtype=dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, at: place_patches(p, at, (7, 6)), (patches, positions))


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_canvas_sums_weighted_patches_of_many_calls(monkeypatch, size, dtype):
    monkeypatch.setattr(module, "CHUNK", 20 * size**2)
    count = 2 * 20 + 3
    patches, weight = random_tensor(count, size, size, dtype=dtype), random_tensor(size, size, dtype=torch.float64)
    positions = random_positions(count, low=-6, high=30)
    canvas = Canvas(SHAPE, size, dtype, patches.device)
    for some in (slice(0, 1), slice(1, 4), slice(4, 4), slice(4, count)):
        canvas.add(patches[some], positions[some], weight)
    expected = place_by_definition(weight * patches, positions, SHAPE)
    torch.testing.assert_close(canvas.image, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 7, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_one_patch_expanded_is_placed_like_its_copies(monkeypatch, size, dtype):
    monkeypatch.setattr(module, "CHUNK", 20 * size**2)
    patches = random_tensor(size, size, dtype=dtype).expand(2 * 20 + 1, -1, -1)
    positions = random_positions(len(patches), low=-6, high=30)
    expected = place_by_definition(patches, positions, SHAPE)
    torch.testing.assert_close(place_patches(patches, positions, SHAPE), expected, rtol=0, atol=1e-12)


def test_nothing_is_placed_where_nothing_covers():
    weight = torch.zeros(8, 8)
    weight[2:6, 3:5] = 1e-30
    positions = random_positions(40, low=4, high=12, dtype=torch.float32)
    placed = place_patches(weight.expand(40, -1, -1), positions, SHAPE)
    assert torch.equal(placed > 0, place_by_definition((weight > 0).double().expand(40, -1, -1), positions, SHAPE) > 0)


@pytest.mark.parametrize(
    "view", [Tensor.conj, lambda x: x.mT, lambda x: x[..., ::2]], ids=["conj", "transposed", "strided"]
)
def test_views_of_other_tensors_are_read_and_placed_like_copies(view):
    positions = random_positions(5, low=-3, high=40)
    copy = view(random_tensor(5, 12, 12)).resolve_conj().contiguous()
    if copy.shape[-1] == copy.shape[-2]:
        placed = place_patches(view(random_tensor(5, 12, 12)), positions, (40, 33))
        torch.testing.assert_close(placed, place_patches(copy, positions, (40, 33)))
    image = view(random_tensor(40, 40, seed=1))
    read = extract_patches(image, positions, 12)
    torch.testing.assert_close(read, extract_patches(image.resolve_conj().contiguous(), positions, 12))


@pytest.mark.parametrize("size", [1, 7, 8])
@pytest.mark.parametrize("leading", [(), (3,), (2, 2), (0,)])
@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_whole_windows_and_single_pixels_are_read_alike(size, leading, dtype):
    image = random_tensor(*leading, 11, 9, dtype=dtype)
    positions = random_positions(*leading, 40, low=-20, high=30)
    with_gradient = extract_patches(image.clone().requires_grad_(), positions, size)
    torch.testing.assert_close(extract_patches(image, positions, size), with_gradient.detach())
    assert extract_patches(image, positions[..., :0, :], size).shape == (*leading, 0, size, size)


@pytest.mark.parametrize("complex_too", [False, True])
def test_a_window_of_a_large_image_is_read_where_it_lies(complex_too):
    image = random_tensor(60, 50) if complex_too else random_tensor(60, 50).real
    window = image[7:40, 5:45]
    # Windows up to the very edges of the part, and one beyond it.
    low, high = torch.tensor([4.0, 4.0]), torch.tensor([33 - 4 - 1.0, 40 - 4 - 1.0])
    inside = torch.stack([low, high, (low + high) / 3 + 0.4]).double()
    beyond = torch.cat([inside, torch.tensor([[0.5, 39.25]], dtype=torch.float64)])
    for positions in (inside, beyond):
        found = extract_patches(window, positions, 8)
        torch.testing.assert_close(found, extract_patches(window.clone(), positions, 8), rtol=0, atol=0)
        padded = torch.nn.functional.pad(window, (9, 9, 9, 9))
        torch.testing.assert_close(found, extract_patches(padded, positions + 9, 8))

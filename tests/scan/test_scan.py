"""A scan: every contract has its own refusal, and every change of frame leaves the physics alone."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from ptychopinn.errors import PtychoError
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.likelihood import poisson_deviance
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import curved_disc, probe_intensity, probe_power
from ptychopinn.scan.frames import MARK_THEM
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import simulate

COUNT, SIZE = 12, 16


def fields(**changes: Any) -> dict[str, Any]:
    """What a valid scan is built from, with some of it changed."""
    rng = np.random.default_rng(0)
    return {
        "counts": rng.poisson(5.0, (COUNT, SIZE, SIZE)).astype(np.uint16),
        "positions": rng.uniform(10, 40, (COUNT, 2)),
        "probe": curved_disc(SIZE, 4.0, 2.0).numpy(),
        **changes,
    }


def scan(**changes: Any) -> Scan:
    return Scan(**fields(**changes))


def spoiled(name: str, index: tuple[int, ...], value: float) -> np.ndarray:
    """One of the valid fields as floats (or complex), with one bad entry."""
    array = fields()[name]
    array = array.astype(np.complex64 if np.iscomplexobj(array) else np.float64)
    array[index] = value
    return array


def everything(scan: Scan) -> Scan:
    """The scan with every optional field set."""
    mask = np.random.default_rng(1).random((scan.N, scan.N)) < 0.8
    image = np.ones((51, 60), dtype=np.complex64)
    return Scan(scan.counts, scan.positions, scan.probe, image, mask, 2e-8, ("as read",))


FRAMES = "square frames (n, N, N) with even N are needed."
CROP = "--crop 14 keeps the middle 14 x 14 pixels."
EACH = "one (y, x) for each of 12 frames is needed."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"counts": np.ones((12, 16))}, f"diffraction: shape (12, 16); {FRAMES}"),
        ({"counts": np.ones((12, 16, 14))}, f"diffraction: shape (12, 16, 14); {FRAMES[:-1]}: {CROP}"),
        ({"counts": np.ones((12, 15, 15))}, f"diffraction: shape (12, 15, 15); {FRAMES[:-1]}: {CROP}"),
        ({"counts": np.ones((12, 0, 0))}, f"diffraction: shape (12, 0, 0); {FRAMES}"),
        ({"counts": np.ones((0, 16, 16))}, "diffraction: no frames; at least one is needed."),
        ({"counts": spoiled("counts", (3, 4, 5), math.nan)}, f"diffraction: NaN or infinity in frame 3; {MARK_THEM}."),
        ({"counts": spoiled("counts", (3, 4, 5), math.inf)}, f"diffraction: NaN or infinity in frame 3; {MARK_THEM}."),
        (
            {"counts": spoiled("counts", (3, 4, 5), -2)},
            f"diffraction: negative counts (-2.0) in frame 3; {MARK_THEM}.",
        ),
        ({"positions": np.ones((11, 2))}, f"positions: shape (11, 2); {EACH}"),
        ({"positions": np.ones((2, 12))}, f"positions: shape (2, 12); {EACH}"),
        (
            {"positions": spoiled("positions", (7, 1), math.nan)},
            "positions: frame 7 has a position that is not a finite number.",
        ),
        (
            {"probe": np.ones((16, 16))},
            "probe: shape (16, 16); (modes, 16, 16) is needed, as large as the frames.",
        ),
        (
            {"probe": np.ones((1, 32, 32))},
            "probe: shape (1, 32, 32); (modes, 16, 16) is needed, as large as the frames.",
        ),
        ({"probe": spoiled("probe", (0, 2, 2), math.nan)}, "probe: holds NaN or infinity."),
        ({"probe": np.zeros((1, 16, 16))}, "probe: is zero everywhere; an illumination is needed."),
        ({"object": np.ones((1, 50, 50))}, "object: shape (1, 50, 50); (H, W) is needed."),
        ({"object": np.full((50, 50), math.inf)}, "object: holds NaN or infinity."),
        (
            {"good_pixels": np.ones((16, 15), dtype=bool)},
            "bad_pixels: shape (16, 15); the frames are (16, 16).",
        ),
    ],
)
def test_every_contract_is_refused_by_name(changes, sentence):
    with pytest.raises(PtychoError) as error:
        scan(**changes)
    assert str(error.value) == sentence


def test_a_complaint_about_a_long_scan_says_where_to_look():
    counts = np.ones((2100, 2, 2))
    counts[1030, 0, 1] = math.nan
    with pytest.raises(PtychoError, match="in frame 1030"):
        Scan(counts, np.ones((2100, 2)), np.ones((1, 2, 2)))


@pytest.mark.parametrize(
    "index",
    [slice(1, None, 3), np.array([5, 0, 5]), np.arange(COUNT) % 2 == 0],
    ids=["slice", "indices", "mask"],
)
def test_subset_keeps_frames_and_positions_together(index):
    whole = everything(scan())
    part = whole.subset(index)
    kept = np.arange(COUNT)[index]
    assert len(part) == len(kept)
    np.testing.assert_array_equal(part.counts, whole.counts[kept])
    np.testing.assert_array_equal(part.positions, whole.positions[kept])
    for name in ("probe", "object", "good_pixels", "pixel_size_m", "notes"):
        assert getattr(part, name) is getattr(whole, name)


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.8])
def test_split_cuts_between_positions(axis, fraction):
    whole = scan(counts=np.arange(COUNT)[:, None, None] * np.ones((1, SIZE, SIZE), dtype=int))
    low, high = whole.split(axis, fraction)
    assert len(low) == round(fraction * COUNT)
    column = "yx".index(axis)
    assert low.positions[:, column].max() <= high.positions[:, column].min()
    # Every frame is in one part, in its old order and with its own position.
    members = [part.counts[:, 0, 0] for part in (low, high)]
    assert sorted(np.concatenate(members)) == list(range(COUNT))
    for part, frames in zip((low, high), members, strict=True):
        assert (np.diff(frames) > 0).all()
        np.testing.assert_array_equal(part.positions, whole.positions[frames])


@pytest.mark.parametrize(("axis", "fraction"), [("z", 0.5), ("", 0.5), ("yx", 0.5), ("y", 0.0), ("x", 1.0)])
def test_split_refuses_what_cuts_nothing(axis, fraction):
    with pytest.raises(PtychoError, match="axis y or x and 0 < fraction < 1 are needed"):
        scan().split(axis, fraction)


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("gap", [0.0, 3.0, 11.0])
def test_split_keeps_parts_apart_and_leaves_out_what_is_closer_to_the_cut(axis, gap):
    whole = scan()
    low, high = whole.split(axis, gap=gap)
    along = whole.positions[:, "yx".index(axis)]
    cut = np.median(along)  # of an even number of frames: midway between the two in the middle
    assert list(low.numbers) == list(np.flatnonzero(along <= cut - gap / 2))
    assert list(high.numbers) == list(np.flatnonzero(along >= cut + gap / 2))
    between = high.positions[:, "yx".index(axis)].min() - low.positions[:, "yx".index(axis)].max()
    assert between >= gap - 1e-9
    assert len(low) + len(high) == COUNT - (abs(along - cut) < gap / 2).sum()


@pytest.mark.parametrize("gap", [1e3, np.inf, np.nan])
def test_split_refuses_a_part_without_frames(gap):
    with pytest.raises(PtychoError, match=r"0 and 0 of 12 frames would be left .* smaller gap"):
        scan().split("y", gap=gap)
    with pytest.raises(PtychoError, match="0 and 1 of 1 frames would be left"):
        scan().subset(slice(0, 1)).split("y")


@pytest.mark.parametrize(("size", "radius"), [(SIZE, 4.0), (SIZE, 1.0), (32, 6.0)])
@pytest.mark.parametrize("low", [20.0, 20.3, 20.5, 20.999])
def test_frames_a_clear_distance_apart_light_no_pixel_in_common(size, radius, low):
    found = scan(counts=np.ones((COUNT, size, size)), probe=curved_disc(size, radius, 2.0, softness=0.2).numpy())
    assert 2 * radius < found.clear_distance <= size + 1
    lit = torch.zeros(1, size, size)
    inner = slice(size // 2 - found.support // 2, size // 2 + found.support // 2)
    lit[:, inner, inner] = 1
    intensity = probe_intensity(torch.from_numpy(found.probe))
    assert intensity[inner, inner].sum() >= 0.998 * intensity.sum()
    pixels = [
        place_patches(lit, torch.tensor([[y, 30.25]], dtype=torch.float64), (90, 60)) > 0
        for y in (low, low + found.clear_distance)
    ]
    assert pixels[0].any() and pixels[1].any()
    assert not (pixels[0] & pixels[1]).any()


@pytest.mark.parametrize(("swap_xy", "flip_x", "flip_y"), list(itertools.product([False, True], repeat=3)))
def test_move_swaps_then_mirrors(swap_xy, flip_x, flip_y):
    whole = scan()
    moved = whole.move(swap_xy=swap_xy, flip_x=flip_x, flip_y=flip_y).positions
    expected = whole.positions[:, ::-1] if swap_xy else whole.positions
    for axis, flip in enumerate([flip_y, flip_x]):
        column = expected[:, axis]
        low, high = column.min(), column.max()
        np.testing.assert_allclose(moved[:, axis], low + high - column if flip else column)
        assert (moved[:, axis].min(), moved[:, axis].max()) == pytest.approx((low, high))


@pytest.mark.parametrize("name", ["swap_xy", "flip_x", "flip_y"])
def test_moving_twice_is_where_it_was(name):
    whole = scan()
    np.testing.assert_allclose(whole.move(**{name: True}).move(**{name: True}).positions, whole.positions)


def test_move_drops_the_object_and_says_so():
    whole = everything(scan())
    assert whole.move() is whole
    moved = whole.move(flip_x=True)
    assert moved.object is None
    assert moved.notes == ("as read", "objectGuess dropped: the positions were swapped or mirrored.")
    assert scan().move(flip_x=True).notes == ()
    assert moved.counts is whole.counts


def smooth_object(shape: tuple[int, int]) -> np.ndarray:
    """Vacuum at the edges, smooth inside: its transform ends well before a quarter of a cycle per pixel."""
    rng = np.random.default_rng(3)
    phase, loss = (ndimage.gaussian_filter(rng.standard_normal(shape), 5.0, mode="constant") for _ in range(2))
    y, x = (np.hanning(length) for length in shape)
    window = np.sqrt(y[:, None] * x)
    return np.exp(window * (1j * phase / phase.std() - 0.2 * np.abs(loss) / loss.std())).astype(np.complex64)


def smooth_probe(photons: float, size: int = 64) -> np.ndarray:
    """Two Gaussian modes with a curved wavefront."""
    y, x = np.mgrid[:size, :size] - size // 2
    first = np.exp(-(x**2 + y**2) / (2 * 6.0**2) + 0.004j * (x**2 + y**2))
    modes = np.stack([first, 0.1 * x * first]).astype(np.complex64)
    return modes * np.float32(math.sqrt(photons / (np.abs(modes) ** 2).sum()))


def expected_counts(of: Scan) -> torch.Tensor:
    """What probe, object and positions of a scan say its counts should be."""
    image, positions = torch.from_numpy(of.object), torch.from_numpy(of.positions)
    return diffract(torch.from_numpy(of.probe), extract_patches(image, positions, of.N))


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("shape", [(128, 112), (127, 114)], ids=["multiple of N / size", "padded"])
def test_a_cropped_scan_is_explained_by_its_cropped_parts(size, shape):
    """On whole pixels of both grids nothing is interpolated, and the two models agree to rounding."""
    places = np.random.default_rng(4).integers(8, 20, (10, 2)) * 4.0
    whole = Scan(np.zeros((10, 64, 64)), places, smooth_probe(1e6), smooth_object(shape))
    counts = expected_counts(whole)
    cropped = Scan(counts.numpy(), places, whole.probe, whole.object).crop(size)
    # The premise: nearly all light falls inside what is kept.
    assert cropped.photons > 0.9999 * float(counts.sum()) / 10
    error = np.abs(expected_counts(cropped).numpy() - cropped.counts).sum() / cropped.counts.sum()
    assert error < 1e-4
    np.testing.assert_allclose(probe_power(torch.from_numpy(cropped.probe)).sum(), 1e6, rtol=1e-4)


def test_a_measured_scan_is_explained_as_well_after_a_crop():
    """Between pixels too, at the noise: the deviance per pixel of the cropped model is that of the full one."""
    places = np.random.default_rng(4).uniform(32, 76, (40, 2))
    whole = simulate(smooth_object((128, 112)), smooth_probe(1e4), places, seed=1, interpolation="cubic")
    cropped = whole.crop(32)
    inside = expected_counts(whole)[:, 16:48, 16:48].double()
    counts = torch.from_numpy(cropped.counts).double()
    before = float(poisson_deviance(inside, counts).mean())
    after = float(poisson_deviance(expected_counts(cropped).double(), counts).mean())
    assert after == pytest.approx(before, rel=0.1)
    # A model that is half a pixel off does worse, so the comparison says something.
    moved = Scan(cropped.counts, cropped.positions + 0.5, cropped.probe, cropped.object)
    assert poisson_deviance(expected_counts(moved).double(), counts).mean() > 1.5 * before


def test_crop_keeps_the_middle_and_rescales_lengths():
    whole = everything(scan())
    assert whole.crop(SIZE) is whole
    cropped = whole.crop(8)
    np.testing.assert_array_equal(cropped.counts, whole.counts[:, 4:12, 4:12])
    np.testing.assert_array_equal(cropped.good_pixels, whole.good_pixels[4:12, 4:12])
    np.testing.assert_allclose(cropped.positions, whole.positions / 2)
    assert cropped.probe.dtype == cropped.object.dtype == np.complex64
    assert cropped.object.shape == (26, 30)
    np.testing.assert_allclose(cropped.object, 1, atol=1e-6)
    assert cropped.pixel_size_m == 4e-8
    assert cropped.notes == ("as read", "Detector cropped from 16 to 8: object pixels are 2x larger.")


@pytest.mark.parametrize("size", [-8, 0, 6, 9, 15, 18])
def test_crop_refuses_sizes_that_do_not_fit(size):
    with pytest.raises(PtychoError, match=rf"^crop: {size} given; an even number from 8 to 16 is needed\.$"):
        scan().crop(size)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("index", [slice(2, 9), np.array([4, 0, 4])], ids=["slice", "indices"])
def test_frames_are_floats_without_bad_pixels(dtype, index):
    whole = everything(scan(counts=1 + fields()["counts"].astype(dtype)))
    frames = whole.frames(index)
    assert frames.dtype == torch.float32
    np.testing.assert_array_equal(frames, np.where(whole.good_pixels, whole.counts[index], 0))
    assert whole.counts.min() > 0


def test_photons_are_the_mean_over_good_pixels():
    counts = np.random.default_rng(2).poisson(3.0, (1500, 2, 2))
    parts = {"counts": counts, "positions": np.ones((1500, 2)), "probe": np.ones((1, 2, 2))}
    assert Scan(**parts).photons == pytest.approx(counts.sum() / 1500)
    mask = np.array([[True, False], [True, True]])
    assert Scan(**parts, good_pixels=mask).photons == pytest.approx(counts[:, mask].sum() / 1500)


@pytest.mark.parametrize(("radius", "softness"), [(2.0, 0.3), (4.0, 0.3), (9.0, 0.3), (5.0, 2.0)])
def test_support_is_the_smallest_square_with_the_light(radius, softness):
    probe = curved_disc(48, radius, softness=softness).numpy()
    support = Scan(np.ones((1, 48, 48)), np.ones((1, 2)), probe).support
    assert support % 4 == 0
    share = {}
    for edge in (support - 4, support):
        keep = slice(24 - edge // 2, 24 + edge // 2)
        share[edge] = float((np.abs(probe[:, keep, keep]) ** 2).sum())
    assert share[support] >= 0.998
    assert support == 8 or share[support - 4] < 0.998
    assert 2 * radius <= support <= 2 * radius + 4 + 10 * softness


def test_support_of_a_probe_that_fills_the_frame_is_the_frame():
    assert scan(probe=np.ones((2, SIZE, SIZE), dtype=np.complex64)).support == SIZE


@pytest.mark.parametrize("seed", range(3))
def test_scan_box_is_the_whole_pixels_between_the_positions(seed):
    positions = np.random.default_rng(seed).uniform(10, 40, (COUNT, 2))
    positions[0] = np.round(positions[0])
    for axis, box in enumerate(scan(positions=positions).scan_box):
        low, high = positions[:, axis].min(), positions[:, axis].max()
        expected = [pixel for pixel in range(60) if low <= pixel <= high]
        assert list(range(60))[box] == expected


@pytest.mark.parametrize("low", [8, 0, -30], ids=["at zero", "beyond it", "negative"])
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.999])
def test_canvas_is_the_smallest_that_holds_every_patch(low, shift):
    whole = scan(positions=shift + np.random.default_rng(5).integers(low, low + 32, (COUNT, 2)))
    origin, shape, places = whole.canvas_origin, whole.canvas_shape, whole.canvas_positions
    assert all(isinstance(number, int) for number in (*origin, *shape))
    np.testing.assert_allclose(places + torch.tensor(origin), whole.positions)
    assert bool((extract_patches(torch.ones(shape), places, SIZE) == 1).all())
    # Two pixels less along either axis, or one off its start, cut a patch.
    for smaller in ((shape[0] - 2, shape[1]), (shape[0], shape[1] - 2)):
        assert bool((extract_patches(torch.ones(smaller), places, SIZE) < 1).any())
    for step in ([1, 0], [0, 1]):
        assert bool((extract_patches(torch.ones(shape), places - torch.tensor(step), SIZE) < 1).any())

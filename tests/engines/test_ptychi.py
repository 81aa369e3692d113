"""Engines of pty-chi: truth in our frame, absolute scale, a clean process, and plain words when it fails."""

import builtins
import logging
import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ptychopinn import api
from ptychopinn.config import BaselineConfig
from ptychopinn.engines import ptychi
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.evaluation.metrics import score
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.probe import curved_disc
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, siemens_star, simulate, smooth_lines
from tests.helpers import RUN1084, needs_run1084

ENGINES = ("lsqml", "rpie", "epie", "dm", "autodiff")


def two_modes() -> np.ndarray:
    """A disc and, at right angles to nothing in particular, a weaker and narrower one."""
    wide, narrow = curved_disc(32, 7.0, 2.5)[0], curved_disc(32, 4.0, -1.0)[0]
    return torch.stack([wide, 0.3 * narrow]).numpy()


@pytest.fixture(scope="module")
def scan() -> Scan:
    """64 frames of 32 x 32 pixels beside the centre of a star, at sub-pixel positions; no copy of it resembles it."""
    positions = raster((80, 80), 32, step=5.5)
    return simulate(siemens_star(140)[10:90, 25:105], curved_disc(32, 7.0, 2.5).numpy(), positions, nphotons=1e6)


def run(scan: Scan, engine: str = "lsqml", epochs: int = 2, **more: Any) -> Reconstruction:
    names = set(BaselineConfig.model_fields)
    config = BaselineConfig(engine=engine, epochs=epochs, **{key: more.pop(key) for key in names & more.keys()})
    return ptychi.reconstruct(scan, config, **more)


def window(scan: Scan, result: Reconstruction) -> np.ndarray:
    return result.window(scan.object.shape)[scan.scan_box]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_truth_is_found_in_our_frame_and_at_our_scale(scan: Scan, engine: str) -> None:
    result = run(scan, engine, epochs=40)
    truth, found = scan.object[scan.scan_box], window(scan, result)
    right = score(found, truth)
    image = result.window(scan.object.shape)
    copies = {
        "down": np.roll(image, 1, 0)[scan.scan_box],
        "up": np.roll(image, -1, 0)[scan.scan_box],
        "right": np.roll(image, 1, 1)[scan.scan_box],
        "left": np.roll(image, -1, 1)[scan.scan_box],
        "mirrored": found[:, ::-1],
        "upside down": found[::-1],
        "turned": found[::-1, ::-1],
        "conjugate": found.conj(),
    }
    for name, copy in copies.items():
        assert right.complex_error < 0.7 * score(copy, truth).complex_error, name
    assert right.phase_mae < 0.12
    assert right.amplitude_mae < 0.04
    assert abs(right.removed_scale - 1) < 0.02
    assert result.object.shape == result.coverage.shape == scan.canvas_shape
    assert result.origin == scan.canvas_origin
    assert len(result.loss) == 40
    assert result.probe is None


def kept_task(scan: Scan, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[Any, Reconstruction]:
    """pty-chi's task beside the result."""
    kept: list[Any] = []
    ran = ptychi._run
    monkeypatch.setattr("ptychopinn.engines.ptychi._run", lambda task, *rest: (kept.append(task), ran(task, *rest))[1])
    result = run(scan, **more)
    return kept[0], result


def test_patterns_are_those_of_ours(scan: Scan) -> None:
    """At whole pixels, where both interpolate nothing; their mean is no whole pixel."""
    scan = simulate(scan.object, two_modes(), scan.positions.round(), nphotons=1e6)
    truth = Reconstruction(scan.object, (0, 0), np.ones(scan.object.shape, np.float32), scan.positions)
    with ptychi._undisturbed():
        task = ptychi._task(ptychi._library(), scan, BaselineConfig(), 0, "cpu", truth)
        with torch.no_grad():
            theirs = torch.fft.fftshift(task.reconstructor.forward_model.forward(torch.arange(9)), dim=(-2, -1))
    patches = [scan.object[y - 16 : y + 16, x - 16 : x + 16] for y, x in scan.positions[:9].astype(int)]
    ours = diffract(torch.from_numpy(scan.probe), torch.from_numpy(np.stack(patches)))
    assert float((theirs - ours).norm() / ours.norm()) < 1e-5


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fixed_probe_stays_to_the_last_bit(scan: Scan, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = replace(scan, probe=two_modes() * 300)
    task, result = kept_task(scan, monkeypatch, engine=engine)
    assert np.array_equal(task.get_data_to_cpu("probe", as_numpy=True)[0], scan.probe / scan.N)
    assert result.probe is None


def test_seeds_repeat_and_differ(scan: Scan) -> None:
    first, second, third = (run(scan, seed=seed).object for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.allclose(first, third, atol=1e-4)


@pytest.mark.parametrize("engine", ["lsqml", "autodiff"])
def test_poisson_noise(scan: Scan, engine: str) -> None:
    result = run(scan, engine, epochs=40, noise_model="poisson")
    assert score(window(scan, result), scan.object[scan.scan_box]).phase_mae < 0.12


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_probe_is_refined_and_keeps_its_power(scan: Scan, engine: str) -> None:
    true = scan.probe
    wrong = replace(scan, probe=curved_disc(32, 8.5, 1.5).numpy() * float(abs(true).sum() / 40))
    wrong = replace(wrong, probe=wrong.probe * np.sqrt((abs(true) ** 2).sum() / (abs(wrong.probe) ** 2).sum()))
    fixed, refined = run(wrong, engine, 10), run(wrong, engine, 30, refine_probe=True)

    def error(probe: np.ndarray) -> float:
        phase = np.vdot(probe, true) / abs(np.vdot(probe, true))
        return float(np.linalg.norm(phase * probe - true) / np.linalg.norm(true))

    assert error(refined.probe) < 0.8 * error(wrong.probe)
    assert refined.deviance < 0.7 * fixed.deviance
    assert (abs(refined.probe) ** 2).sum() == pytest.approx((abs(wrong.probe) ** 2).sum(), rel=1e-3)


def test_wrong_positions_are_corrected(scan: Scan) -> None:
    off = np.random.default_rng(0).normal(0, 0.7, scan.positions.shape)
    off -= off.mean(axis=0)
    wrong = replace(scan, positions=scan.positions + off)
    result = run(wrong, epochs=40, refine_positions=True)
    left = result.positions - scan.positions
    assert np.sqrt((left**2).mean()) < 0.85 * np.sqrt((off**2).mean())
    assert abs(left.mean(axis=0)).max() < 0.01
    assert result.deviance < 0.7 * run(wrong, epochs=15).deviance
    assert result.object.shape == replace(scan, positions=result.positions).canvas_shape


def test_an_earlier_image_is_gone_on_from(scan: Scan) -> None:
    earlier = run(scan, epochs=20)
    later = run(scan, epochs=1, start=earlier)
    assert later.loss[0] < 0.3 * earlier.loss[0]
    with pytest.raises(PtychoError, match=r"init: its image begins at y, x = \(999, 999\)"):
        run(scan, epochs=1, start=replace(earlier, origin=(999, 999)))


def test_the_difference_map_begins_anew_from_its_image(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    half = run(scan, "dm", ptychi.RESTART)
    halves = run(scan, "dm", ptychi.RESTART, start=half)
    whole = run(scan, "dm", 2 * ptychi.RESTART)
    monkeypatch.setattr("ptychopinn.engines.ptychi.RESTART", 1000)
    never = run(scan, "dm", len(whole.loss))
    assert score(window(scan, halves), window(scan, whole)).complex_error < 1e-3
    assert score(window(scan, never), window(scan, whole)).complex_error > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_bad_pixels_do_not_count(scan: Scan, engine: str) -> None:
    counts, good = scan.counts.copy(), np.ones((32, 32), bool)
    counts[:, 10:22, 14:16] = 60000
    good[10:22, 14:16] = False
    first = replace(scan, counts=counts, good_pixels=good)
    other = replace(first, counts=np.where(good, counts, 7))
    assert np.array_equal(run(first, engine).object, run(other, engine).object)


def state() -> tuple[Any, ...]:
    root, own = logging.getLogger(), logging.getLogger("ptychi")
    return (
        *(torch.get_default_device(), torch.get_default_dtype(), torch.get_rng_state().tolist()),
        *(np.random.get_state()[1].tolist(), random.getstate()),  # noqa: NPY002
        *(list(root.handlers), root.level, list(root.filters), own.level, list(sys.modules["warnings"].filters)),
    )


@pytest.mark.parametrize("fails", [False, True])
def test_the_process_is_left_as_it_was(scan: Scan, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state()
    if fails:
        monkeypatch.setattr("ptychopinn.engines.ptychi._run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(scan)
    else:
        run(scan)
    assert state() == before


def test_runs_do_not_touch_each_other(scan: Scan) -> None:
    alone = run(scan, "rpie")
    run(scan.subset(slice(0, 40)), "autodiff", baseline_batch_size=3, refine_probe=True)
    assert np.array_equal(run(scan, "rpie").object, alone.object)


@pytest.mark.parametrize("kind", [ImportError, RuntimeError])
def test_a_missing_library_is_said(scan: Scan, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("ptychi"):
            raise kind("operator torchvision::nms does not exist")
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(PtychoError, match=r"pty-chi cannot be imported \(operator torchvision::nms"):
        run(scan)


def test_nan_is_explained(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(task: Any, *rest: Any) -> None:
        with torch.no_grad():
            task.object.set_data(task.object.data.detach() * np.nan)

    with ptychi._undisturbed():
        monkeypatch.setattr(ptychi._library().Task, "run", spoiled)
    monkeypatch.setattr("ptychopinn.engines.ptychi._last_loss", lambda task: 1.0)
    line = replace(scan, positions=scan.positions * [1e-3, 1] + [30, 0])
    for wrong, words in (
        (line, "the positions span 0.04"),
        (scan.subset(np.r_[0, 0:64]), "frames share a position"),
        (replace(scan, probe=scan.probe * 1e-4), "give a probe in sqrt"),
        (scan, "it diverged"),
    ):
        with pytest.raises(RunFailedError, match=words) as caught:
            run(wrong)
        assert "NaN or infinity in epoch 1" in str(caught.value)


def test_an_engine_that_stops_is_one_sentence(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise RuntimeError("linalg.solve: the matrix\nis singular")

    with ptychi._undisturbed():
        monkeypatch.setattr(ptychi._library().Task, "run", stop)
    with pytest.raises(RunFailedError, match="lsqml: pty-chi stopped in epoch 1: linalg.solve: the matrix is singular"):
        run(scan)


def test_a_scan_that_does_not_determine_its_object_is_warned_about(scan: Scan) -> None:
    lines: list[str] = []
    run(scan.subset(slice(0, 9)), report=lines.append)
    assert lines[0].startswith("Warning: 9 frames hold")
    assert ptychi.doubt(scan) is None
    sparse = simulate(smooth_lines(200, 0), scan.probe, raster((200, 200), 32, step=15.0), nphotons=1e6)
    assert len(sparse) > 60
    assert "unknowns" in ptychi.doubt(sparse)


def test_progress_and_batches(scan: Scan) -> None:
    lines: list[str] = []
    run(scan, epochs=25, report=lines.append)
    assert len(lines) <= ptychi.LINES + 2
    assert lines[0].startswith("epoch 1 of 25: loss ")
    assert lines[-1].startswith("epoch 25 of 25: loss ")
    assert [ptychi.usual_batch_size(n) for n in (1, 64, 256, 5000)] == [1, 7, 26, 100]


def test_what_cannot_be_combined_is_refused(scan: Scan) -> None:
    with pytest.raises(PtychoError, match="noise_model: poisson given with engine dm"):
        run(scan, "dm", noise_model="poisson")
    with pytest.raises(PtychoError, match="accelerator: mps given"):
        run(scan, device="mps")
    with pytest.raises(PtychoError, match="at one position"):
        run(scan.subset(slice(0, 1)))


LIMITS = {"lsqml": 0.018, "epie": 0.063, "dm": 0.159, "rpie": 0.0225, "autodiff": 0.0195}
"""Phase MAE in rad, 1.5 times what docs/results.md calls the reference."""


@pytest.mark.slow
@needs_run1084
@pytest.mark.parametrize("engine", ENGINES)
def test_run1084(engine: str) -> None:
    scan = api.simulate(RUN1084, nphotons=1e6, interpolation="cubic")
    result = run(scan, engine, epochs=100)
    found = score(window(scan, result), scan.object[scan.scan_box])
    print(f"\n{engine}: {found}, deviance {result.deviance:.3g}, {result.seconds}")
    assert found.phase_mae <= LIMITS[engine]


@pytest.mark.parametrize("more", [{}, {"position_correction": "cross_correlation"}, {"affine_positions": True}])
def test_positions_come_nearer_in_the_chosen_way(scan: Scan, more: dict[str, Any]) -> None:
    error = np.random.default_rng(0).normal(size=scan.positions.shape) * 0.7
    wrong = replace(scan, positions=scan.positions + error - error.mean(axis=0))
    found = run(wrong, epochs=20, refine_positions=True, **more)
    assert np.std(found.positions - scan.positions) < np.std(error)
    default = run(wrong, epochs=20, refine_positions=True)
    assert not more or not np.allclose(found.positions, default.positions, atol=1e-3)


def test_what_an_engine_cannot_do_with_positions_is_refused(scan: Scan) -> None:
    with pytest.raises(PtychoError, match="dm knows gradient only"):
        run(scan, "dm", refine_positions=True, position_correction="cross_correlation")
    with pytest.raises(PtychoError, match="affine_positions: has no effect without refine_positions"):
        run(scan, affine_positions=True)

"""Each execution setting does what its name says, in a real training."""

import csv
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ptychopinn import api
from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import Run, load_run, save_run
from ptychopinn.physics.probe import circular_mask, curved_disc
from ptychopinn.training.train import train

SMALL = {
    "n_filters_scale": 0.25,
    "stages": 1,
    "depth": 1,
    "nepochs": 2,
    "batch_size": 8,
    "teacher_epochs": 3,
    "synthetic_fraction": 0.0,
    "val_fraction": 0.1,
    "accelerator": "cpu",
}


def fit(scan, folder: Path | None = None, **changes: Any) -> Run:
    return train(scan, Settings.of(SMALL | changes), folder)


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


def weights_of(run: Run) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


def step_sizes(scan, folder: Path, scheduler: str) -> list[float]:
    """Learning rate at the end of every epoch, from the checkpoints of a run of 8 epochs."""
    fit(scan, folder, scheduler=scheduler, nepochs=8, save_top_k=-1, learning_rate=1e-2)
    paths = sorted((folder / "checkpoints").glob("epoch*.ckpt"))
    states = [torch.load(path, weights_only=True)["optimizer_states"][0] for path in paths]
    return [state["param_groups"][0]["lr"] for state in states]


def test_schedules(tiny_scan, tmp_path, monkeypatch):
    monkeypatch.setattr("ptychopinn.training.module.WARMUP_STEPS", 8)
    rates = {name: step_sizes(tiny_scan, tmp_path / name, name) for name in ("constant", "exponential", "multistep")}
    assert rates["constant"] == [1e-2] * 8
    ratios = [later / earlier for earlier, later in zip(rates["exponential"], rates["exponential"][1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * 7, rel=1e-6)
    assert ratios[0] == pytest.approx(0.005 ** (1 / 8), rel=1e-6)
    assert sorted({round(1e-2 / rate) for rate in rates["multistep"]}) == [1, 3, 9, 27]
    cosine = step_sizes(tiny_scan, tmp_path / "cosine", "warmup_cosine")
    assert max(cosine) == cosine[0]
    assert cosine[-1] < 0.05 * cosine[0]


def test_plateau_lowers_the_step_size_when_nothing_improves(tiny_scan, tmp_path):
    fit(tiny_scan, tmp_path, scheduler="plateau", nepochs=7, mode="max")
    state = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert state["param_groups"][0]["lr"] < SMALL.get("learning_rate", 2e-3)


def test_accumulated_batches_equal_the_larger_batch(tiny_scan):
    # The loss of a batch is a mean, so equal parts of a batch must average to the whole.
    same = {"val_fraction": 0.0, "nepochs": 1, "gradient_clip_val": None}
    whole = fit(tiny_scan, batch_size=16, **same)
    parts = fit(tiny_scan, batch_size=8, accumulate_grad_batches=2, **same)
    assert torch.allclose(weights_of(whole), weights_of(parts), atol=1e-5)
    other = fit(tiny_scan, batch_size=8, **same)
    assert not torch.allclose(weights_of(whole), weights_of(other), atol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_stop_within_an_epoch_changes_no_weight(tiny_scan, tmp_path, accumulate):
    values = SMALL | {"nepochs": 3, "synthetic_fraction": 0.5, "accumulate_grad_batches": accumulate}

    def interrupt(line: str) -> None:
        if line.startswith("epoch 1/"):
            os.kill(os.getpid(), signal.SIGTERM)

    settings = Settings.of(values)
    with pytest.raises(RunFailedError, match="stopped by SIGTERM after step .*--resume"):
        train(tiny_scan, settings, tmp_path, interrupt)
    stopped = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert stopped["epoch"] == 1
    resumed = train(tiny_scan, settings, tmp_path, resume=True)
    whole = fit(tiny_scan, **values)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]


def test_gradient_clipping_shortens_the_first_step(tiny_scan):
    # AdamW is blind to the scale of its gradient but for its epsilon: a tiny limit makes that matter.
    free, tied = (fit(tiny_scan, nepochs=1, gradient_clip_val=limit) for limit in (None, 1e-10))
    assert tied.history[-1]["train_loss"] > free.history[-1]["train_loss"]


@pytest.mark.parametrize(("keep", "expected"), [(1, {"best.ckpt", "last.ckpt"}), (0, {"last.ckpt"})])
def test_save_top_k(tiny_scan, tmp_path, keep, expected):
    fit(tiny_scan, tmp_path, save_top_k=keep)
    assert checkpoints(tmp_path) == expected


def test_all_checkpoints(tiny_scan, tmp_path):
    fit(tiny_scan, tmp_path, save_top_k=-1)
    assert checkpoints(tmp_path) == {"epoch0000.ckpt", "epoch0001.ckpt", "last.ckpt"}


def test_no_checkpoints(tiny_scan, tmp_path):
    fit(tiny_scan, tmp_path, enable_checkpointing=False)
    assert not (tmp_path / "checkpoints").exists()


def test_patience_ends_a_run_that_no_longer_improves(tiny_scan):
    run = fit(tiny_scan, nepochs=10, early_stop_patience=1, mode="max")
    assert len(run.history) < 10


def test_monitor_falls_back_to_the_training_loss_and_says_so(tiny_scan, tmp_path):
    lines: list[str] = []
    settings = Settings.of(SMALL | {"val_fraction": 0.0, "early_stop_patience": 5})
    run = train(tiny_scan, settings, tmp_path, lines.append)
    assert "monitor: nothing is validated, so train_loss stands in for val_loss." in lines
    best = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
    monitor = next(state for name, state in best["callbacks"].items() if "ModelCheckpoint" in name)
    assert "train_loss" in str(monitor["monitor"])
    assert "val_loss" not in run.history[-1]


def test_monitor_decides_which_weights_are_kept(tiny_scan, tmp_path):
    # The patch error alone is trained on: the likelihood may be best elsewhere, but it is what is asked for.
    run = fit(tiny_scan, tmp_path, monitor="val_nll", mode="max", nepochs=4)
    best = max(run.history, key=lambda row: row["val_nll"])
    assert torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["epoch"] == best["epoch"] - 1
    with pytest.raises(PtychoError, match="monitor: val_nll is not computed"):
        fit(tiny_scan, monitor="val_nll", nll_weight=0.0)


def test_csv_log(tiny_scan, tmp_path):
    run = fit(tiny_scan, tmp_path)
    with (tmp_path / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["train_loss"]]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["val_loss"]) for row in rows] == [row["val_loss"] for row in run.history]


def test_tensorboard_log(tiny_scan, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(tiny_scan, tmp_path, logger="tensorboard")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(events.Scalars("train_loss")) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_mlflow_log(tiny_scan, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    fit(tiny_scan, tmp_path, logger="mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("ptychopinn").experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 2


def test_a_logger_that_is_not_installed(tiny_scan, tmp_path, monkeypatch):
    monkeypatch.setattr("ptychopinn.training.plan.find_spec", lambda name: None)
    with pytest.raises(PtychoError, match="mlflow is not installed"):
        fit(tiny_scan, tmp_path, logger="mlflow")


def test_no_log(tiny_scan, tmp_path):
    fit(tiny_scan, tmp_path, logger="none")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints"}


def test_workers_give_the_same_numbers(tiny_scan):
    alone = fit(tiny_scan, nepochs=1)
    helped = fit(tiny_scan, nepochs=1, num_workers=2, persistent_workers=True, prefetch_factor=2)
    assert torch.equal(weights_of(alone), weights_of(helped))


def test_pinned_memory_is_for_a_gpu(tiny_scan):
    with pytest.raises(PtychoError, match="pin_memory: page-locked batches are for a GPU"):
        fit(tiny_scan, pin_memory=True)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_pinned_memory_changes_no_number(tiny_scan):
    plain, pinned = (fit(tiny_scan, nepochs=1, accelerator="cuda", pin_memory=pin) for pin in (False, True))
    assert torch.allclose(weights_of(plain), weights_of(pinned), atol=1e-4)


def test_a_larger_step_size_moves_the_weights_further(tiny_scan):
    start, near, far = (fit(tiny_scan, nepochs=1, learning_rate=rate) for rate in (1e-9, 1e-4, 1e-2))
    assert (weights_of(near) - weights_of(start)).norm() < 0.1 * (weights_of(far) - weights_of(start)).norm()


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tiny_scan):
    plain, compiled = (fit(tiny_scan, nepochs=1, compile_network=choice) for choice in (False, True))
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    assert torch.allclose(weights_of(plain), weights_of(compiled), rtol=0, atol=1e-3)


def test_something_must_be_learnt(tiny_scan):
    with pytest.raises(PtychoError, match="nothing would be learnt"):
        fit(tiny_scan, nll_weight=0.0, realspace_weight=0.0)


@pytest.mark.parametrize(("devices", "words"), [(3, "batch_size: 8 groups cannot be shared by 3 devices")])
def test_devices_must_share_a_batch(tiny_scan, devices, words):
    with pytest.raises(PtychoError, match=words):
        fit(tiny_scan, devices=devices)


def test_workers_are_needed_for_what_they_do(tiny_scan):
    with pytest.raises(PtychoError, match="num_workers"):
        fit(tiny_scan, prefetch_factor=2)


def test_half_precision_is_close_and_not_the_same(tiny_scan):
    full, half = (fit(tiny_scan, precision=kind) for kind in ("32-true", "bf16-mixed"))
    assert not torch.equal(weights_of(full), weights_of(half))
    assert half.history[-1]["train_loss"] == pytest.approx(full.history[-1]["train_loss"], rel=0.1)


def test_half_precision_of_a_gpu_is_refused_on_a_cpu(tiny_scan):
    with pytest.raises(PtychoError, match="16-mixed needs a GPU"):
        fit(tiny_scan, precision="16-mixed")


def test_deterministic_runs_repeat(tiny_scan):
    before = torch.are_deterministic_algorithms_enabled()
    first, second = (fit(tiny_scan, nepochs=1, deterministic=True) for _ in range(2))
    assert torch.equal(weights_of(first), weights_of(second))
    assert torch.are_deterministic_algorithms_enabled() == before


@pytest.mark.parametrize("activation", ["exp", "relu"])
def test_activations_learn(tiny_scan, activation):
    run = fit(tiny_scan, amp_activation=activation, nepochs=4, learning_rate=1e-2)
    assert run.history[-1]["train_loss"] < 0.8 * run.history[0]["train_loss"]


def test_supervised_training_uses_the_object_and_nothing_else(tiny_scan):
    run = fit(tiny_scan, model_type="supervised", nll_weight=0.0, nepochs=8, learning_rate=1e-2)
    assert run.history[-1]["val_patch_error"] < 0.5 * run.history[0]["train_patch_error"]
    assert "train_nll" not in run.history[-1]
    assert abs(infer(run, tiny_scan).object).max() > 0


def test_supervised_training_needs_an_object(tiny_scan):
    with pytest.raises(PtychoError, match="objectGuess"):
        fit(replace(tiny_scan, object=None), model_type="supervised")


@pytest.mark.parametrize(("weight", "name"), [("mae_weight", "mae"), ("realspace_mae_weight", "patch_mae")])
def test_further_losses_add_to_the_loss(tiny_scan, weight, name):
    run = fit(tiny_scan, nepochs=1, nll_weight=0.0, realspace_weight=0.0, **{weight: 2.0})
    row = run.history[-1]
    assert row[f"train_{name}"] > 0
    assert row["train_loss"] == pytest.approx(2 * row[f"train_{name}"], rel=1e-5)


def test_a_smoother_image_with_total_variation(tiny_scan):
    plain, smooth = (fit(tiny_scan, nepochs=4, learning_rate=1e-2, tv_weight=weight) for weight in (0.0, 1.0))

    def roughness(run):
        return float(abs(torch.from_numpy(infer(run, tiny_scan).object[20:-20, 20:-20]).diff()).mean())

    assert roughness(smooth) < roughness(plain)


def test_a_trained_probe_comes_closer_to_the_true_one(tiny_scan, tmp_path):
    wrong = curved_disc(32, 7.0, 1.9).numpy() * math.sqrt((abs(tiny_scan.probe) ** 2).sum())
    values = {"probe_trainable": True, "nepochs": 25, "learning_rate": 5e-3, "val_fraction": 0.0}
    given = replace(tiny_scan, probe=wrong)
    run = fit(given, **{**values, "teacher_epochs": None, "synthetic_fraction": None})
    assert "train_loss" in run.history[-1]
    assert run.history[-1]["train_patch_error"] == 0

    def error(probe: Any) -> float:
        probe, true = torch.as_tensor(probe), torch.from_numpy(tiny_scan.probe)
        phase = (probe * true.conj()).sum().sgn()
        return float((probe - phase * true).norm() / true.norm())

    assert error(run.illumination.probe) < 0.9 * error(wrong)
    assert (run.illumination.probe.abs() ** 2).sum() == pytest.approx((abs(wrong) ** 2).sum(), rel=1e-5)
    # The image is made with the probe that was learnt.
    save_run(tmp_path, run)
    fixed = infer(fit(given, **values | {"probe_trainable": False}), given).deviance
    assert infer(load_run(tmp_path), given).deviance < fixed
    with pytest.raises(PtychoError, match="frames of 16 pixels, but the run trained a probe of 32"):
        infer(run, tiny_scan.crop(16))


def test_a_masked_probe_stays_masked_while_it_trains(tiny_scan):
    scan = tiny_scan.mask_probe(12.0)
    values = {"probe_trainable": True, "probe_mask": True, "probe_mask_diameter": 12.0, "learning_rate": 5e-2}
    probe = fit(scan, **values).illumination.probe
    outside = circular_mask(32, 10.0) == 0
    assert not torch.equal(probe, torch.from_numpy(scan.probe))
    assert probe[0, outside].abs().max() < 0.03 * probe.abs().max()


def test_the_frames_used_are_stored_with_the_run(tiny_scan, tmp_path):
    write_npz(tmp_path / "scan.npz", tiny_scan)
    scan = api.read_scan(tmp_path / "scan.npz", every=2, n_subsample=25, subsample_seed=3)
    assert (scan.numbers % 2 == 0).all()
    run = fit(scan)
    save_run(tmp_path, run)
    loaded = load_run(tmp_path)
    for found in (run, loaded):
        assert found.frames.tolist() == scan.numbers.tolist()
        assert set(found.held_out) < set(found.frames)
        assert len(found.held_out) == round(0.1 * 25)
    whole = api.read_scan(tmp_path / "scan.npz")
    assert (whole.counts[loaded.frames] == scan.counts).all()

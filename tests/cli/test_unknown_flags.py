"""A flag that a command does not have is answered with the line to type."""

import pytest
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.cli.older_names import RENAMED, VALUES
from ptychopinn.config import Settings

TYPED = {
    "train s.npz --out o --max_epochs 5": "--max_epochs: no flag of 'train'; type --nepochs 5.",
    "train s.npz --out o --epochs=5": "type --nepochs 5.",
    "train s.npz --out o --learning_rate 1e-3": "type --learning-rate 1e-3.",
    "train s.npz --out o --n_images 512": "type --n-subsample 512.",
    "train s.npz --out o --torch-num-workers 4": "type --num-workers 4.",
    "train s.npz --out o --torch-accelerator gpu": "type --accelerator cuda.",
    "train s.npz --out o --torch-scheduler ReduceLROnPlateau": "type --scheduler plateau.",
    "train s.npz --out o --no-checkpointing": "type --disable-checkpointing.",
    "train s.npz --out o --probe-trainable": "type --set probe_trainable=true.",
    "train s.npz --out o --no-pin-memory": "type --set pin_memory=false.",
    "train s.npz --out o --checkpoint-save-top-k -1": "type --set save_top_k=-1.",
    "train s.npz --out o --prefetch_factor": "type --set prefetch_factor=VALUE.",
    "train s.npz --out o --nepoch 4": "did you mean --nepochs 4?",
    "train s.npz --out o --num-worker 4": "did you mean --num-workers 4?",
    "train s.npz --out o --persistent-worker": "did you mean --set persistent_workers=true?",
    "train s.npz --out o --output_dir a": "type --out a.",
    "train s.npz --out o --backend pytorch": "not needed",
    "train s.npz --out o --frobnicate": "'ptychopinn train --help' lists them",
    "infer r s.npz --out o --learning-rate 1": "has no effect in 'infer'; it is a setting of 'train', 'pretrain'.",
    "infer r s.npz --out o --gridsize 2": "has no effect in 'infer'; it is a setting of 'train', 'overlap'.",
    "infer r s.npz --out o --max_seconds 3": "type --max-seconds 3.",
    "compare s.npz --out o --pinn_dir run": "type --pinn run.",
    "study run --out o --dry_run": "no flag of 'study run'; type --dry-run.",
    "simulate s.npz --n-images 100": "--object-size",
}


def refused(line: str) -> str:
    """What is said of a call that is refused, one line."""
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2, result.output
    assert result.output.startswith("ptychopinn: "), result.output
    assert result.output.count("\n") == 1, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("line", TYPED)
def test_an_unknown_flag_is_answered_with_what_to_type(line: str) -> None:
    assert TYPED[line] in refused(line)


def test_all_unknown_flags_are_answered_at_once() -> None:
    said = refused("train s.npz --out o --max_epochs 5 --seed 3 --logger_backend none --set --mae_weight=1")
    assert "type --nepochs 5. --logger_backend: no flag of 'train'; type --logger none." in said
    assert "mae_weight" not in said, "the value of --set is no flag"


@pytest.mark.parametrize("line", ["train s.npz --out o --max_epochs 5", "infer r s.npz --out o --n_images 9"])
def test_the_advice_is_a_call_that_is_understood(line: str) -> None:
    flag = line.split()[-2]
    better = line.replace(f"{flag} {line.split()[-1]}", refused(line).partition("type ")[2].rstrip("."))
    assert refused(better).startswith(("ptychopinn: s.npz: no such file", "ptychopinn: r: no such file"))


def test_a_switch_takes_no_value() -> None:
    said = refused("train s.npz --out o --deterministic true")
    assert "--deterministic: is a switch and takes no value, true given" in said
    assert "--no-deterministic" in said


def test_flags_stand_after_the_command() -> None:
    assert "--quiet: no flag here; flags stand after the command" in refused("--quiet train s.npz")


def test_an_assignment_by_another_name_is_refused_with_the_right_one() -> None:
    assert "--set max_epochs: not a setting. Did you mean 'nepochs'?" in refused("train s --out o --set max_epochs=4")


def test_other_names_are_those_of_settings_and_none_is_a_setting_itself() -> None:
    names = set(Settings().flat())
    assert set(RENAMED.values()) | set(VALUES) <= names
    assert not set(RENAMED) & names
    assert all(name == name.lower() for name in RENAMED)


@pytest.mark.parametrize(("setting", "meant"), [(name, value) for name in VALUES for value in VALUES[name].values()])
def test_other_values_mean_values_that_are_taken(setting: str, meant: str) -> None:
    assert Settings.of({setting: meant}).flat()[setting] == meant


def test_a_gpu_is_a_cuda_device() -> None:
    assert Settings.of({"accelerator": "gpu"}).execution.accelerator == "cuda"
    said = refused("train s.npz --out o --accelerator cuda:1")
    assert "accelerator: 'cuda:1' given" in said
    assert "CUDA_VISIBLE_DEVICES" in said

"""Where a training starts: the network of the package, a run, or random weights."""

import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.bundle import load_run, save_run
from ptychopinn.model.pretrained import pretrained
from ptychopinn.training.plan import USUAL_RATE, WHOLE_RATE, check_training
from ptychopinn.training.start import start_of
from ptychopinn.training.train import train


def test_the_network_of_the_package_is_the_usual_start_where_it_fits():
    assert start_of(Settings()) is start_of(Settings.of({"start_from": "package"})) is pretrained()
    assert start_of(Settings.of({"start_from": "scratch"})) is None
    for other in ({"gridsize": 2}, {"stages": 2}, {"model_type": "supervised"}, {"probe_trainable": True}):
        assert start_of(Settings.of(other)) is None, other


def test_the_plan_says_where_a_training_starts(tiny_scan):
    for given, said in (({}, "package"), ({"stages": 2}, "scratch"), ({"start_from": "scratch"}, None)):
        assert check_training(tiny_scan, Settings.of(given)).derived.get("start_from") == said


@pytest.mark.parametrize(
    "changes", [{"stages": 2}, {"n_filters_scale": 0.5}, {"gridsize": 2}, {"features": "amplitude"}]
)
def test_another_network_cannot_start_from_it(changes):
    with pytest.raises(PtychoError, match="start_from: package: has "):
        start_of(Settings.of({"start_from": "package", **changes}))


def test_a_scan_of_few_frames_starts_from_random_weights_unless_asked(tiny_scan):
    few = tiny_scan.subset(slice(0, 7))
    assert check_training(few, Settings()).start is None
    with pytest.raises(PtychoError, match="9 frames asked of a scan of"):
        check_training(few, Settings.of({"start_from": "package"}))


def test_scratch_means_random_weights_and_the_usual_network(tiny_scan):
    plan = check_training(tiny_scan, Settings.of({"start_from": "scratch"}))
    assert plan.start is None
    assert not plan.settings.model.noise_input
    assert plan.settings.execution.learning_rate == USUAL_RATE


def test_a_training_from_trained_weights_is_shorter_and_takes_smaller_steps(tiny_scan):
    fine, scratch = (check_training(tiny_scan, Settings.of(values)) for values in ({}, {"start_from": "scratch"}))
    assert fine.settings.execution.learning_rate == WHOLE_RATE
    assert fine.settings.training.nepochs < 0.5 * scratch.settings.training.nepochs
    assert fine.settings.model.whole
    assert fine.settings.training.batch_size < scratch.settings.training.batch_size


def test_a_run_is_continued_on_another_scan(tiny_scan, tiny_run, tmp_path):
    save_run(tmp_path, tiny_run)
    values = {"start_from": str(tmp_path), "nepochs": 1, "learning_rate": 1e-9, "synthetic_fraction": 0.0}
    run = train(tiny_scan, Settings.of({**values, "teacher_epochs": 0}))
    assert run.settings.model.stages == 2
    for name, value in tiny_run.model.state_dict().items():
        assert torch.allclose(run.model.state_dict()[name], value, atol=1e-6), name
    save_run(tmp_path / "..", run)
    assert load_run(tmp_path / "..").settings.model == run.settings.model


def test_a_run_of_another_network_is_refused(tiny_run, tmp_path):
    save_run(tmp_path, tiny_run)
    with pytest.raises(PtychoError, match="has stages 2, but 5 is given"):
        start_of(Settings.of({"start_from": str(tmp_path), "stages": 5}))
    with pytest.raises(PtychoError, match="start_from: .*no such file"):
        start_of(Settings.of({"start_from": str(tmp_path / "nothing")}))

"""The network that ships: small, whole, for any set-up, with error bars and a card."""

import zipfile

import torch

from ptychopinn.inference.own_errors import FEATURES
from ptychopinn.model.pretrained import bundle_of, chosen_run, pretrained


def test_it_is_small_and_nothing_in_it_is_executed():
    path = bundle_of(None)
    assert path.stat().st_size < 4.5e6
    assert (path.parent / "README.md").is_file()
    with zipfile.ZipFile(path) as archive:
        assert all(name.endswith((".safetensors", ".json")) for name in archive.namelist())


def test_it_knows_no_set_up_and_has_error_bars():
    run = pretrained()
    assert run.any_setup
    assert run.settings.model.noise_input
    assert [len(row) for row in run.error_model] == [FEATURES, FEATURES]
    assert all(bool(torch.isfinite(value).all()) for value in run.model.state_dict().values())
    assert chosen_run(None) is run

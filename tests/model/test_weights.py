"""Weights that no training would leave."""

import copy
from dataclasses import replace

import pytest
import torch

from ptychopinn.errors import PtychoError
from ptychopinn.model.bundle import load_run, save_run


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, tiny_run, value):
    """Their hash is right: they were written so."""
    model = copy.deepcopy(tiny_run.model)
    with torch.no_grad():
        next(model.parameters())[0] = value
    save_run(tmp_path, replace(tiny_run, model=model))
    with pytest.raises(PtychoError, match=r"diffraction_to_obj: .* holds NaN or infinity"):
        load_run(tmp_path)

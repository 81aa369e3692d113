"""The figure of the losses."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.figures.history import history_figure


def test_history_has_a_panel_per_quantity() -> None:
    epochs = range(1, 6)
    columns: dict[str, Sequence[float]] = {
        "epoch": list(epochs),
        "seconds": [2.0] * 5,
        "train_loss": [1 / n for n in epochs],
    }
    columns |= {"val_loss": [math.nan, 0.9, math.nan, 0.5, 0.4], "train_patch_error": [-0.1 * n for n in epochs]}
    loss, error = history_figure(columns).axes
    assert (loss.get_xlabel(), loss.get_ylabel(), loss.get_yscale()) == ("epoch", "loss", "log")
    training, validation = loss.lines
    assert (training.get_label(), validation.get_label()) == ("training", "validation")
    np.testing.assert_allclose(validation.get_xydata(), [[2, 0.9], [4, 0.5], [5, 0.4]])
    assert (error.get_ylabel(), error.get_yscale()) == ("patch error", "linear"), "values below 0 have no logarithm"


def test_history_of_an_engine_that_scores_between_epochs_runs_along_its_steps() -> None:
    (loss,) = history_figure({"step": [1, 2], "train_loss": [2.0, 1.0]}).axes
    assert loss.get_xlabel() == "step"


def test_history_without_losses_is_refused() -> None:
    with pytest.raises(PtychoError, match="columns epoch"):
        history_figure({"epoch": [1]})

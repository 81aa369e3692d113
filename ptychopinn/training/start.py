"""The network that a training starts from: the one that ships, that of a run, or random weights."""

from pathlib import Path
from typing import Any, Final

from ptychopinn.config import ModelConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.naming import naming
from ptychopinn.model.bundle import Run, load_run
from ptychopinn.model.pretrained import pretrained

SCRATCH: Final = "scratch"

PACKAGE: Final = "package"

ARCHITECTURE: Final = (
    *(
        "gridsize",
        "features",
        "stages",
        "n_filters_scale",
        "depth",
        "noise_input",
        "canvas",
        "hidden_channels",
        "amp_activation",
    ),
)
"""Settings that weights depend on."""


def start_of(settings: Settings) -> Run | None:
    """The trained network to start from; None for random weights.

    Without ``start_from`` that of the package, where the settings ask for no other network, nor for another training
    than that on counts under a known probe.

    Raises:
        PtychoError: when the run of ``start_from`` cannot be read, or is another network than the settings ask for.
    """
    wanted = settings.training.start_from or (PACKAGE if _suits(settings) else SCRATCH)
    if wanted == SCRATCH:
        return None
    with naming("start_from"):
        run = pretrained() if wanted == PACKAGE else load_run(Path(str(wanted)))
        if name := next(iter(differing(run, settings)), None):
            raise PtychoError(
                f"{wanted}: has {name} {getattr(run.settings.model, name)}, but "
                f"{getattr(settings.model, name)} is given; omit {name}, or start from scratch."
            )
    return run


def _suits(settings: Settings) -> bool:
    """Whether the network of the package is what the settings leave open."""
    model = settings.model
    return model.model_type == "pinn" and not model.probe_trainable and not differing(pretrained(), settings)


def differing(run: Run, settings: Settings) -> list[str]:
    """Settings of the network that were chosen, and that a run has otherwise."""
    usual, chosen, there = ModelConfig(), settings.model, run.settings.model
    return [
        name
        for name in ARCHITECTURE
        if getattr(chosen, name) != getattr(usual, name) and getattr(chosen, name) != getattr(there, name)
    ]


def architecture(run: Run) -> dict[str, Any]:
    """Settings, by name, that a training takes over from the network that it starts from."""
    return {name: getattr(run.settings.model, name) for name in ARCHITECTURE}

"""Which settings have an effect in which command, so that none is given in vain."""

from collections.abc import Collection
from typing import Any, Final

from ptychopinn.config import (
    BaselineConfig,
    DataConfig,
    ExecutionConfig,
    InferenceConfig,
    ModelConfig,
    OverlapConfig,
    RefinementConfig,
    Section,
    Settings,
    SimulationConfig,
    TrainingConfig,
)
from ptychopinn.errors import PtychoError


def _of(*sections: type[Section]) -> frozenset[str]:
    return frozenset(name for section in sections for name in section.model_fields)


READING: Final = _of(DataConfig) - {"n_groups", "neighbor_count"}
"""How a scan file is read."""

MICROSCOPE: Final = frozenset(
    ("voltage", "scan_step", "scan_shape", "scan_rotation", "q_pixel", "semiangle", "defocus")
)
"""What a user says of a scan in an electron microscope."""

FOLLOWING: Final = frozenset(("follow_timeout", "follow_interval", "follow_frames"))

NATIVE: Final = _of(RefinementConfig) | {"epochs", "refine_probe", "refine_positions", "seed"}
"""Of the native engine and its error bars."""

NATIVE_ONLY: Final = _of(RefinementConfig) - {"error_draws"}
"""What no engine of pty-chi knows."""

NETWORKS: Final = _of(InferenceConfig) - FOLLOWING - {"refine"} | {"accelerator"}
"""How networks are run."""

USED: Final = {
    "simulate": _of(SimulationConfig) | {"nphotons", "seed"},
    # The last two are kept with the run, for 'infer'.
    "train": _of(ModelConfig, DataConfig, TrainingConfig, ExecutionConfig) | {"synchronise", "middle_trim"},
    "infer": READING | _of(InferenceConfig) | NATIVE | {"accelerator", "deterministic"},
    "refine": READING | NATIVE | {"engine", "accelerator"},
    "baseline": READING | _of(BaselineConfig, RefinementConfig) | {"seed", "accelerator"},
    "overlap": _of(DataConfig, OverlapConfig) | {"gridsize", "seed"},
    "compare": READING | NETWORKS | NATIVE,
    "inspect": READING,
    "convert": frozenset(("format", "map", "frames", "probe", "pixel_size", "measurement", "nphotons")) | MICROSCOPE,
    "subset": READING,
    "export": READING,
}
"""Settings of each command, by its name."""

NEEDS: Final = {
    "subsample_seed": ("n_subsample", "--n-subsample"),
    "sequential_sampling": ("n_subsample", "--n-subsample"),
    "probe_mask_diameter": ("probe_mask", "--set probe_mask=true"),
}
"""Settings without an effect where another one is off, that one, and how to give it."""

NOT_NEEDED: Final = {
    "train": ("sequential_sampling",),  # seeds of groups go in order, too
    **{command: ("probe_mask_diameter",) for command in ("infer", "compare", "export")},  # the run may have the mask
}


def written(ctx: Any, names: Collection[str]) -> dict[str, str]:
    """How the user wrote settings that were given: ``--max-seconds``, ``--set seed``."""
    flags = {
        str(option.name): option.opts[0] for option in ctx.command.params if ctx.params.get(option.name) is not None
    }
    return {name: flags.get(name, f"--set {name}") for name in names}


def check_assigned(command: str, names: Collection[str]) -> None:
    """Refuse ``--set`` of settings that a command does not look at.

    Raises:
        PtychoError: naming the first, and the commands that take it.
    """
    for name in names:
        if name not in USED[command]:
            takers = [f"'{other}'" for other, used in USED.items() if name in used]
            raise PtychoError(f"--set {name}: has no effect in '{command}'; it is a setting of {', '.join(takers)}.")


def check_needs(command: str, settings: Settings, given: dict[str, str]) -> None:
    """Refuse settings that have no effect beside the others.

    Args:
        command: its name.
        settings: effective ones.
        given: how the user wrote the settings of the command line, by name.

    Raises:
        PtychoError: naming the flag and what it needs.
    """
    flat = settings.flat()
    for name, (needed, how) in NEEDS.items():
        if name in given and not flat[needed] and name not in NOT_NEEDED.get(command, ()):
            raise PtychoError(f"{given[name]}: has no effect without {how}; give both, or none.")
    if settings.data.map is not None and settings.data.format is not None:
        raise PtychoError("--format: given together with --map, which says all about the file; give one of them.")


def refuse(given: dict[str, str], names: Collection[str], why: str) -> None:
    """Refuse the settings among ``names`` that were given, for a reason without its full stop.

    Raises:
        PtychoError: naming the first as the user wrote it.
    """
    for name, flag in given.items():
        if name in names:
            raise PtychoError(f"{flag}: {why}.")

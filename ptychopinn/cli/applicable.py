"""Which settings each command uses, which of them have a flag, and the refusal of those without an effect."""

from collections.abc import Collection, Mapping
from typing import Final

from ptychopinn.config import (
    BaselineConfig,
    BeamlineConfig,
    DataConfig,
    ExecutionConfig,
    InferenceConfig,
    ModelConfig,
    OverlapConfig,
    ProbeConfig,
    RefinementConfig,
    Section,
    Settings,
    SimulationConfig,
    StartConfig,
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
"""Settings of the native engine and its error bars."""

NATIVE_ONLY: Final = _of(RefinementConfig) - {"error_draws", "memory"}
"""Settings that no engine of pty-chi knows."""

PTYCHI_POSITIONS: Final = frozenset(("position_correction", "affine_positions"))
"""Settings of the search for positions in pty-chi."""

NETWORKS: Final = _of(InferenceConfig) - FOLLOWING - {"refine"} | {"accelerator"}
"""How networks run."""

PROBE: Final = _of(ProbeConfig)
"""Where a probe comes from that no file gives."""

USED: Final = {
    "simulate": _of(SimulationConfig, BeamlineConfig) | {"nphotons", "seed", "allow_external"},
    # The run keeps the last two for 'infer'.
    "train": _of(ModelConfig, DataConfig, TrainingConfig, ExecutionConfig) | {"synchronise", "middle_trim"},
    "pretrain": _of(ModelConfig) - {"gridsize", "features", "model_type", "probe_trainable"}
    | {"max_seconds", "learning_rate", "precision", "seed", "accelerator"},
    "infer": READING | _of(InferenceConfig) | NATIVE | {"accelerator", "deterministic"},
    "refine": READING | NATIVE | {"engine", "accelerator"},
    "reconstruct": READING | NATIVE | PROBE | _of(StartConfig) | {"engine", "accelerator"},
    "baseline": READING | _of(BaselineConfig, RefinementConfig) | {"seed", "accelerator"},
    "overlap": _of(DataConfig, OverlapConfig) | {"gridsize", "seed"},
    "compare": READING | NETWORKS | NATIVE,
    "probe": PROBE
    | MICROSCOPE
    | frozenset(("format", "map", "frames", "probe", "probe_scale", "pixel_size", "measurement", "nphotons", "mask"))
    | {"drop_frames", "scan_index", "allow_external", "subpixel", "seed", "accelerator"},
    "inspect": READING,
    "convert": frozenset(("format", "map", "frames", "probe", "pixel_size", "measurement", "nphotons", "mask"))
    | {"allow_external"}
    | MICROSCOPE,
    "subset": READING,
    "view": READING,
    "export": READING,
}
"""Settings that each command uses; ``--set`` takes all of them."""

_SCAN: Final = (
    "crop centre every n_subsample scan_index map frames probe probe_scale flip_x flip_y swap_xy measurement nphotons "
    "mask drop_frames allow_external"
)
_PROBE: Final = (
    "probe_from modes aperture_diameter focal_length central_stop defocus refocus photon_energy "
    "detector_distance detector_pixel"
)
_FIT: Final = "epochs subpixel refine_probe refine_positions"
_MODEL: Final = "model refine_flux refine_background refine_affine opr"
_EXECUTION: Final = (
    "scheduler accumulate_grad_batches gradient_clip_val early_stop_patience monitor enable_checkpointing logger "
    "precision deterministic num_workers devices"
)

FLAGS: Final = {
    "simulate": "nphotons object object_size N step jitter probe_radius probe_curvature interpolation seed hard "
    "background flux_drift flux_jitter probe_drift position_error position_drift backlash position_rotation "
    "position_scale position_shear dead_pixels hot_pixels saturation detector_blur probe_modes mode_power "
    "start_defocus bad_frames allow_external",
    "train": f"{_SCAN} start_from gridsize neighbor_count n_groups model_type features stages n_filters_scale "
    "nepochs max_seconds batch_size validate_on val_fraction nll_weight realspace_weight teacher_epochs "
    f"synthetic_fraction seed learning_rate {_EXECUTION} accelerator",
    "pretrain": "max_seconds learning_rate stages n_filters_scale noise_input hidden_channels "
    "precision seed accelerator",
    "infer": f"{_SCAN} inference_batch_size synchronise refine epochs refine_seconds subpixel follow_timeout "
    "follow_frames deterministic accelerator",
    "refine": f"{_FIT} {_MODEL} nominal_error refine_seconds tolerance error_draws memory {_SCAN} seed accelerator",
    "reconstruct": f"{_PROBE} {_FIT} {_MODEL} start_image nominal_error refine_seconds tolerance error_draws "
    f"memory {_SCAN} format pixel_size seed accelerator",
    "baseline": f"engine {_FIT} noise_model baseline_batch_size {_SCAN} seed accelerator",
    "overlap": "overlap n_subsample subsample_seed probe_diameter_px overlap_neighbors gridsize neighbor_count "
    "n_groups crop every scan_index probe_scale flip_x flip_y swap_xy measurement nphotons mask drop_frames "
    "allow_external seed",
    "compare": "middle_trim crop every n_subsample subsample_seed scan_index probe_scale measurement nphotons mask "
    "drop_frames allow_external inference_batch_size accelerator",
    "probe": f"{_PROBE} pixel_size scan_index format map frames measurement nphotons mask drop_frames "
    "allow_external seed accelerator",
    "inspect": f"{_SCAN} format pixel_size",
    "convert": "pixel_size format map frames probe measurement nphotons mask allow_external",
    "subset": "scan_index format map frames probe probe_scale pixel_size crop centre measurement nphotons mask "
    "drop_frames allow_external",
    "view": f"{_SCAN} format pixel_size",
    "export": "crop centre scan_index map frames probe probe_scale measurement nphotons mask drop_frames "
    "allow_external",
}
"""Settings of each command that have a flag, in the order of its help."""

REFINED: Final = tuple(f"refine_{part}" for part in ("probe", "positions", "flux", "background", "affine"))

SPELLINGS: Final = {
    "N": "--N",
    "start_from": "--from",
    "refine_seconds": "--max-seconds",
    "baseline_batch_size": "--batch-size",
    "middle_trim": "--stitch-crop-size",
    "enable_checkpointing": "--enable-checkpointing/--disable-checkpointing",
    **{name: "--" + name.replace("_", "-") for name in ("hard", "refine", *REFINED)},
    "overlap n_subsample": "--s-img --n-subsample",
}
"""Flags that are not just the name of their setting (of a truth value: the name and its ``--no-``), also by command."""

MEANINGS: Final = {
    "simulate nphotons": "mean photons per frame, before noise [default: 1e6]",
    "simulate seed": "seed of object, positions and noise [default: 0]",
    "pretrain max_seconds": "wall-clock time of the training, s [default: 3600]",
    "pretrain learning_rate": "peak step size of AdamW [default: 2e-3]",
    "pretrain seed": "seed of weights and of all that is generated",
    "refine seed": "seed of the order of the frames",
    "reconstruct seed": "seed of the order of the frames",
    "reconstruct refine_probe": "refine the probe too, its power kept [default: yes]",
    "reconstruct model": "auto: what held-out pixels ask for; basic: what you ask for; full: all below [default: auto]",
    "reconstruct centre": "detector pixel y,x of the beam; auto: where the light lies; keep [default: auto]",
    "reconstruct mask": "auto, none, inverted, or FILE [default: auto]",
    "probe seed": "seed of the order of the frames in a search",
    "baseline seed": "seed of the order of the frames",
    "overlap seed": "seed of the groups",
}
"""What a setting means in one command, where that is less than its description says."""

NEEDS: Final = {
    "subsample_seed": ("n_subsample", "--n-subsample"),
    "sequential_sampling": ("n_subsample", "--n-subsample"),
    "probe_mask_diameter": ("probe_mask", "--set probe_mask=true"),
}
"""Settings without an effect where another one is off: that one, and how to give it."""

NOT_NEEDED: Final = {
    "train": ("sequential_sampling",),  # seeds of groups go in order, too
    **{command: ("probe_mask_diameter",) for command in ("infer", "compare", "export")},  # the run may have the mask
}


def spelling(command: str, name: str) -> list[str]:
    """Flags of a setting in a command, a switch by what turns it on; none where only ``--set`` gives it."""
    if name not in FLAGS.get(command, "").split():
        return []
    spelt = SPELLINGS.get(f"{command} {name}", SPELLINGS.get(name, "--" + name.replace("_", "-")))
    return [flag.partition("/")[0] for flag in spelt.split()]


def switched_off(command: str, name: str) -> str:
    """How to turn a switch off in a command where it has a flag."""
    spelt = SPELLINGS.get(f"{command} {name}", SPELLINGS.get(name))
    if spelt is None:
        return "--no-" + name.replace("_", "-")
    return spelt.partition("/")[2] or f"--set {name}=false"


def how_to_give(name: str) -> dict[str, str]:
    """How each command that uses a setting takes it: its flag, or ``--set``."""
    ways = {command: " or ".join(spelling(command, name)) for command, used in USED.items() if name in used}
    return {command: way or f"--set {name}=VALUE" for command, way in ways.items()}


def takers(name: str) -> str:
    """The commands that use a setting, as a list to read."""
    return ", ".join(f"'{command}'" for command, used in USED.items() if name in used)


def check_assigned(command: str, names: Collection[str]) -> None:
    """Refuse ``--set`` of settings that a command does not use.

    Raises:
        PtychoError: naming the first one and the commands that use it.
    """
    for name in names:
        if name not in USED[command]:
            raise PtychoError(f"--set {name}: has no effect in '{command}'; it is a setting of {takers(name)}.")


def check_needs(command: str, settings: Settings, written: Mapping[str, str]) -> None:
    """Refuse settings that have no effect beside the others.

    Args:
        command: its name.
        settings: effective settings.
        written: how the user wrote the settings of the command line, by name.

    Raises:
        PtychoError: naming the flag and the one it needs.
    """
    flat = settings.flat()
    for name, (needed, how) in NEEDS.items():
        if name in written and not flat[needed] and name not in NOT_NEEDED.get(command, ()):
            raise PtychoError(f"{written[name]}: has no effect without {how}; give both or neither.")
    if settings.data.map is not None and settings.data.format is not None:
        raise PtychoError("--format: given together with --map, which describes the whole file; give one of them.")


def refuse(written: Mapping[str, str], names: Collection[str], why: str) -> None:
    """Refuse the settings among ``names`` that were given; ``why`` ends without a full stop.

    Raises:
        PtychoError: naming the first one as the user wrote it.
    """
    for name, flag in written.items():
        if name in names:
            raise PtychoError(f"{flag}: {why}.")

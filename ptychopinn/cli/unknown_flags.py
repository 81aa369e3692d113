"""What to type in place of a flag that a command does not have."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from ptychopinn.cli import applicable, older_names, options
from ptychopinn.config import Settings
from ptychopinn.errors import shortened

OPPOSITES: Final = ("no_", "disable_", "skip_")
"""Beginnings of flags that turn something off."""

_NETWORK: Final = "there is one network; --features, --stages and --n-filters-scale shape it"
_OPTIMISER: Final = "the optimiser is AdamW with weight decay 1e-3; --learning-rate and --scheduler steer it"
_COLOURS: Final = "not needed: colours span the values inside the scan; reconstruction.npz holds the image for others"
_LEVEL: Final = "--quiet prints warnings and the last line only, and 'ptychopinn --debug ...' shows tracebacks"
_PLACES: Final = "positions decide how many frames there are: --step, --object-size, or --from FILE with positions"

INSTEAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "train_data_file": "give the scan itself: ptychopinn train SCAN --out RUN",
        "train test_data_file": "type --validate-on {value}",
        "train test_data": "type --validate-on {value}",
        "train validation_data": "type --validate-on {value}",
        "train val_data": "type --validate-on {value}",
        "test_data_file": "give the scan itself as an argument",
        "test_data": "give the scan itself as an argument",
        "input_file": "give the file itself as an argument; of 'simulate' type --from {value}",
        "simulate input_file": "type --from {value}",
        "output_file": "give the file to write as an argument",
        "output_dir": "type --out {value}",
        "output": "type --out {value}",
        "infer model_path": "give the run itself: ptychopinn infer {value} SCAN --out IMAGE",
        "model_path": "give the run itself: ptychopinn infer {value} SCAN --out IMAGE",
        "model_dir": "give the run itself: ptychopinn compare SCAN --pinn {value} --out SCORES",
        "compare pinn_dir": "type --pinn {value}",
        "compare baseline_dir": "type --supervised {value}",
        "compare tike_recon_path": "type --iterative {value}",
        "compare ms_ssim_sigma": "type --sigma {value}",
        "compare phase_align_method": "type --ramp to remove planes; the mean phase is always removed",
        "enable_progress_bar": "not needed: a bar is drawn on a terminal unless --quiet",
        "progress_bar": "not needed: a bar is drawn on a terminal unless --quiet",
        "verbose": _LEVEL,
        "console_level": _LEVEL,
        "quiet": "not needed: this command prints its result only",
        "debug": "stands before the command: ptychopinn --debug ...",
        "backend": "not needed: all runs in PyTorch",
        "disable_mlflow": "not needed: --logger is csv unless given",
        "do_stitching": "not needed: 'ptychopinn infer' makes the image",
        "loss_mode": "type --nll-weight 1 for poisson, or --nll-weight 0 --set mae_weight=1 for mae",
        "nll": "type --nll-weight 1, or 0",
        "scale_contract_version": "not needed: counts are photons; --measurement says what a file of floats holds",
        "profile": "not needed: --config FILE holds settings",
        "intensity_scale_trainable": "not needed: counts are photons and are not rescaled",
        "probe_scale": "not needed: the probe is in sqrt(photons)",
        "probe_normalize": "not needed: the probe is in sqrt(photons)",
        "positions_provided": "not needed: positions come from the scan file",
        "object_big": "not needed: patches of a group always overlap on one canvas",
        "probe_big": "not needed: patches are as large as frames",
        "pad_object": "not needed: objects are as large as the scan",
        "enable_oversampling": "not needed: give --n-groups above the number of frames, and --neighbor-count",
        "gaussian_smoothing_sigma": "not needed: the probe is used as the file has it",
        "probe_mask_sigma": "not needed: the edge of the probe mask is 1 px wide",
        "patch_weighting": "not needed: patches are weighted by the probe",
        "varpro_scaling": "not needed: counts are photons and are not rescaled",
        "log_patch_stats": "not needed; metrics.csv holds the errors of the patches",
        "comparison_plot": "not needed: 'ptychopinn compare' draws it",
        "gradient_clip_algorithm": "not needed: the norm of the gradient is limited, by --set gradient_clip_val=1",
        "weight_decay": _OPTIMISER,
        "optimizer": _OPTIMISER,
        "momentum": _OPTIMISER,
        "architecture": _NETWORK,
        "fno_modes": _NETWORK,
        "fno_width": _NETWORK,
        "fno_blocks": _NETWORK,
        "fno_cnn_blocks": _NETWORK,
        "plateau_factor": "not a setting: --scheduler plateau multiplies by 0.3 after 3 epochs without improvement",
        "plateau_patience": "not a setting: --scheduler plateau multiplies by 0.3 after 3 epochs without improvement",
        "lr_warmup_epochs": "not a setting: --scheduler warmup_cosine warms up for 100 steps",
        "lr_min_ratio": "not a setting: --scheduler warmup_cosine ends at 0.005 of the peak",
        "phase_vmin": _COLOURS,
        "phase_vmax": _COLOURS,
        "p_min": _COLOURS,
        "p_max": _COLOURS,
        "simulate n_images": _PLACES,
        "simulate nimages": _PLACES,
        "simulate n_subsample": _PLACES,
        "simulate data_source": "type --from FILE for an object and probe of your own, or --object lines",
        "simulate probe_file": "type --from FILE that holds probeGuess",
        "simulate visualize": "type ptychopinn inspect FILE afterwards",
    }
)
"""Flags of the older program without a setting here, also by command: what to do. ``{value}`` is what was given."""


def in_place_of(command: str, path: str, known: Mapping[str, bool], args: Sequence[str], first: str) -> str:
    """One sentence for every flag of a call that its command does not have.

    Args:
        command: name of the command.
        path: how to call it, after the name of the program: ``study run``.
        known: its flags; whether they take a value.
        args: of the call.
        first: the flag that stopped the reading of the call.
    """
    found = dict(_unknown(known, args))
    found.setdefault(first, None)
    advice = ((flag, _advice(command, path, known, flag, given)) for flag, given in found.items())
    return " ".join(f"{shortened(flag)}: {text}" + ("" if text.endswith("?") else ".") for flag, text in advice)


def _unknown(known: Mapping[str, bool], args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Long flags of a call that are not known, with the value that follows."""
    for number, text in enumerate(args):
        if text == "--":
            return
        flag, sign, value = text.partition("=")
        before, _, _ = args[number - 1].partition("=") if number else ("", "", "")
        is_value = known.get(before, False) and "=" not in args[number - 1]
        if flag.startswith("--") and flag not in known and not is_value:
            after = args[number + 1] if number + 1 < len(args) else "-"
            yield flag, value if sign else None if _is_flag(after) else after


def switch_with_value(known: Mapping[str, bool], args: Sequence[str]) -> str | None:
    """A sentence where a switch is followed by true or false, as other programs write it."""
    for flag, value in pairwise(args):
        if known.get(flag) is False and value.lower() in ("true", "false", "0", "1", "yes", "no"):
            other = f"--no-{flag.removeprefix('--')}"
            off = f", or {other}" if other in known else ""
            return f"{flag}: is a switch and takes no value, {value} given; type {flag}{off}."
    return None


def _is_flag(text: str) -> bool:
    return text.startswith("-") and not text[1:].replace(".", "", 1).isdigit()


def _advice(command: str, path: str, known: Mapping[str, bool], flag: str, given: str | None) -> str:
    """What to type in place of one flag, without the full stop."""
    name = older_names.plain(flag)
    value = "VALUE" if given is None else shortened(given)
    text = INSTEAD.get(f"{command} {name}", INSTEAD.get(name))
    if found := _setting(command, name, given):
        setting, wanted = found
        if setting in applicable.USED.get(command, ()):
            return f"no flag of '{command}'; type {assignment(command, setting, wanted)}"
        if text is None:
            return f"has no effect in '{command}'; it is a setting of {applicable.takers(setting)}"
    if text is not None:
        return text.format(value=value)
    none = f"no flag of '{path}'"
    spelt = "--" + flag.lstrip("-").replace("_", "-")
    if spelt in known:
        return f"{none}; type {spelt}" + (f" {value}" if known[spelt] else "")
    if close := _close(command, name, known):
        typed = close if close in known else assignment(command, close, given)
        return f"{none}; did you mean {typed}" + (f" {value}" if known.get(close) else "") + "?"
    settings = ", 'ptychopinn config schema' all settings" if command in applicable.USED else ""
    return f"{none}; 'ptychopinn {path} --help' lists them{settings}"


def _setting(command: str, name: str, given: str | None) -> tuple[str, str | None] | None:
    """The setting that a name means in a command and the value to give it; None where it means none."""
    settings = {each.lower(): each for each in Settings().flat()}
    used = applicable.USED.get(command, frozenset())
    by_flag = {older_names.plain(flag): each for each in used for flag in applicable.spelling(command, each)}
    renamed = older_names.RENAMED.get(name)
    wanted = [by_flag.get(name), settings.get(name), renamed]
    if command == "train" and name == "epochs":
        wanted.insert(0, "nepochs")
    candidates = [each for each in wanted if each is not None]
    if candidates:
        setting = next((each for each in candidates if each in used), candidates[0])
        return setting, None if given is None else older_names.value_here(setting, given)
    for beginning in OPPOSITES:
        if name.startswith(beginning):
            rest = name.removeprefix(beginning)
            for positive in (rest, f"enable_{rest}"):
                if options.fields().get(positive) is not None and options.type_of(positive) is bool:
                    return positive, "false"
    return None


def assignment(command: str, setting: str, value: str | None) -> str:
    """How to give a setting in a command: its flag where it has one, else ``--set``."""
    spelt = applicable.spelling(command, setting)
    switch = options.type_of(setting) is bool
    off = switch and str(value).lower() in ("false", "0", "no", "off")
    if not spelt:
        return f"--set {setting}=" + (("false" if off else "true") if switch else "VALUE" if value is None else value)
    if switch:
        return applicable.switched_off(command, setting) if off else spelt[0]
    return f"{spelt[0]} " + ("VALUE" if value is None else value)


def _close(command: str, name: str, known: Mapping[str, bool]) -> str | None:
    """The flag, or else the setting of the command, whose name is nearest."""
    names: dict[str, Any] = dict.fromkeys(applicable.USED.get(command, ()))
    flags = {older_names.plain(flag): flag for flag in known if flag.startswith("--")}
    close = difflib.get_close_matches(name, [*flags, *names], n=1, cutoff=0.7)
    return None if not close else flags.get(close[0], close[0])

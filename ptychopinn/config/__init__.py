"""Every setting once: name, unit, default and limits, with JSON in and out.

Settings live in sections (``ModelConfig``, ``DataConfig`` ...) but share one flat namespace: a name means the
same thing as a Python argument, a command-line flag and a JSON key.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

from ptychopinn.config.network import ModelConfig
from ptychopinn.config.probe import ProbeConfig, StartConfig
from ptychopinn.config.section import Section
from ptychopinn.config.simulation import BeamlineConfig, SimulationConfig
from ptychopinn.errors import PtychoError, shortened
from ptychopinn.json_reader import read_json

ProbeScale = Literal["auto", "keep", "counts"] | Annotated[float, Field(gt=0)]
"""How a probe gets its scale; a number multiplies its amplitude."""


class DataConfig(Section):
    """How a scan file is read and which groups are drawn from it."""

    crop: int | None = Field(None, ge=8, description="keep the central N x N detector pixels")
    centre: str = Field(
        "keep", description="detector pixel y,x of the beam, moved to the middle; auto: measured; keep: do not move"
    )
    flip_x: bool = Field(False, description="mirror the x positions")
    flip_y: bool = Field(False, description="mirror the y positions")
    swap_xy: bool = Field(False, description="exchange x and y positions, before any flip")
    probe_mask: bool = Field(False, description="cut the probe with a soft-edged disc")
    probe_mask_diameter: float | None = Field(None, gt=0, description="diameter of that disc, px; None: half a frame")
    scan_index: int | None = Field(None, description="which scan of a file that holds several")
    format: str | None = Field(None, description="format of the scan file; None: recognised")
    map: str | None = Field(None, description="JSON file that names the datasets of an HDF5 file")
    frames: str | None = Field(None, description="file with the frames, where the scan file has none")
    probe: str | None = Field(None, description="file to take the probe from")
    probe_scale: ProbeScale = Field("auto", description="scale of the probe or a factor")
    pixel_size: float | None = Field(None, gt=0, lt=1, description="edge of an object pixel, m, where no file says")
    voltage: float | None = Field(None, ge=1, le=3000, description="accelerating voltage of an electron scan, kV")
    scan_step: str | None = Field(None, description="step of a 4D-STEM raster, such as '0.4 nm' or '4 px'")
    scan_shape: str | None = Field(None, description="rows x columns of a 4D-STEM raster, where no file says")
    scan_rotation: float | None = Field(None, ge=-360, le=360, description="of a 4D-STEM raster, degrees from x to y")
    q_pixel: str | None = Field(None, description="detector pixel in 4D-STEM, such as '0.5 mrad' or '0.02 A^-1'")
    semiangle: float | None = Field(None, gt=0, lt=500, description="of the aperture that makes the probe, mrad")
    defocus: str | None = Field(None, description="of that probe, such as '15 nm'")
    allow_external: bool = Field(False, description="read HDF5 that keeps values outside the folder of its file")
    every: int = Field(1, ge=1, description="keep every k-th frame")
    mask: str | None = Field(
        None, description="auto (broken pixels too), none, inverted, or FILE; None: of the file, and markers"
    )
    drop_frames: str | None = Field(
        None, description="auto (odd ones), none, or FILE of frame numbers; None: saturated ones only"
    )
    drop_dark: bool = Field(False, description="omit frames without a photon; reads all frames once more")
    measurement: Literal["counts", "amplitude"] | None = Field(
        None, description="what floats hold; None: as the file says"
    )
    nphotons: float | None = Field(
        None, gt=0, description="photons per frame, of amplitudes without a scale or a simulation"
    )
    n_groups: int | None = Field(None, ge=1, description="groups drawn per epoch; None: one per frame")
    n_subsample: int | None = Field(None, ge=1, description="use only this many frames of the scan; None: all")
    subsample_seed: int = Field(0, ge=0, description="seed of the choice of these frames")
    sequential_sampling: bool = Field(False, description="use the first frames and seeds in order, not random ones")
    neighbor_count: int | None = Field(
        None, ge=1, description="neighbours a group may choose from; None: a quarter probe"
    )

    @field_validator("probe_scale", mode="wrap")
    @classmethod
    def _scale(cls, value: object, checked: ValidatorFunctionWrapHandler) -> object:
        """One message for both kinds of values; True is no number."""
        try:
            if isinstance(value, bool):
                raise ValueError
            return checked(value)
        except ValueError:
            raise PydanticCustomError("probe_scale", "auto, keep, counts or a positive number is needed") from None

    @field_validator("scan_step", "scan_shape", "q_pixel", "defocus", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        """A bare number, whose missing unit is said where it is read."""
        return str(value) if type(value) in (int, float) else value

    @field_validator("centre")
    @classmethod
    def _pixel(cls, value: str) -> str:
        """A pixel without spaces, or a word."""
        value = value.replace(" ", "")
        if value not in ("keep", "auto") and not re.fullmatch(r"\d{1,6},\d{1,6}", value):
            raise ValueError("a detector pixel y,x such as 64,61, or auto, or keep is needed")
        return value


class TrainingConfig(Section):
    """Loss, data and length of a training."""

    start_from: str | None = Field(
        None,
        description="network to start from: a run, package (the one that ships), or scratch; None: package, if it fits",
    )
    nepochs: int | None = Field(
        None, ge=1, description="passes over the scan; None: enough for 1100 batches, or 300 from a trained network"
    )
    max_seconds: float | None = Field(None, gt=0, description="wall-clock budget of the training, s")
    batch_size: int = Field(16, ge=1, description="groups per batch, all devices together")
    validate_on: str | None = Field(None, description="second scan, to validate on in place of frames held out")
    val_fraction: float = Field(0.05, ge=0, lt=1, description="share of the groups kept for validation")
    nll_weight: float = Field(1.0, ge=0, description="weight of the Poisson likelihood of the counts")
    mae_weight: float = Field(0.0, ge=0, description="weight of the mean absolute error of the amplitudes")
    realspace_weight: float = Field(1.0, ge=0, description="weight of the patch error to teacher or truth")
    realspace_mae_weight: float = Field(0.0, ge=0, description="weight of the absolute patch error")
    tv_weight: float = Field(0.0, ge=0, description="weight of the total variation of the patches, per lit pixel")
    teacher_epochs: int | None = Field(
        None, ge=0, description="epochs of the engine that makes the teacher; None: 20, or 0"
    )
    synthetic_fraction: float | None = Field(
        None, ge=0, lt=1, description="share of synthetic objects; None: 0.5, or 0"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of weights, groups and synthetic objects")


class ExecutionConfig(Section):
    """How the training runs: devices, optimiser, checkpoints, logs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="device to run on")
    devices: int = Field(1, ge=1, le=1024, description="devices, or processes on a CPU, that train together")
    strategy: Literal["auto", "ddp"] = Field("auto", description="how devices share the work; auto is ddp for several")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="precision of the network; the physics stays in float32"
    )
    compile_network: bool = Field(False, description="compile the network for training (torch.compile)")
    deterministic: bool = Field(False, description="use only algorithms that repeat to the last bit")
    num_workers: int = Field(0, ge=0, description="processes that prepare batches; 0: the main one")
    pin_memory: bool = Field(False, description="page-locked batches, for a GPU")
    persistent_workers: bool = Field(False, description="keep the workers between epochs")
    prefetch_factor: int | None = Field(None, ge=1, description="batches each worker prepares ahead")
    learning_rate: float | None = Field(
        None, gt=0, description="peak step size of AdamW; None: 2e-3, or 1e-3 from a trained network"
    )
    scheduler: Literal["warmup_cosine", "constant", "exponential", "multistep", "plateau"] = Field(
        "warmup_cosine", description="how the step size changes over the run"
    )
    accumulate_grad_batches: int = Field(1, ge=1, description="batches per optimiser step")
    gradient_clip_val: float | None = Field(1.0, gt=0, description="largest gradient norm; None: no limit")
    enable_checkpointing: bool = Field(True, description="write checkpoints")
    save_top_k: int = Field(1, ge=-1, description="best checkpoints to keep; -1: all")
    monitor: Literal["val_loss", "train_loss", "val_nll", "val_patch_error"] = Field(
        "val_loss", description="value whose best epoch is kept"
    )
    mode: Literal["min", "max"] = Field("min", description="whether small or large values of it are better")
    early_stop_patience: int | None = Field(None, ge=1, description="epochs without improvement before stopping")
    logger: Literal["csv", "tensorboard", "mlflow", "none"] = Field("csv", description="where the history is logged")

    @field_validator("accelerator", mode="before")
    @classmethod
    def _device(cls, value: object) -> object:
        """Lightning and the older program call a CUDA device a GPU."""
        if isinstance(value, str) and value.partition(":")[0] in ("cuda", "gpu") and ":" in value:
            raise PydanticCustomError(
                "accelerator", "'auto', 'cpu', 'cuda' (or 'gpu') or 'mps' is needed; CUDA_VISIBLE_DEVICES picks one GPU"
            )
        return "cuda" if value == "gpu" else value


class InferenceConfig(Section):
    """How patches become an image."""

    inference_batch_size: int | None = Field(None, ge=1, description="groups per network call; None: 64, on a GPU 512")
    inference_precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="precision of the network; auto: bf16 where the processor supports it"
    )
    synchronise: bool = Field(True, description="agree on the groups' global phases before stitching")
    middle_trim: int | None = Field(None, ge=1, description="stitch only this central part of a patch, px; None: all")
    patch_memory: int = Field(
        96, ge=1, description="memory for patches and their copies, MiB; a scan that needs more is done in parts"
    )
    follow_timeout: float = Field(30.0, gt=0, description="seconds without new frames after which a scan is over")
    follow_interval: float = Field(2.0, ge=0, description="seconds between two pictures of a growing scan")
    follow_frames: int | None = Field(None, ge=1, description="frames of a growing scan; None: it ends by the timeout")
    refine: bool = Field(False, description="then refine the image on the counts, to the noise limit")

    @field_validator("inference_precision", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        """32 is a number in JSON, and so in ``--set``."""
        return str(value) if type(value) is int else value


class BaselineConfig(Section):
    """An iterative reconstruction to compare with."""

    engine: Literal["lsqml", "rpie", "epie", "dm", "autodiff", "native"] = Field(
        "lsqml", description="engine of pty-chi, or the native one of 'refine'"
    )
    epochs: int = Field(100, ge=1, description="passes of the engine over the scan")
    refine_probe: bool = Field(False, description="refine the probe too, its power kept")
    refine_positions: bool = Field(False, description="refine positions, their mean kept; try 300 epochs")
    noise_model: Literal["gaussian", "poisson"] = Field("gaussian", description="poisson for frames below 1e4 photons")
    position_correction: Literal["gradient", "cross_correlation"] = Field(
        "gradient", description="how engines of pty-chi find positions"
    )
    affine_positions: bool = Field(
        False, description="pty-chi keeps positions near an affine map of the nominal ones, which it fits"
    )
    baseline_batch_size: int | None = Field(
        None, ge=1, description="frames per update; None: a tenth of the scan, at most 100"
    )


class RefinementConfig(Section):
    """The native engine, and error bars."""

    subpixel: Literal["bilinear", "fourier"] = Field(
        "fourier", description="shifts below a pixel: interpolate the object, or move the probe exactly"
    )
    tolerance: float = Field(5e-6, ge=0, lt=1, description="end when the deviance falls by less than this share")
    refine_seconds: float | None = Field(
        None, gt=0, description="wall-clock limit of a refinement, without its error bars, s; None: no limit"
    )
    model: Literal["basic", "auto", "full"] = Field(
        "basic", description="object and what is asked for; auto: what held-out pixels ask for; full: all below"
    )
    refine_flux: bool = Field(False, description="refine the flux of every frame too")
    refine_background: bool = Field(False, description="refine a smooth background of the detector too, never negative")
    free_background: bool = Field(False, description="let the background of every detector pixel be free")
    refine_affine: bool = Field(False, description="refine rotation, scale and shear of the positions too")
    opr: int = Field(0, ge=0, le=10, description="modes by which the probe changes from frame to frame; 0: it does not")
    nominal_error: float | None = Field(
        None, gt=0, le=1000, description="how far positions may be off, px rms; None: a third of the step, at least 2"
    )
    error_draws: int = Field(1, ge=0, le=1000, description="random draws for the error bars; 0: no error bars")
    memory: float | None = Field(
        None, gt=0, description="memory for counts and fields that are used again, GB; None: 2, or half of a free GPU"
    )


class OverlapConfig(Section):
    """How overlap is measured, and which frames a view keeps."""

    overlap: float | None = Field(
        None, ge=0, lt=1, description="f; a view keeps frames (1 - f) N px apart; None: any distance"
    )
    overlap_neighbors: int = Field(6, ge=1, description="nearest neighbours whose overlap is averaged")
    probe_diameter_px: float | None = Field(
        None, gt=0, description="diameter of the discs that stand for the probe, px; None: its FWHM"
    )


class Settings(Section):
    """All sections together."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    execution: ExecutionConfig = ExecutionConfig()
    inference: InferenceConfig = InferenceConfig()
    baseline: BaselineConfig = BaselineConfig()
    refinement: RefinementConfig = RefinementConfig()
    probe: ProbeConfig = ProbeConfig()
    start: StartConfig = StartConfig()
    overlap: OverlapConfig = OverlapConfig()
    simulation: SimulationConfig = SimulationConfig()
    beamline: BeamlineConfig = BeamlineConfig()

    def flat(self) -> dict[str, Any]:
        """Every setting by its one name."""
        return {name: value for section in self for name, value in section[1]}

    def changed(self, **values: Any) -> Self:
        """The same settings with some values replaced."""
        return self.of(self.flat() | values)

    @classmethod
    def schema_of_all(cls) -> dict[str, Any]:
        """One flat JSON schema of every setting."""
        sections = [type(section).model_json_schema()["properties"] for _, section in cls()]
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "ptychopinn settings",
            "type": "object",
            "additionalProperties": False,
            "properties": {name: each for section in sections for name, each in section.items()},
        }

    @classmethod
    def of(
        cls,
        values: Mapping[str, Any],
        origin: str = "settings",
        called: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Build all sections from flat names; absent settings take their defaults.

        Args:
            values: settings by name.
            origin: where the values come from, for error messages.
            called: what the user calls a setting, where it is not its name.

        Raises:
            PtychoError: for an unknown name or a value out of range, naming it as the user wrote it.
        """
        sections: dict[str, dict[str, Any]] = {}
        known = {name: section for section, content in cls() for name in type(content).model_fields}
        for name, value in values.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean '{close[0]}'?" if close else "Run 'ptychopinn config schema' to list them."
                raise PtychoError(f"{origin}: {shortened(name)}: not a setting. {hint}")
            sections.setdefault(known[name], {})[name] = value
        try:
            return cls.model_validate(sections)
        except ValidationError as error:
            first = error.errors()[0]
            given = shortened(repr(first["input"]))
            name = str(first["loc"][1])
            raise PtychoError(
                f"{origin}: {called.get(name, name)}: {given} given. {first['msg'].rstrip('.')}."
            ) from None


def read_settings(path: Path) -> dict[str, Any]:
    """Read a flat JSON object of settings.

    Raises:
        PtychoError: when the file is missing, is no JSON, or is not an object of known settings.
    """
    values = read_json(path, "settings")
    Settings.of(values, str(path))
    return values


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Settings from texts such as ``scheduler=plateau``; a value is JSON where it can be, else text.

    Raises:
        PtychoError: for a text without a name and a value, or a name given twice.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name:
            raise PtychoError(f"--set {text}: NAME=VALUE is needed.")
        if name in values:
            raise PtychoError(f"--set {name}: given twice.")
        try:
            values[name] = json.loads(value)
        except (ValueError, RecursionError):
            values[name] = value
    return values


def resolve(
    flags: Mapping[str, Any], path: Path | None = None, called: Mapping[str, str] = MappingProxyType({})
) -> tuple[Settings, dict[str, str]]:
    """Combine flags, a JSON file and defaults; a flag wins over the file, the file over the default.

    Args:
        flags: settings by name, those that were given.
        path: JSON file of settings.
        called: flags whose name is not that of their setting, by setting.

    Returns:
        The settings, and for each name where its value came from.
    """
    from_file = read_settings(path) if path else {}
    settings = Settings.of({**from_file, **flags}, "command line" if flags else str(path), called)
    sources = {name: "default" for name in settings.flat()}
    sources.update(dict.fromkeys(from_file, str(path)))
    sources.update(dict.fromkeys(flags, "flag"))
    return settings, sources

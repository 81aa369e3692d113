"""What a study compares: doses, overlaps, group sizes and the settings of every command, as one JSON object."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from ptychopinn.config import Section, Settings
from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.naming import naming
from ptychopinn.json_reader import read_json, validated

FULL: Final = "baseline"
"""Name of the view that holds all frames."""

SPLITS: Final = ("train", "test")

EMBEDDED: Final = ("lines", "siemens")
"""Objects that need no file."""

PROBE_RADIUS: Final = 0.3
"""Radius of the embedded probe, in frame edges: a frame then has 1.8 numbers per unknown under the probe."""

OWN: Final = MappingProxyType(
    {
        "train": ("gridsize", "neighbor_count", "seed", "model_type", "accelerator"),
        "baseline": ("engine", "epochs", "seed", "accelerator"),
        "compare": ("seed", "accelerator"),
    }
)
"""Settings of a command that other fields of the design set."""


class Resources(Section):
    """What a job of a stage requests from a cluster."""

    gpu: int = Field(0, ge=0, description="GPUs")
    mem_mb: int = Field(4000, ge=100, description="memory, MB")
    runtime: int = Field(60, ge=1, description="time limit, minutes")
    threads: int = Field(1, ge=1, description="CPU cores")


USUAL_RESOURCES: Final = MappingProxyType(
    {
        "simulate": Resources(),
        "overlap": Resources(),
        "train": Resources(gpu=1, mem_mb=16000, runtime=720),
        "baseline": Resources(gpu=1, mem_mb=8000, runtime=240),
        "compare": Resources(gpu=1, mem_mb=8000, runtime=120),
    }
)


class StudyDesign(Section):
    """The matrix of a study; the defaults are the reference design of the field.

    Every field is a key of the JSON file and a name for ``--set``.
    """

    base: str = Field("lines", description="object: lines, siemens, or an NPZ file with objectGuess and probeGuess")
    object_size: int = Field(768, ge=48, le=8192, description="edge of an embedded object, px")
    N: int = Field(128, ge=16, le=1024, multiple_of=2, description="edge of a frame, px")
    step: float = Field(16.0, gt=0, description="distance between neighbouring positions of the full view, px")
    jitter: float = Field(0.2, ge=0, le=0.5, description="largest random move of a position, in steps")
    probe_radius: float | None = Field(None, gt=0, description="of the embedded probe, px; None: 0.3 N")
    probe_curvature: float = Field(5.0, description="phase of the embedded probe at its edge, rad")
    interpolation: Literal["bilinear", "cubic", "fourier"] = Field(
        "fourier", description="of the simulated object between pixels; fourier moves the probe instead"
    )
    doses: tuple[float, ...] = Field((1e3, 1e4, 1e5), min_length=1, description="photons per frame")
    gridsizes: tuple[Literal[1, 2, 3], ...] = Field(
        (1, 2), min_length=1, description="group sizes; every view has a network of each"
    )
    neighbor_count: int = Field(7, ge=1, description="K nearest neighbours that a group chooses from")
    views: dict[str, float] = Field(
        default={"dense": 0.7, "sparse": 0.2}, description="overlap f of every spaced view: spacing (1 - f) N"
    )
    split_axis: Literal["y", "x"] = Field("y", description="along which train and test lie side by side")
    split_gap: float | None = Field(None, gt=0, description="px between them; None: the lit width of the probe")
    n_subsample: int | None = Field(None, ge=1, description="frames drawn from a view; None: all")
    simulation_seed: int = Field(42, ge=0, le=2**31 - 1, description="of object, positions and noise")
    grouping_seed: int = Field(123, ge=0, le=2**31 - 1, description="of groups, weights and batches")
    subsampling_seed: int = Field(456, ge=0, le=2**31 - 1, description="of the frames drawn from a view")
    ms_ssim_sigma: float = Field(1.0, ge=0, le=100, description="px; smoothing before MS-SSIM")
    engine: Literal["lsqml", "rpie", "epie", "dm", "autodiff", "native"] = Field(
        "lsqml", description="of the iterative arm"
    )
    epochs: int = Field(100, ge=1, description="of the iterative arm")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="device of every job")
    train: dict[str, Any] = Field(default={}, description="further settings of 'train'")
    train_of_view: dict[str, dict[str, Any]] = Field(default={}, description="the same for one view, by its name")
    baseline: dict[str, Any] = Field(default={}, description="further settings of 'baseline'")
    compare: dict[str, Any] = Field(default={}, description="further settings of 'compare'")
    resources: dict[str, Resources] = Field(
        default=dict(USUAL_RESOURCES), description="of a job on a cluster, by stage; what is absent is as usual"
    )

    @field_validator("doses")
    @classmethod
    def _positive_doses(cls, doses: tuple[float, ...]) -> tuple[float, ...]:
        if not all(dose > 0 for dose in doses):
            raise ValueError("every dose must be positive")
        if len({dose_name(dose) for dose in doses}) < len(doses):
            raise ValueError("give every dose once")
        return tuple(sorted(doses))

    @field_validator("gridsizes")
    @classmethod
    def _each_once(cls, gridsizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(gridsizes)))

    @field_validator("views")
    @classmethod
    def _sound_views(cls, views: dict[str, float]) -> dict[str, float]:
        for name, overlap in views.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == FULL:
                raise ValueError(f"{shortened(name)}: lower-case letters, digits and _ make a name, but not '{FULL}'")
            if not 0 <= overlap < 1:
                raise ValueError(f"{name}: an overlap must be at least 0 and below 1")
        return views

    @field_validator("resources")
    @classmethod
    def _resources_of_stages(cls, resources: dict[str, Resources]) -> dict[str, Resources]:
        if unknown := sorted(resources.keys() - USUAL_RESOURCES.keys()):
            raise ValueError(f"{shortened(unknown[0])}: not a stage; {', '.join(USUAL_RESOURCES)} are")
        return dict(USUAL_RESOURCES) | resources

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        largest = self.gridsizes[-1] ** 2
        if largest > 1 and self.neighbor_count < largest:
            raise PtychoError(
                f"neighbor_count: {self.neighbor_count} given; at least C = {largest} is needed for gridsize "
                f"{self.gridsizes[-1]}."
            )
        for name in self.train_of_view:
            if name not in (FULL, *self.views):
                raise PtychoError(
                    f"train_of_view: {shortened(name)}: not a view; {', '.join((FULL, *self.views))} are."
                )
        for command, settings in self._passed_on():
            for name in OWN[command.partition(".")[0].removesuffix("_of_view")]:
                if name in settings:
                    raise PtychoError(f"{command}: {name}: is set by another field of the design.")
            Settings.of(settings, command)
        return self

    def _passed_on(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Settings passed on to commands, by their place in the design."""
        of_views = [(f"train_of_view.{name}", settings) for name, settings in self.train_of_view.items()]
        return [("train", self.train), *of_views, ("baseline", self.baseline), ("compare", self.compare)]

    @property
    def radius(self) -> float:
        """Of the embedded probe, pixels."""
        return PROBE_RADIUS * self.N if self.probe_radius is None else self.probe_radius

    @property
    def all_views(self) -> tuple[str, ...]:
        """The full view and the spaced ones."""
        return (FULL, *self.views)

    @classmethod
    def of(cls, values: Mapping[str, Any], origin: str = "design") -> Self:
        """Check values by name; what is absent takes its default.

        Args:
            values: fields by name.
            origin: what an error message calls their source.

        Raises:
            PtychoError: for an unknown field or a wrong value, naming it as the user wrote it.
        """
        with naming(origin):
            for name in values:
                if name not in cls.model_fields:
                    close = difflib.get_close_matches(name, cls.model_fields, n=1)
                    hint = f"Did you mean '{close[0]}'?" if close else f"Fields: {', '.join(cls.model_fields)}."
                    raise PtychoError(f"{shortened(name)}: not a field of a study. {hint}")
            return validated(cls, values)


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "reference": MappingProxyType({}),
        "quick": MappingProxyType(
            {
                "N": 64,
                "object_size": 480,
                "step": 12.0,
                "train": {"n_filters_scale": 0.5, "stages": 2, "batch_size": 8, "n_groups": 160, "nepochs": 4},
                # A group of four has a wider canvas the farther its frames are apart.
                "train_of_view": {"dense": {"n_groups": 40, "nepochs": 6}, "sparse": {"n_groups": 16}},
                "epochs": 25,
                "baseline": {"error_draws": 0},
            }
        ),
    }
)


def dose_name(dose: float) -> str:
    """``1000.0`` -> ``1e3``, ``2500.0`` -> ``2.5e3``."""
    mantissa, exponent = f"{dose:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def read_design(path: Path) -> dict[str, Any]:
    """Read a JSON object of fields.

    Raises:
        PtychoError: when the file is missing, is no JSON, or is not an object of known fields.
    """
    values = read_json(path, "fields of a study")
    StudyDesign.of(values, str(path))
    return values


def combined(values: Mapping[str, Any], assigned: Mapping[str, Any]) -> dict[str, Any]:
    """Values with assignments on top; ``train.nepochs`` reaches into the object ``train``."""
    result = dict(values)
    for name, value in assigned.items():
        outer, dot, inner = name.partition(".")
        below = result.get(outer)
        result[outer] = combined(below if isinstance(below, dict) else {}, {inner: value}) if dot else value
    return result

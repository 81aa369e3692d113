"""How far a refinement has come, and how it runs: enough to go on after it was killed."""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from ptychopinn.engines.projections import Estimate, Projections
from ptychopinn.files.signals import Interruption
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics.conditions import Conditions
from ptychopinn.scan.scan import Scan


@dataclass
class Progress:
    """What a refinement needs to go on.

    Attributes:
        estimate: the last one; projections improve it in place.
        blank: whether the fit began at vacuum, or at an image that explains the counts no better.
        spent: epochs.
        stage: of the projections, and ``done`` epochs of it; None when scoring has begun.
        velocity: of the object; ``draws``, the state of the random order of the frames as JSON; ``photons`` and
            ``middle``, which projections keep.
        best: estimate that best explained the pixels held out, with their deviance and the epochs since.
        deviance: of the scoring steps.
        length: conjugate-gradient steps of the last one.
        powers: of the prior, when there is one, and ``spots``.
        affine: whether a map of the positions is an unknown.
    """

    estimate: Estimate
    blank: bool
    spent: int = 0
    stage: int | None = 0
    done: int = 0
    velocity: torch.Tensor | None = None
    draws: str = ""
    photons: float = 0.0
    middle: list[float] = field(default_factory=list)
    best: tuple[Estimate, float, int] | None = None
    deviance: list[float] = field(default_factory=list)
    length: int = 0
    powers: torch.Tensor | None = None
    spots: torch.Tensor | None = None
    affine: bool = False

    def follow(self, steps: Projections) -> None:
        """Let projections go on from here."""
        if self.velocity is not None:
            steps.velocity, steps.photons = self.velocity, self.photons
            steps.middle = torch.tensor(self.middle, dtype=torch.float64).to(steps.middle)
            steps.rng.bit_generator.state = json.loads(self.draws)

    def note(self, steps: Projections) -> None:
        """Note where projections are."""
        self.velocity, self.draws = steps.velocity, json.dumps(steps.rng.bit_generator.state)
        self.photons, self.middle = steps.photons, steps.middle.tolist()

    def check(self, scan: Scan) -> None:
        """Raise a ValueError where this cannot be of a scan: a checkpoint may have been written by anyone."""
        numbers = (self.spent, self.done, self.length, 0 if self.stage is None else self.stage)
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise ValueError("epochs, stages and steps are counts")
        reals = (self.photons, *self.middle, *self.deviance)
        if not all(type(real) is float and math.isfinite(real) for real in reals) or len(self.middle) not in (0, 2):
            raise ValueError("photons, middle and deviances are finite numbers")
        if not (type(self.blank) is bool and type(self.affine) is bool):
            raise ValueError("blank and affine are true or false")
        for estimate in (self.estimate, *(() if self.best is None else self.best[:1])):
            check_estimate(estimate, scan)
        if self.best is not None and not (type(self.best[1]) is float and type(self.best[2]) is int):
            raise ValueError("the best estimate has a deviance, and epochs since")
        if self.velocity is not None:
            check_tensor(self.velocity, tuple(self.estimate.image.shape), torch.complex64)
            np.random.default_rng().bit_generator.state = json.loads(self.draws)
        for part in (self.powers, self.spots):
            if part is not None:
                check_tensor(part, tuple(part.shape), part.dtype)

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and text, as :meth:`of` takes them."""
        found = dict(vars(self)) | {"estimate": tensors_of(self.estimate)}
        if self.best is not None:
            found["best"] = [tensors_of(self.best[0]), *self.best[1:]]
        return found

    @classmethod
    def of(cls, state: dict[str, Any], device: torch.device | str) -> Self:
        """The progress that :meth:`state` described, on a device."""

        def there(parts: dict[str, torch.Tensor]) -> Estimate:
            moved = {name: part.to(device) for name, part in parts.items()}
            conditions = {name: moved.pop(name) for name in Conditions._fields if name in moved}
            return Estimate(**moved, conditions=Conditions(**conditions))

        best, velocity = state["best"], state["velocity"]
        known = {
            "estimate": there(state["estimate"]),
            "velocity": None if velocity is None else velocity.to(device),
            "best": None if best is None else (there(best[0]), *best[1:]),
        }
        return cls(**state | known)


def check_estimate(estimate: Estimate, scan: Scan) -> None:
    """Raise a ValueError where this cannot be an estimate of a scan."""
    modes, count, size = scan.probe.shape[0], len(scan), scan.N
    height, width = estimate.image.shape
    check_tensor(estimate.image, (height, width), torch.complex64)
    check_tensor(estimate.probe, (modes, size, size), torch.complex64)
    check_tensor(estimate.positions, (count, 2), torch.float64)
    low, high = estimate.positions.min(dim=0).values.tolist(), estimate.positions.max(dim=0).values.tolist()
    if min(height, width) < size or min(low) < -size or high[0] > height + size or high[1] > width + size:
        raise ValueError("positions lie far from the image")
    now = estimate.conditions
    number = 0 if now.opr_modes is None else len(now.opr_modes)
    shapes = ((count,), (size, size), (number, size, size), (count, number))
    for part, shape in zip(now, shapes, strict=True):
        if part is not None:
            check_tensor(part, shape, torch.complex64 if part is now.opr_modes else torch.float32)
    if (now.opr_modes is None) != (now.opr_weights is None):
        raise ValueError("modes and weights of a changing probe go together")
    if (now.flux is not None and not (now.flux > 0).all()) or (
        now.background is not None and (now.background < 0).any()
    ):
        raise ValueError("a flux is positive, and no background negative")


def check_tensor(part: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise a ValueError for anything but finite numbers of a shape and a type, all of which are there."""
    if part.layout != torch.strided or part.is_meta or part.dtype != dtype or tuple(part.shape) != shape:
        raise ValueError(f"{dtype} of shape {shape} are needed")
    if part.nbytes > part.untyped_storage().nbytes() or not part.isfinite().all():
        raise ValueError("numbers are missing or not finite")


def tensors_of(estimate: Estimate) -> dict[str, torch.Tensor]:
    """The tensors of an estimate by name."""
    known = vars(estimate) | estimate.conditions._asdict()
    return {name: part for name, part in known.items() if isinstance(part, torch.Tensor)}


TIME_OVER = "the time is over"
"""Why a fit ended that could have gone on."""


class Running(NamedTuple):
    """With whom a fit runs, where it goes on, who keeps its progress, and what may stop it."""

    team: Team = ALONE
    resume: Progress | None = None
    keep: Callable[[Progress], None] = lambda progress: None
    stop: Interruption | None = None

    def allowed(self) -> AbstractContextManager[None]:
        """A block that a signal may end, by :class:`ptychopinn.files.signals.Stopped`."""
        return nullcontext() if self.stop is None else self.stop.allowed()


BY_ITSELF = Running()

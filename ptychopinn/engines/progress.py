"""How far a refinement has come, and how it runs: enough to go on after it was killed."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

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
        """Raise a ValueError where this cannot be of a scan."""
        now = self.estimate
        if now.image.ndim != 2 or now.probe.shape != scan.probe.shape or now.positions.shape != (len(scan), 2):
            raise ValueError("another scan")
        if not (now.image.is_complex() and now.probe.is_complex() and now.positions.is_floating_point()):
            raise ValueError("real and complex parts are exchanged")

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

"""The arms of a comparison as the user names them: ``NAME=PATH`` or ``PATH``, any number of every kind."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ptychopinn.errors import PtychoError, shortened

USUAL: Final = MappingProxyType({"pinn": "PINN", "supervised": "supervised", "iterative": "iterative"})
"""Name of the only arm of a kind, by the kind, which is also its flag and, of a network, its ``model_type``."""

RESERVED: Final = ("truth", "scan", "mask", "origin", "file")
"""Names of other things in the files of a comparison."""

LONGEST: Final = 40
"""Characters of a name: it stands in tables and above pictures."""

REFINED: Final = " refined"
"""Ending of the name of an image that was refined on the counts."""


@dataclass(frozen=True)
class ArmFile:
    """An arm and where it comes from.

    Attributes:
        name: of the row and the panel.
        kind: ``pinn``, ``supervised`` or ``iterative``.
        path: run or image.
    """

    name: str
    kind: str
    path: Path


def named_arms(given: Mapping[str, Sequence[str]], refine: bool = False) -> tuple[ArmFile, ...]:
    """Names and paths of all arms, no two of one name.

    A text is ``NAME=PATH``, or a path; one that exists is a path, whatever it holds. Without a name the only arm of a
    kind has the kind's, and each of several has that of its folder, made unique.

    Args:
        given: texts by kind.
        refine: whether every ``pinn`` arm gets a refined one beside it, whose name must differ too.

    Raises:
        PtychoError: for a name that is given twice or cannot be, or a path that does not exist after ``NAME=``.
    """
    parts = [(kind, text, *_parted(kind, text)) for kind, texts in given.items() for text in texts]
    taken: set[str] = set(RESERVED)
    for kind, text, name, _ in parts:
        for each in (name, *([f"{name}{REFINED}"] if refine and kind == "pinn" else [])) if name else ():
            if each in taken:
                raise PtychoError(
                    f"--{kind} {shortened(text)}: another arm is named '{each}'; each needs a name of its own."
                )
            taken.add(each)
    arms = []
    for kind, _, name, path in parts:
        if name is None:
            others = [other for each, _, named, other in parts if each == kind and named is None]
            name = _free(USUAL[kind] if len(given[kind]) == 1 else _of_folder(path, others), taken)
            taken |= {name, f"{name}{REFINED}"} if kind == "pinn" else {name}
        arms.append(ArmFile(name, kind, path))
    return tuple(arms)


def _parted(kind: str, text: str) -> tuple[str | None, Path]:
    """Name, if there is one, and path of an arm."""
    name, sign, path = text.partition("=")
    if not sign or os.path.exists(text):
        return None, Path(text)
    wrong = f"--{kind} {shortened(text)}: "
    if not name or name != name.strip() or not name.isprintable() or any(mark in name for mark in "|/\\"):
        raise PtychoError(f"{wrong}{shortened(repr(name))} is no name; letters, digits and spaces inside make one.")
    if len(name) > LONGEST:
        raise PtychoError(f"{wrong}a name of {len(name)} characters; at most {LONGEST} are possible.")
    if name in RESERVED:
        raise PtychoError(f"{wrong}the name '{name}' means something else in the results; give another one.")
    if not os.path.exists(path):
        raise PtychoError(f"{wrong}neither this path nor {shortened(path) or 'an empty one'} exists; NAME=PATH needed.")
    return name, Path(path)


def _of_folder(path: Path, others: Sequence[Path]) -> str:
    """Name of the folder of a run or an image, with those above it as far as other arms have the same."""
    own, *rest = _folders(path), *(_folders(other) for other in others if other != path)
    depth = next((depth for depth in range(1, len(own)) if all(own[-depth:] != each[-depth:] for each in rest)), 1)
    return "_".join(own[-depth:]).replace("|", "_")[-LONGEST:]


def _folders(path: Path) -> tuple[str, ...]:
    """Names along the path of the folder of a run or an image; of an image named otherwise, that of the file."""
    whole = path.absolute()
    if whole.name in ("wts.h5.zip", "reconstruction.h5", "reconstruction.npz"):
        whole = whole.parent
    return (*whole.parent.parts[1:], whole.stem if whole.is_file() else whole.name)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with the first number behind it that makes it new."""
    return next(each for each in (name, *(f"{name} {number}" for number in range(2, 10**6))) if each not in taken)

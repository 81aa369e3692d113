"""Checkpoints of a fit: tensors, numbers and texts in one file, which nothing but these is read from."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing


def save_checkpoint(path: Path, values: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    with writing(path) as temporary:
        torch.save(dict(values), temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, to the memory of the host.

    Raises:
        PtychoError: when it is no such file.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file; --resume needs the --out of a refinement that was stopped.") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        raise PtychoError(f"{path}: cannot be read as a checkpoint; start again with --overwrite.") from None
    if not isinstance(found, dict):
        raise PtychoError(f"{path}: holds no checkpoint of a refinement; start again with --overwrite.")
    return found

"""Checkpoints of a fit: tensors, numbers and texts in one file, which nothing but these is read from."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing
from ptychopinn.files.naming import check_plain


def save_checkpoint(path: Path, values: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    with writing(path) as temporary:
        try:
            with temporary.open("wb") as stream:
                torch.save(dict(values), stream)
        except RuntimeError as error:
            # On a full disk torch hides the error of the stream behind one of its own.
            reason: BaseException | None = error
            while reason is not None and not isinstance(reason, OSError):
                reason = reason.__context__
            raise reason or error from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, to the memory of the host.

    Raises:
        PtychoError: when it is no such file.
    """
    check_plain(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file; --resume needs the --out of a refinement that was stopped.") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        raise PtychoError(f"{path}: cannot be read as a checkpoint; start again with --overwrite.") from None
    if not isinstance(found, dict):
        raise PtychoError(f"{path}: holds no checkpoint of a refinement; start again with --overwrite.")
    return found

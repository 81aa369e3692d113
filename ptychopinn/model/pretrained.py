"""The network that ships with the package: trained on generated set-ups, for scans of any set-up."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from ptychopinn.model.bundle import BUNDLE, Run, bundle_file, load_run

NAME: Final = "the network of the package"


def bundle_of(path: Path | None) -> Path:
    """The bundle of a run folder, the file itself, or that of the package."""
    return Path(str(files("ptychopinn.model") / "weights" / BUNDLE)) if path is None else bundle_file(path)


@cache
def pretrained() -> Run:
    """The network of ``ptychopinn/model/weights``; the card there says what it saw and where it fails."""
    return load_run(bundle_of(None))


def chosen_run(path: Path | None) -> Run:
    """The run of a path, or the network of the package."""
    return pretrained() if path is None else load_run(path)

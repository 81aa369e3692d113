"""Physics-informed neural ptychography in PyTorch: scans in, images out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ptychopinn.api import (
        infer,
        load_run,
        make_probe,
        pretrained,
        read_reconstruction,
        read_scan,
        reconstruct,
        simulate,
        train,
    )
    from ptychopinn.reconstruction import Reconstruction
    from ptychopinn.scan.scan import Scan

HOMES: Final = {"Scan": "ptychopinn.scan.scan", "Reconstruction": "ptychopinn.reconstruction"}

__all__ = [
    "Reconstruction",
    "Scan",
    "infer",
    "load_run",
    "make_probe",
    "pretrained",
    "read_reconstruction",
    "read_scan",
    "reconstruct",
    "simulate",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``ptychopinn --help`` need not load torch."""
    if name in __all__:
        home = HOMES.get(name, "ptychopinn.api")
        return getattr(import_module(home), name)
    raise AttributeError(f"module 'ptychopinn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

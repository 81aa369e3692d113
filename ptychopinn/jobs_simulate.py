"""What ``simulate`` leaves on disk: a scan, or one scan cut in two."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ptychopinn import api
from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.execution import Report
from ptychopinn.files.npz import write_npz, write_npz_files
from ptychopinn.scan import Scan

SIDES = ("train", "test")


def files_of(out: Path, split: str | None) -> tuple[Path, ...]:
    """The files that a simulation writes: ``OUT.npz``, or with ``split`` ``OUT_train.npz`` and ``OUT_test.npz``."""
    return (out,) if split is None else tuple(out.with_name(f"{out.stem}_{side}.npz") for side in SIDES)


def simulate_files(
    out: Path,
    settings: Settings,
    source: Path | None = None,
    split: str | None = None,
    gap: float | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
    given: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Simulate a scan and write it whole, or cut in two along an axis; of two files both or none are written.

    The cut halves the frames; those less than half the gap away from it are in neither file.

    Args:
        out: NPZ file, or what the names of two begin with.
        settings: effective settings.
        source: NPZ file with object, probe or positions to use instead of embedded ones.
        split: axis, y or x.
        gap: pixels along it between the positions of the two parts; :attr:`Scan.clear_distance` when None.
        overwrite: replace older files.
        report: receives a line about the gap and one for each file.
        given: settings that were asked for by name, and what the user calls them; see :func:`ptychopinn.api.make_scan`.

    Raises:
        PtychoError: for a name or a split that cannot be, or a file that is there already.
    """
    if out.suffix != ".npz":
        raise PtychoError(f"{out}: the name of the file to write must end in .npz.")
    if split is None and gap is not None:
        raise PtychoError("--split-gap: given without --split; give --split y or x too.")
    if split not in (None, "y", "x"):
        raise PtychoError(f"--split: {split!r} given; y or x is needed.")
    files = files_of(out, split)
    for file in files:
        if file.is_dir() or (file.exists() and not overwrite):
            raise PtychoError(f"{file}: exists already; give another name, or --overwrite to replace it.")
    scan = api.make_scan(settings, source, given)
    if split is None:
        parts: tuple[Scan, ...] = (scan,)
        write_npz(out, scan)
    else:
        gap = scan.clear_distance if gap is None else gap
        parts = scan.split(split, gap=gap)
        write_npz_files(dict(zip(files, parts, strict=True)))
        left_out = len(scan) - sum(map(len, parts))
        report(f"{left_out} of {len(scan)} frames lie in a gap of {gap:g} px along {split} and are left out")
    for file, part in zip(files, parts, strict=True):
        report(f"{file}: {len(part)} frames of {part.N} x {part.N} pixels, {part.photons:.3g} photons per frame")

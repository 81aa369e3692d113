"""``view``: a page to look at results."""

import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.figures.page.page import Shown, draw_page, frames_that_fit
from ptychopinn.figures.reconstruction import facts_of
from ptychopinn.files.output_folder import check_apart, check_new, read_provenance
from ptychopinn.files.reading import open_scan
from ptychopinn.files.reconstruction import read_reconstruction, reconstruction_file
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan

WORST: Final = 6
"""Frames in the page that the image explains worst; the others are spread over the scan."""

SUFFIXES: Final = (".html", ".htm")


def view_page(results: Sequence[Path], source: Path | None, browse: bool, request: Request) -> Path:
    """Write one self-contained page of results.

    Args:
        results: folders or files that image-producing commands wrote.
        source: their scan, for measured and fitted frames.
        browse: open the page in the browser.
        request: how to read the scan; ``out`` is the page.
    """
    out = request.out
    if out.suffix not in SUFFIXES:
        raise PtychoError(f"{out}: the name of the page must end in .html.")
    check_new(out, request.overwrite)
    check_apart([out], request.reads(source, *map(reconstruction_file, results)))
    images = {path: read_reconstruction(path) for path in results}
    scan = None if source is None else open_scan(source, request.settings.data)
    shown = [
        page_part(_name(path, results), image, scan, len(images), _made_by(path)) for path, image in images.items()
    ]
    draw_page(out, shown, "Reconstruction" if len(shown) == 1 else "Reconstructions")
    if browse:
        webbrowser.open(out.resolve().as_uri())
    return out


def draw_view(path: Path, images: Mapping[str, Reconstruction], scan: Scan | None, title: str) -> None:
    """Write the page of images by name, with frames of a scan where an image is of its frames.

    Raises:
        RunFailedError: when it cannot be written.
    """
    shown = []
    for name, image in images.items():
        try:
            shown.append(page_part(name, image, scan, len(images)))
        except RunFailedError:
            raise
        except PtychoError:
            shown.append(page_part(name, image, None))
    draw_page(path, shown, title)


def page_part(
    name: str, image: Reconstruction, scan: Scan | None, count: int = 1, made_by: dict[str, str] | None = None
) -> Shown:
    """A result as a page shows it.

    Args:
        name: in the page.
        image: the result.
        scan: of its frames, for some of them.
        count: results in the page.
        made_by: further rows of its table.

    Raises:
        PtychoError: when the scan is another one.
    """
    bars = None
    if image.amplitude_std is not None and image.phase_std is not None:
        bars = image.amplitude_std, image.phase_std
    part = Shown(
        name,
        image.object,
        image.coverage,
        image.origin,
        image.positions,
        image.pixel_size_m,
        bars,
        "spread of patches" if image.std_of == "patches" else "standard deviation",
        image.frame_numbers,
        facts_of(image) | (made_by or {}),
    )
    return part if scan is None else _with_frames(part, image, scan, count)


def _name(path: Path, others: Sequence[Path]) -> str:
    """The folder's name, or as much of the path as tells it from the others."""
    own = reconstruction_file(path).resolve()
    names = [reconstruction_file(other).resolve().parent.name for other in others]
    return own.parent.name if names.count(own.parent.name) == 1 else str(path)


def _made_by(path: Path) -> dict[str, str]:
    """Command and date, where a provenance lies beside the file."""
    try:
        record = read_provenance(reconstruction_file(path).parent)
    except PtychoError:
        return {}
    return {
        "made by": f"ptychopinn {record.get('ptychopinn', '')} {record.get('command', '')}, {record.get('date', '')}"
    }


def _with_frames(part: Shown, image: Reconstruction, scan: Scan, count: int) -> Shown:
    """With some measured frames and what the image makes of them."""
    import torch  # it takes a second to import, and a page without frames has no use for it

    from ptychopinn.commands.shared.results import check_pixels
    from ptychopinn.physics.conditions import expected_counts

    check_pixels(image.pixel_size_m, scan.pixel_size_m, part.name, "the scan")
    if image.probe is not None and image.probe.shape[-1] != scan.N:
        raise PtychoError(
            f"{part.name}: its probe has {image.probe.shape[-1]} pixels and the scan's frames {scan.N}; read the scan "
            "as it was read then (--crop)."
        )
    mine = np.arange(len(image.positions)) if image.frame_numbers is None else image.frame_numbers
    numbers, rows, there = np.intersect1d(mine, scan.numbers, return_indices=True)
    if len(numbers) < len(mine):
        missing = sorted(set(mine.tolist()) - set(numbers.tolist()))[0]
        raise PtychoError(f"--scan: holds no frame {missing} of {part.name}; the scan that it was made of is needed.")
    chosen = _chosen(image, rows, frames_that_fit(scan.N, count))
    rows, there = rows[chosen], there[chosen]
    measured = scan.frames(there).numpy().astype(np.float32)
    if scan.good_pixels is not None:
        measured[:, ~scan.good_pixels] = np.nan
    probe = scan.probe if image.probe is None else image.probe
    places = torch.from_numpy(image.positions[rows] - np.array(image.origin))
    pixels, conditions = torch.from_numpy(image.object), image.conditions.of(torch.from_numpy(rows))
    fitted = expected_counts(pixels, torch.from_numpy(probe), places, image.subpixel, conditions)
    return replace(part, frames=rows, measured=measured, fitted=fitted.numpy())


def _chosen(image: Reconstruction, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Which of some rows to show: the worst ones, and others spread over the scan."""
    chosen: Any = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    if image.frame_deviance is None or image.expected_frame_deviance is None or len(chosen) == len(rows):
        return np.asarray(chosen)
    ratio = (image.frame_deviance / np.maximum(image.expected_frame_deviance, 1e-12))[rows]
    worst = np.argsort(ratio)[::-1][: min(WORST, most // 2)]
    others = np.unique(np.linspace(0, len(rows) - 1, max(1, most - len(worst))).astype(np.int64))
    return np.union1d(worst, others)

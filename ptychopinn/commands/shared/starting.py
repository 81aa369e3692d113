"""What an iterative engine starts from: a reconstruction of ours, or a result of another program laid under a scan."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ptychopinn.commands.shared.results import check_pixels
from ptychopinn.config import DataConfig
from ptychopinn.errors import WARNING, PtychoError
from ptychopinn.files.formats import registry
from ptychopinn.files.output_folder import file_in
from ptychopinn.files.reading import open_record, read
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.files.record import Reading, Record, pixel_size
from ptychopinn.files.results.own import OWN
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

READ_AS_OURS: Final = (*OWN, "npz", "tike")
"""Formats of which no other program made an image; what is wrong with such a file is said as of one of ours."""

FAR_OFF = 0.05
"""Share of the extent of a scan by which positions may differ, root mean square, and be those of the same scan."""

NEAR = 3.0
"""Pixels by which they may differ in any case."""

WORTH_A_LINE = 0.02
"""Relative change of the amplitudes that the user is told of."""

LOOKED_AT = 64
"""Frames that tell how bright the image is."""


def start_of(path: Path, scan: Scan, data: DataConfig, source: Path, report: Report) -> Reconstruction:
    """The image to start from, on the object frame of a scan.

    Args:
        path: reconstruction, its folder, or a result of another program.
        scan: that it is to lie under.
        data: how ``scan`` was read.
        source: its file.
        report: receives what was assumed.

    Raises:
        PtychoError: for a file without an image, or an image that cannot be laid under the frames.
    """
    inside = file_in(path)
    if inside is None or not inside.is_file() or registry.recognise(inside).name in READ_AS_OURS:
        start = read_reconstruction(path)
        check_pixels(start.pixel_size_m, scan.pixel_size_m, f"--init {path}", "the scan")
        return replace(start, flux=None, background=None, opr_modes=None, opr_weights=None)
    record = read(inside, Reading(allow_external=data.allow_external))
    if record.object is None:
        raise PtychoError(f"--init {path}: holds no object; an image to start from is needed.")
    check_pixels(pixel_size(record), scan.pixel_size_m, f"--init {path}", "the scan")
    for note in record.notes:
        report(note)
    try:
        place = _place(record, scan, data, source, report)
    except PtychoError as error:
        raise error.of(Path(f"--init {path}")) from None
    return _as_bright(_laid(record.object.astype(np.complex64), place, scan), scan, report)


def _place(record: Record, scan: Scan, data: DataConfig, source: Path, report: Report) -> NDArray[np.float64]:
    """Where pixel [0, 0] of the object lies in the object frame of the scan, (y, x)."""
    theirs = None if record.positions is None else _of_frames(record.positions, scan)
    if theirs is not None:
        place = np.median(scan.positions - theirs, axis=0)
        apart = math.sqrt(float(((scan.positions - theirs - place) ** 2).sum(axis=1).mean()))
        extent = math.sqrt(float(scan.positions.var(axis=0).sum()))
        if apart > max(NEAR, FAR_OFF * extent):
            raise PtychoError(
                f"its positions differ from those of the scan by {apart:.3g} px (root mean square, after the best "
                "shift); an image of this scan, with axes of the same direction and pixels of the same size, is needed."
            )
        if apart > 1:
            report(f"{WARNING}init: its positions differ from those of the scan by {apart:.2g} px (root mean square).")
        return place
    if record.origin_m is None or record.pixel_m is None or data.crop or data.flip_x or data.flip_y or data.swap_xy:
        raise PtychoError(
            "nothing says where its image lies under the frames; positions of the same frames are needed."
        )
    there = open_record(source, data).origin_m
    if there is None:
        raise PtychoError(f"has no positions, and {source} has none in metres; one of them is needed to lay the image.")
    report("init: without positions; its image is laid by its place in metres.")
    return (np.array(record.origin_m) - np.array(there)) / np.array(record.pixel_m)


def _of_frames(positions: NDArray[np.float64], scan: Scan) -> NDArray[np.float64] | None:
    """The positions of the frames of a scan among those of a result, which has all frames of the file or these."""
    if len(positions) == len(scan):
        return positions
    return positions[scan.numbers] if len(positions) > scan.numbers.max() else None


def _laid(image: NDArray[np.complex64], place: NDArray[np.float64], scan: Scan) -> Reconstruction:
    """An image whose pixels lie on those of the scan's object frame, by cubic splines."""
    origin = np.round(place).astype(int)
    part = place - origin
    if (abs(part) > 1e-3).any():
        real, imag = (ndimage.shift(values, part, order=3, mode="nearest") for values in (image.real, image.imag))
        image = (real + 1j * imag).astype(np.complex64)
    return Reconstruction(
        object=image,
        origin=(int(origin[0]), int(origin[1])),
        coverage=np.ones(image.shape, np.float32),
        positions=scan.positions,
        pixel_size_m=scan.pixel_size_m,
    )


def _as_bright(start: Reconstruction, scan: Scan, report: Report) -> Reconstruction:
    """The image times one real number, so that it has the photons of the frames with the probe of the scan.

    Programs share out the photons between probe and object in their own ways.
    """
    few = np.unique(np.linspace(0, len(scan) - 1, LOOKED_AT).astype(np.int64))
    places = torch.from_numpy(scan.positions[few] - np.array(start.origin))
    rate = diffract(torch.from_numpy(scan.probe), extract_patches(torch.from_numpy(start.object), places, scan.N))
    good = torch.ones(rate.shape[1:]) if scan.good_pixels is None else torch.from_numpy(scan.good_pixels)
    expected, measured = float((rate * good).sum()), float(scan.frames(few).sum())
    if not expected > 0 or not measured > 0:
        raise PtychoError("init: its image does not reach the frames; an image of this scan is needed.")
    factor = math.sqrt(measured / expected)
    if abs(factor - 1) > WORTH_A_LINE:
        report(f"init: amplitudes times {factor:.3g}, so that the image has the photons of the frames with this probe.")
    return replace(start, object=start.object * np.float32(factor))

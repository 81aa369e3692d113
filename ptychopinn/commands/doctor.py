"""``doctor``: what is installed, which devices and filters work and how fast, and what is missing."""

import os
import platform
import shutil
import sys
import tempfile
import time
from importlib import metadata
from typing import Final

import torch

from ptychopinn.errors import RunFailedError
from ptychopinn.files.filters import reading_speeds
from ptychopinn.memory import memory
from ptychopinn.text import readable

LIBRARIES: Final = ("torch", "numpy", "lightning", "h5py", "hdf5plugin", "ptychi", "matplotlib", "bokeh")

EXTRAS: Final = {
    "mlflow": "pip install 'ptychopinn[mlflow]', for --logger mlflow",
    "tensorboard": "pip install 'ptychopinn[tensorboard]', for --logger tensorboard",
    "onnx": "pip install 'ptychopinn[export]', for export to ONNX",
    "snakemake": "pip install 'ptychopinn[cluster]', for studies on a cluster",
}
"""What can be installed besides, by the name of its library."""

FRAMES, SIZE, SECONDS = 256, 64, 0.3
"""Frames of 64 x 64 pixels that are transformed for some tenths of a second."""


def examine() -> str:
    """A table of two columns: what was looked at, and what was found.

    Raises:
        RunFailedError: when something that the package needs does not work; its message holds the table.
    """
    rows = [
        ("ptychopinn", metadata.version("ptychopinn")),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
    ]
    rows += [(name, metadata.version(name)) for name in LIBRARIES]
    rows.append(("cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()}"))
    rows.append(("memory", f"{memory() / 2**30:.1f} GiB"))
    space = shutil.disk_usage(tempfile.gettempdir()).free
    rows.append((f"free in {tempfile.gettempdir()}", f"{space / 2**30:.1f} GiB"))
    rows += [(name, _device(name)) for name in _devices()]
    broken = []
    for name, speed in reading_speeds().items():
        works = not isinstance(speed, str)
        rows.append((f"HDF5, {name}", f"reads {float(speed):.0f} MB/s" if works else f"does not work: {speed}"))
        broken += [] if works else [f"the HDF5 filter {name}"]
    rows += [(f"not installed: {name}", how) for name, how in EXTRAS.items() if not _installed(name)]
    text = "\n".join(f"{name}  {found}" for name, found in rows)
    if broken:
        raise RunFailedError(f"{', '.join(broken)} not working; files written with it cannot be read:\n{text}")
    return text


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _devices() -> list[str]:
    found = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _device(name: str) -> str:
    """Name, memory and speed of a device in Fourier transforms, most of the work of a fit."""
    about = "no CUDA build of torch" if name == "cpu" and torch.version.cuda is None else ""
    if name.startswith("cuda"):
        properties = torch.cuda.get_device_properties(name)
        about = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    frames = torch.ones(FRAMES, SIZE, SIZE, dtype=torch.complex64, device=name)
    torch.fft.fft2(frames)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        float(torch.fft.fft2(frames)[0, 0, 0].real)  # waits for the device
        done += FRAMES
    rate = readable(done / (time.perf_counter() - began))
    return ", ".join(filter(None, (about, f"{rate} Fourier transforms of {SIZE} x {SIZE} pixels per second")))

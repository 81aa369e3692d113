"""How a model runs: the device, precision and batch size for inference, compilation for training."""

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.model import PtychoModel

Precision = Literal["auto", "32", "bf16"]

GPU_BATCH: Final = 512
CPU_BATCH: Final = 64
"""Groups per network call: enough to keep a GPU busy; few enough for the caches of a core."""


def device_of(settings: Settings) -> str:
    """The torch device that the accelerator setting means here.

    Raises:
        PtychoError: when the machine has none.
    """
    wanted = settings.execution.accelerator
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if here["cuda"] else "cpu"
    if not here[wanted]:
        raise PtychoError(f"accelerator: {wanted} asked for, but this machine has none; use auto or cpu.")
    return wanted


def usual_batch_size(device: str) -> int:
    """Groups per network call when nobody asks for a number."""
    return CPU_BATCH if torch.device(device).type == "cpu" else GPU_BATCH


def multiplies_bf16(device: str) -> bool:
    """Whether a device has arithmetic units for bfloat16; without them it is slower than float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return kind == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def ready(model: PtychoModel, device: str, precision: Precision = "auto") -> PtychoModel:
    """A copy of a model to predict with; the model itself stays where and as it is.

    In bfloat16 are the layers of the networks only, with float32 sums inside each convolution. What they add to the
    image is summed up in float32, and so is the physics.

    Args:
        model: trained.
        device: torch device.
        precision: of the networks; "auto" is "bf16" where :func:`multiplies_bf16`, and "32" elsewhere.
    """
    found = copy.deepcopy(model).to(device).eval()
    if precision == "bf16" or (precision == "auto" and multiplies_bf16(device)):
        found.networks.to(torch.bfloat16)
    return found


@contextmanager
def algorithms(deterministic: bool) -> Iterator[None]:
    """With ``deterministic``, let torch use only algorithms that repeat to the last bit, as long as the block lasts."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compile_networks(model: PtychoModel, device: str) -> None:
    """Compile the networks at their first call, by ``torch.compile``; names and weights stay.

    Raises:
        PtychoError: on a CPU without a C++ compiler.
    """
    if torch.device(device).type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise PtychoError(
            "compile_network: on a CPU a C++ compiler is needed, but g++ or $CXX is not here; leave it off."
        )
    for network in model.networks:
        network.compile(dynamic=False)

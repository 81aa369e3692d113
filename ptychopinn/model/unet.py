"""From feature channels to a complex image: a small U-Net. No physics."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PHASE_SCALE = 2.0
"""Radians per unit of the phase channel."""


class UNet(nn.Module):
    """Residual encoder-decoder with skips by addition; its last layer starts at zero.

    Args:
        channels_in: input channels.
        channels_out: output channels.
        width: channels at full size; doubled at each of ``depth`` halvings.
        depth: halvings; the image edge must be a multiple of ``2 ** depth``.
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.enter = nn.Conv2d(channels_in, width, 3, padding=1)
        self.encode = nn.ModuleList(_Block(w) for w in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in range(depth))
        self.bottom = nn.Sequential(_Block(widths[-1]), _Block(widths[-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(widths[i + 1], widths[i], 2, stride=2) for i in range(depth))
        self.decode = nn.ModuleList(_Block(w) for w in widths[:-1])
        self.leave = nn.Conv2d(width, channels_out, 3, padding=1)
        # Training starts from "no correction", which is vacuum or the previous stage.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, M, M) -> (B, channels_out, M, M)."""
        # A network of fewer bits takes its input in them; under autocast weights and input are float32.
        x = self.enter(x.to(self.enter.weight.dtype, memory_format=torch.channels_last))
        skips = []
        for encode, down in zip(self.encode, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decode, skip in zip(self.up[::-1], self.decode[::-1], skips[::-1], strict=True):
            x = decode(up(x) + skip)
        out: Tensor = self.leave(functional.relu(x, inplace=True))
        return out


class _Block(nn.Module):
    """Pre-activation residual block of two 3 x 3 convolutions, no normalisation: amplitudes mean something."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # Memory traffic counts as much as arithmetic here: in place and fused where no gradient needs the input.
        change = self.second(functional.relu(self.first(functional.relu(x)), inplace=True))
        return torch.add(x, change, alpha=0.5)


def to_complex(channels: Tensor, amp_activation: str = "softplus") -> Tensor:
    """Transmission of amplitude and phase as :func:`to_amplitude_and_phase` gives them: (B, n, M, M) complex."""
    return torch.polar(*to_amplitude_and_phase(channels, amp_activation))


def to_amplitude_and_phase(channels: Tensor, amp_activation: str = "softplus") -> tuple[Tensor, Tensor]:
    """Amplitude ``softplus(a + ln(e - 1))``, ``exp(a)`` or ``relu(1 + a)``; phase ``2 b`` rad.

    Zero channels are vacuum. The amplitude is positive and unbounded above, the phase free.

    Args:
        channels: (B, 2 n, M, M); the first n are a, the last n are b.
        amp_activation: "softplus", "exp" or "relu".

    Returns:
        Amplitude and phase in rad, each (B, n, M, M) and float32 or float64.
    """
    # bfloat16 would round the phase to 1/256 of itself.
    a, b = channels.to(torch.promote_types(channels.dtype, torch.float32)).chunk(2, dim=1)
    match amp_activation:
        case "softplus":
            amplitude = functional.softplus(a + math.log(math.e - 1))
        case "exp":
            amplitude = a.exp()
        case "relu":
            amplitude = functional.relu(1 + a)
        case _:
            raise ValueError(f"amp_activation {amp_activation!r}")
    return amplitude, PHASE_SCALE * b

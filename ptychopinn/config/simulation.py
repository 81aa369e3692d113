"""Settings of simulated scans."""

from typing import Literal

from pydantic import Field

from ptychopinn.config.section import Section


class SimulationConfig(Section):
    """What a simulated scan looks like when no file gives object, probe or positions."""

    object: Literal["siemens", "lines"] = Field("siemens", description="a Siemens star, or thin lines")
    object_size: int = Field(256, ge=48, le=8192, description="edge of the object, px")
    N: int = Field(64, ge=16, le=1024, multiple_of=2, description="edge of a frame, px")
    step: float = Field(5.0, gt=0, description="distance between neighbouring positions, px")
    jitter: float = Field(0.2, ge=0, le=0.5, description="largest random move of a position, in steps")
    probe_radius: float = Field(12.0, gt=0, description="radius of the disc probe, px")
    probe_curvature: float = Field(2.5, description="phase of the probe at its edge, rad")
    interpolation: Literal["bilinear", "cubic", "fourier"] = Field(
        "bilinear", description="interpolation of the object between pixels; fourier moves the probe instead"
    )

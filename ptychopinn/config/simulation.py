"""Settings of simulated scans."""

from typing import Final, Literal

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


class BeamlineConfig(Section):
    """What a simulated beamline does that the file does not say; the file keeps the truth as true_* arrays."""

    hard: bool = Field(False, description="a hard scan: faults of real beamlines, which the settings below change")
    background: float = Field(0, ge=0, le=1e6, description="counts of every pixel that are not of the beam, mean")
    flux_drift: float = Field(0, ge=0, lt=1, description="share of the beam that is lost by the last frame")
    flux_jitter: float = Field(0, ge=0, le=0.5, description="rms variation of the flux from frame to frame")
    probe_drift: float = Field(0, ge=0, le=0.5, description="rms variation of the probe, share of its amplitude")
    position_error: float = Field(0, ge=0, le=20, description="independent error along each axis, px rms")
    position_drift: float = Field(0, ge=0, le=50, description="drift of the sample from first to last frame, px")
    backlash: float = Field(0, ge=0, le=20, description="distance between positions reached from two sides, px")
    position_rotation: float = Field(0, ge=-45, le=45, description="of the true positions, degrees from x to y")
    position_scale: float = Field(0, ge=-0.5, le=0.5, description="share by which the true distances are larger")
    position_shear: float = Field(0, ge=-0.5, le=0.5, description="shear of the true positions, x per y")
    dead_pixels: int = Field(0, ge=0, le=10000, description="detector pixels that read 0")
    hot_pixels: int = Field(0, ge=0, le=10000, description="detector pixels that read too much in every frame")
    saturation: float | None = Field(None, ge=1, description="largest count of a pixel; None: no limit")
    detector_blur: float = Field(0, ge=0, le=5, description="standard deviation of the detector's point spread, px")
    probe_modes: int = Field(1, ge=1, le=6, description="incoherent modes of the true probe; the file has the first")
    mode_power: float = Field(0.1, ge=0, lt=1, description="share of the power in the modes after the first")
    start_defocus: float = Field(
        0, ge=-20, le=20, description="defocus of the probe in the file, rad at N/8 of the detector"
    )
    bad_frames: float = Field(0, ge=0, le=0.3, description="share of frames that are dark or of another position")


HARD: Final = {
    "background": 0.3,
    "flux_drift": 0.5,
    "flux_jitter": 0.1,
    "probe_drift": 0.05,
    "position_rotation": 3.0,
    "position_scale": 0.03,
    "dead_pixels": 20,
    "hot_pixels": 5,
    "bad_frames": 0.02,
}
"""Settings of a hard scan."""

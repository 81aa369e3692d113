"""Settings of the network."""

from typing import Final, Literal

from pydantic import Field

from ptychopinn.config.section import Section

WHOLE_SIDE: Final = 3
"""Root of the frames in a small scan, on which a network for the canvas of a whole scan is trained."""


class ModelConfig(Section):
    """The network."""

    gridsize: Literal[1, 2, 3] = Field(1, description="a group has gridsize^2 neighbouring frames")
    features: Literal["realspace", "amplitude"] = Field(
        "realspace", description="network input: projection steps, or sqrt(counts)"
    )
    stages: int = Field(3, ge=1, le=8, description="networks in a row, each starting from the last image")
    n_filters_scale: float = Field(1.0, gt=0, le=16, description="network width; 1 is 16 channels at full size")
    depth: int = Field(2, ge=1, le=5, description="times the network halves the image")
    noise_input: bool = Field(False, description="tell the network how many photons light each object pixel")
    canvas: Literal["group", "scan"] = Field(
        "group", description="where frames meet: each group by itself, or all in the image of the whole scan"
    )
    hidden_channels: int = Field(
        0, ge=0, le=64, description="channels that a stage hands to the next, beside the image"
    )
    model_type: Literal["pinn", "supervised"] = Field("pinn", description="learn from the counts, or from true patches")
    amp_activation: Literal["softplus", "exp", "relu"] = Field(
        "softplus", description="what keeps the amplitude positive"
    )
    probe_trainable: bool = Field(False, description="train the probe too, its power kept; inference then uses it")

    @property
    def whole(self) -> bool:
        """Whether all frames of a scan meet on one canvas."""
        return self.canvas == "scan" and self.features == "realspace"

    @property
    def sees_noise(self) -> bool:
        """Whether the network is told how many photons light each object pixel."""
        return self.noise_input or self.whole

    @property
    def group_side(self) -> int:
        """Root of the number of frames in a group that is trained on."""
        return WHOLE_SIDE if self.whole else self.gridsize

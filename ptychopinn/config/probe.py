"""Settings of a probe that no file gives, and of the image that a fit starts from."""

from typing import Literal

from pydantic import Field, field_validator

from ptychopinn.config.section import Section

QUANTITIES = (
    "aperture_diameter",
    "focal_length",
    "central_stop",
    "refocus",
    "photon_energy",
    "detector_distance",
    "detector_pixel",
)


class ProbeConfig(Section):
    """Where a probe comes from, and the optics that make it."""

    probe_from: str | None = Field(
        None,
        description="search, mean-pattern, zone-plate, aperture, gaussian, or FILE; None: of the file, else search",
    )
    modes: int | None = Field(None, ge=1, le=16, description="incoherent modes of the probe; None: as many as explain")
    aperture_diameter: str | None = Field(
        None, description="of zone plate or pinhole, '180 um'; of a Gaussian its FWHM on the object, '12 px'"
    )
    focal_length: str | None = Field(None, description="of the zone plate, such as '52 mm'")
    central_stop: str | None = Field(None, description="diameter of its central stop, such as '60 um'")
    refocus: str | None = Field(None, description="moves a probe down the beam, such as '20 um'; negative: up")
    photon_energy: str | None = Field(None, description="such as '8.8 keV', where the file does not say")
    detector_distance: str | None = Field(
        None, description="object to detector, such as '1.92 m', where the file does not say"
    )
    detector_pixel: str | None = Field(None, description="edge of one, such as '75 um', where the file does not say")

    @field_validator(*QUANTITIES, mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        """A bare number, whose missing unit is said where it is read."""
        return str(value) if type(value) in (int, float) else value


class StartConfig(Section):
    """What ``reconstruct`` starts from."""

    start_image: Literal["auto", "network", "vacuum"] = Field(
        "auto", description="image to start from; auto: of the package's network where held-out pixels prefer it"
    )

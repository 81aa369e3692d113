"""Findings about a fit as sentences."""

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import BaselineConfig
from ptychopinn.engines.judging.axes import axes_in_words, better_axes, may_be_better
from ptychopinn.engines.judging.verdict import SOME_EXCESS, Finding, findings, flux_factors, outliers
from ptychopinn.errors import WARNING
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import warned_of
from ptychopinn.scan.probe_scale import among_neighbours
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable

WELL_ABOVE_NOISE, ABOVE_DIM_NOISE = 1.6, 1.3
"""Warn when deviance / expected deviance exceeds this, and for a dim scan. Correct simulated fits end at 0.92 to 1.03
(1.21 with held-out pixels), the measured Siemens star at 1.51: with many photons the small errors of every measurement
show."""

BAD = 5.0
"""Deviance, over that of noise, of a fit to which nothing fits: first what the reader of the scan took for granted."""

BESIDE = 1.5
"""Range of the light of frames, in that of their neighbours at the measured positions, from which flux is suspected."""

DIM = 10.0
"""A scan is dim below this many photons per detector pixel."""

NAMED = 5
"""Frames that a line names."""

LOW = 0.8
"""Flux, of the median, below which a frame counts as one of a beam that was off."""


MANY = 64
"""Frames from which on axes are glanced at whatever a fit left: it costs as much as 50 epochs of so few."""

ENOUGH = 30
"""Epochs from which on axes are looked at: a fit of fewer is poor by itself, and the search takes longer than it."""


def verdict(result: Reconstruction, scan: Scan, config: BaselineConfig, device: str = "cpu") -> list[str]:
    """Lines about a fit that leaves more than noise: the frames that stand out, and the likely cause.

    A fit near the noise gets a line only for causes that are sure: flux, frames, pixels, constant light.
    """
    limit = ABOVE_DIM_NOISE if scan.photons < DIM * scan.N**2 else WELL_ABOVE_NOISE
    doubtful = result.deviance > limit * result.expected_deviance
    found = findings(result, scan, device, doubtful)
    lines = []
    causes = _causes(found, result, scan, config, device) if doubtful or found else _axes(result, scan, config, device)
    if causes:
        lines.append(
            f"{WARNING}deviance per pixel {result.deviance:.3g}, where noise alone would have "
            f"{result.expected_deviance:.3g}: {causes}; no error bar knows of that"
        )
    if len(worst := outliers(result)):
        lines.append(_worst(result, worst, scan.numbers))
    return lines


def _causes(found: list[Finding], result: Reconstruction, scan: Scan, config: BaselineConfig, device: str) -> str:
    """The likely causes as one sentence; axes are looked at where neither detector nor flux is to blame."""
    # What is wrong with the frames spoils the fit, and with it all that is read from its residual.
    if scan.doubted and result.deviance > BAD * result.expected_deviance:
        return f"first check how the scan was read: {'; '.join(scan.doubted)}"
    if warned := warned_of(scan):
        return warned
    if config.epochs >= ENOUGH and (not found or found[0].cause in ("object", "positions", "probe")):
        axes = better_axes(scan, result.subpixel, device, result.conditions)
        if axes is not None:
            return axes_in_words(axes)
    return "; ".join(_sentence(one, result, scan, config) for one in found) or unknown_cause(config, result, scan)


def _axes(result: Reconstruction, scan: Scan, config: BaselineConfig, device: str) -> str:
    """What is wrong with the axes of a fit that ended near the noise: it can adapt to axes that are a little wrong."""
    moved = {"positions", "affine"} & set(result.fitted)
    few = len(scan) < MANY and not result.deviance > SOME_EXCESS * result.expected_deviance
    if moved or few or config.epochs < ENOUGH:
        return ""
    how = result.subpixel, device, result.conditions
    axes = better_axes(scan, *how) if may_be_better(scan, *how) else None
    return "" if axes is None else axes_in_words(axes)


def _sentence(one: Finding, result: Reconstruction, scan: Scan, config: BaselineConfig) -> str:
    """What a cause is, how much it explains, and what to do."""
    share = f"{min(1.0, one.share):.0%} of the excess"
    match one.cause:
        case "flux":
            doing = "" if "flux" in result.fitted else "; --refine-flux fits a factor to every frame"
            flux = _flux(flux_factors(result), scan.numbers)
            return f"{flux}, which explains {share} (not probe or positions){doing}"
        case "frames":
            return f"{share} is in the frames that stand out; leave them out, or check their positions"
        case "stop":
            return (
                f"{one.amount:.0f} detector pixels about [{one.pixel[0]}, {one.pixel[1]}] read nothing where the image "
                f"puts light, which explains {share}: a beam stop or dead pixels that bad_pixels does not mark"
            )
        case "pixels":
            row, column = one.pixel
            return (
                f"single detector pixels that read too much or too little in every frame explain {share}, the worst "
                f"[{row}, {column}] reads {readable(one.amount)} times its light; mark such pixels in bad_pixels, or "
                "correct the flat field"
            )
        case "light":
            return (
                f"light that is the same in every frame, {readable(100 * one.amount, 2)} % of all, explains {share}: a "
                f"background ({_background_flag(result)}), parasitic light, or a partly coherent beam (more probe "
                "modes)"
            )
    return _step(one, share, result, config)


def _step(one: Finding, share: str, result: Reconstruction, config: BaselineConfig) -> str:
    """The sentence for image, positions or probe: what a step would explain, and its flags."""
    if one.cause == "object":
        return f"a step of the image alone would explain {share}: the fit is not at its end, or caught (more --epochs)"
    flag = f"refine_{one.cause}"
    doing = "more --epochs" if getattr(config, flag) else f"try --{flag.replace('_', '-')}"
    what, also = "another probe", ""
    if one.cause == "positions":
        what, also = "other positions", "" if "affine" in result.fitted else ", or --refine-affine for turned axes"
    elif config.refine_probe and result.opr_modes is None:
        also = ", or --opr 2 for a probe that changes during the scan"
    return f"a step to {what} would explain {share} ({doing}{also})"


def _background_flag(result: Reconstruction) -> str:
    """What to do about a background."""
    if "smooth_background" in result.fitted:
        return "--set free_background=true, since it is not smooth"
    return "which is fitted" if "background" in result.fitted else "--refine-background fits it"


def unknown_cause(config: BaselineConfig, result: Reconstruction, scan: Scan) -> str:
    """The sentence for a fit of which no single cause explains enough."""
    if "flux" not in result.fitted and "positions" in result.fitted:
        level = scan.totals / np.maximum(among_neighbours(scan.totals, scan.positions), 1e-12)
        low, high = np.quantile(level, (0.02, 0.98)).tolist()
        if high / max(low, 1e-12) > BESIDE:
            return (
                f"frames have {low:.2f} to {high:.2f} times the light of those beside them, which no move of a "
                "position explains; fit a factor to every frame (--refine-flux), without --refine-positions first"
            )
    if config.refine_probe or config.refine_positions:
        return "the fit is not at its end, or the counts are not those of this probe at these positions"
    return (
        "the fit is not at its end, or the counts are not those of this probe at these positions; flux, single frames "
        "and pixels are not the cause (is the probe that of this scan, are axes swapped or mirrored? For a probe that "
        "is nearly right, try --refine-probe)"
    )


def _flux(factors: NDArray[np.float64], numbers: NDArray[np.int64]) -> str:
    """How the flux differs between frames."""
    level = factors / np.median(factors)
    low = np.flatnonzero(level < LOW)
    if 1 < len(low) <= len(level) / 2 and low[-1] - low[0] < 1.5 * len(low):
        return (
            f"frames {numbers[low[0]]} to {numbers[low[-1]]} have less light than the image predicts, "
            f"{np.median(level[low]):.2f} times the flux of the others"
        )
    return f"frames differ in flux by {level.std():.1%} rms ({level.min():.2f} to {level.max():.2f} of the median)"


def _worst(result: Reconstruction, worst: NDArray[np.int64], numbers: NDArray[np.int64]) -> str:
    """One line about the frames that stand out."""
    assert result.frame_deviance is not None and result.expected_frame_deviance is not None
    ratio = result.frame_deviance / np.maximum(result.expected_frame_deviance, 1e-12)
    named = ", ".join(f"{numbers[row]} ({readable(ratio[row], 2)})" for row in worst[:NAMED])
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    return (
        f"frames that stand out, deviance over that of noise: {named}{more}; the median of all is "
        f"{readable(float(np.median(ratio)), 2)}"
    )

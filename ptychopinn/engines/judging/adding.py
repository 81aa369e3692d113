"""``model auto``: when the terms that a fit lacks are looked for, and where the fit goes on with them.

After the projections an image is half made, and any freedom explains some of what it leaves. Flux and background are
added there where they explain much of it, and the projections begin again. All terms are judged by a finished fit.
"""

import math
import time
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from ptychopinn.config import RefinementConfig
from ptychopinn.engines.changes import first_conditions
from ptychopinn.engines.judging.axes import affine_in_words, may_be_better, nearby_map
from ptychopinn.engines.progress import TIME_OVER, Progress, Running
from ptychopinn.engines.refinement import Refined
from ptychopinn.engines.terms import Term, Terms, gains, in_words, needed, unexplained
from ptychopinn.physics.conditions import Conditions
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

SHARE = 0.5
"""Share of the time left for a fit after which terms may be added: the rest is for the fit with these."""

SOON: Final[dict[Term, float]] = {"flux": 0.05, "background": 0.25}
"""Terms that a half-made image tells from its own errors, and the share of its excess deviance that each must take off.

A background also ends the fit early, by pixels held out, and fine detail that is not made yet looks like one."""

UNEXPLAINED = 1.03
"""Deviance over that of noise from which a map is looked for though no term is asked for: an image takes up a map of a
small scan nearly whole. Finished fits of clean scans leave 0.99 at most."""

MANY = 256
"""Frames from which a look at small maps costs so little, beside the fit, that it is always taken."""

MOVING: Final[tuple[Term, ...]] = ("affine", "opr")
"""Terms that wrong positions ask for."""


class Fit(Protocol):
    """One fit of a scan with some terms, with Fisher scoring after the projections or without it."""

    def __call__(
        self, scan: Scan, terms: Terms, seconds: float | None, running: Running, score: bool = True
    ) -> Refined:
        """Fit for some seconds at most."""


def with_terms(
    fit: Fit,
    scan: Scan,
    terms: Terms,
    refinement: RefinementConfig,
    seed: int,
    device: str,
    end: float,
    report: Report,
    running: Running,
) -> tuple[Refined, Terms, Scan]:
    """A fit that ends by a time, its terms and its scan.

    Args:
        fit: one fit.
        scan: counts and mask, positions and probe to start from.
        terms: asked for.
        refinement: with ``model auto`` terms are added, and the scan is fitted again, until none is lacking.
        seed: of the fits.
        device: torch device.
        end: of :func:`time.perf_counter`.
        report: receives lines.
        running: see :class:`ptychopinn.engines.progress.Running`.
    """
    if "affine" in terms.also:
        scan = _mapped(scan, first_conditions(scan, terms.also, device), refinement.subpixel, device, report)

    def fitted(until: float, resume: Progress | None, score: bool = True) -> Refined:
        left = None if math.isinf(until) else max(until - time.perf_counter(), 1e-3)
        return fit(scan, terms, left, running._replace(resume=resume), score)

    def over(found: Refined) -> bool:
        return found.stopped or time.perf_counter() >= end

    if refinement.model != "auto":
        return fitted(end, running.resume), terms, scan
    until = _middle(end)
    found = fitted(until, running.resume, score=False)
    while not over(found) and (more := _soon(scan, found, terms, refinement.subpixel, report)) != terms:
        terms = more
        found = fitted(until, None, score=False)
    while not found.stopped:
        # Scoring goes on in found.progress.
        projected = None if found.progress.deviance else replace(found.progress, deviance=[])
        found = fitted(until, found.progress)
        if over(found):
            break
        more, there = _added(scan, found, terms, refinement, seed, device, report)
        if more == terms:
            return fitted(end, found.progress) if found.reason == TIME_OVER else found, terms, scan
        # Projections know no changing probe: they would end where they did.
        again = projected if there is scan and more == terms.plus("opr") else None
        terms, scan, until = more, there, _middle(end)
        found = fitted(until, again, score=False)
    return found, terms, scan


def _soon(scan: Scan, found: Refined, terms: Terms, subpixel: SubPixel, report: Report) -> Terms:
    """The terms with those that explain much of what a half-made image leaves."""
    lacking = tuple(term for term in SOON if terms.plus(term) != terms)
    asked = [one for one in needed(gains(scan, found.estimate, subpixel, lacking)) if one.excess > SOON[one.term]]
    if asked:
        for line in in_words(asked):
            report(line)
    return terms.plus(*(one.term for one in asked))


def _added(
    scan: Scan, found: Refined, terms: Terms, refinement: RefinementConfig, seed: int, device: str, report: Report
) -> tuple[Terms, Scan]:
    """The terms with those that held-out pixels ask for, and the scan with the map of its positions to start from."""
    now, subpixel = found.estimate, refinement.subpixel
    asked = needed(gains(scan, now, subpixel, seed=seed))
    lacking, there = [one for one in asked if terms.plus(one.term) != terms], scan
    moving = any(one.term in MOVING for one in lacking)
    if not lacking and not terms.moves and (len(scan) >= MANY or unexplained(scan, now, subpixel) > UNEXPLAINED):
        moving = may_be_better(scan, subpixel, device, now.conditions)
    if "affine" not in terms.also and moving:
        there = _mapped(scan, now.conditions, subpixel, device, report)
    if there is not scan:  # a probe that changes would take up the moves: it is looked at again after the map
        terms, lacking = terms.plus("affine"), [one for one in lacking if one.term not in MOVING]
    if lacking or there is scan:
        for line in in_words(lacking):
            report(line)
    return terms.plus(*(one.term for one in lacking)), there


def _mapped(scan: Scan, known: Conditions, subpixel: SubPixel, device: str, report: Report) -> Scan:
    """The scan with the linear map of its positions from which a fit of that map starts."""
    matrix, middle = nearby_map(scan, subpixel, device, known), scan.positions.mean(axis=0)
    if np.array_equal(matrix, np.eye(2)):
        return scan
    there = affine_in_words(matrix)
    report(f"affine: the innermost frames fit best with positions that are {there}; the fit starts there")
    return replace(scan, positions=middle + (scan.positions - middle) @ matrix.T)


def _middle(end: float) -> float:
    """When half of the time to an end is over."""
    now = time.perf_counter()
    return now + SHARE * (end - now)

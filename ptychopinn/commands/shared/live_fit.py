"""A fit on its live page."""

import time
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.commands.shared.live import Images, Live, rate
from ptychopinn.engines.progress import Progress
from ptychopinn.scan.coverage import probe_coverage
from ptychopinn.scan.scan import Scan


class FitShown:
    """Shows how far a fit is; takes no copy and computes nothing until a page is written.

    Args:
        live: page.
        scan: what is fitted.
    """

    def __init__(self, live: Live, scan: Scan) -> None:
        self._live, self._scan = live, scan
        self._began = time.monotonic()

    @cached_property
    def _light(self) -> NDArray[np.float32]:
        return probe_coverage(self._scan).numpy()

    def __call__(self, progress: Progress) -> None:
        """Take note of the progress of the fit."""
        seen = progress.spent * len(self._scan)
        self._live.know({"epochs of this fit": str(progress.spent), **rate(seen, time.monotonic() - self._began)})
        if progress.deviance:
            self._live.note("deviance per pixel", progress.spent, progress.deviance[-1])
        image = progress.estimate.image
        self._live.picture(lambda: self._look(image))

    def _look(self, image: Tensor) -> Images:
        """The image without the margin that fitted positions need."""
        shown, light = image.detach().cpu().numpy().copy(), self._light
        top, left = ((size - lit) // 2 for size, lit in zip(shown.shape, light.shape, strict=True))
        if min(top, left) < 0:  # the positions were placed anew, on a smaller canvas
            return shown, np.ones(shown.shape, np.float32)
        return shown[top : top + light.shape[0], left : left + light.shape[1]], light

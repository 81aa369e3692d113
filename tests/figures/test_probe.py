"""The figure of a probe."""

from pathlib import Path

import numpy as np

from ptychopinn.figures.probe import draw_probe, probe_figure
from ptychopinn.scan.scan import Scan
from tests.figures.drawn import data, panels


def test_drawing_leaves_no_global_state(tmp_path: Path, scan: Scan) -> None:
    import matplotlib
    from matplotlib import _pylab_helpers

    before, figures = dict(matplotlib.rcParams), dict(_pylab_helpers.Gcf.figs)  # readers of viewers may have made some
    draw_probe(tmp_path / "probe.png", scan.probe)
    assert dict(matplotlib.rcParams) == before
    assert dict(_pylab_helpers.Gcf.figs) == figures


def test_probe_titles_give_the_power_shares(scan: Scan) -> None:
    figure = probe_figure(scan.probe)
    shown = panels(figure)
    assert {"Mode 1: 80.0 % of power", "Mode 2: 20.0 % of power"} < set(shown)
    assert figure.get_suptitle().endswith("1.00e5 photons")
    np.testing.assert_allclose(data(shown["Mode 1: 80.0 % of power"]), abs(scan.probe[0]))
    assert data(shown["Phase of mode 1"]).mask[0, 0], "faint pixels have no phase"

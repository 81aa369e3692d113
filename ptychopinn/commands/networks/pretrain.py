"""``pretrain``: a network for any set-up, trained on generated frames."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError
from ptychopinn.figures.history import draw_history
from ptychopinn.files.output_folder import PROVENANCE, check_apart, file_hash, provenance_of, write_json
from ptychopinn.files.reading import start_in
from ptychopinn.files.replacing import holding
from ptychopinn.model import bundle
from ptychopinn.model.bundle import Run
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.illumination import Illumination
from ptychopinn.training.setups import Field


def pretrain_folder(probes: Sequence[Path], request: Request, resume: bool = False) -> Run:
    """Train a network on generated set-ups and write it as a run folder.

    Args:
        probes: files whose probes a quarter of the set-ups vary.
        request: settings and folder; see :func:`ptychopinn.commands.train.resumed`.
        resume: continue the run that the folder holds.
    """
    from ptychopinn.evaluation.panel import calibrated, coverage_of, errors_on, panel
    from ptychopinn.training.pretrain import pretrain

    settings, out = request.settings, request.out
    if not settings.model.whole:
        raise PtychoError("features, canvas: a network for any set-up works in real space, on the canvas of a scan.")
    if not resume:
        check_apart([out], request.reads(*probes))
    given = tuple(_probe_in(path) for path in probes)
    scans = panel()

    def run_of(model: PtychoModel) -> Run:
        light = Illumination(curved_disc(64, 12.0), None, 32)
        return Run(model.cpu().eval(), light, settings, any_setup=True)

    def look(model: PtychoModel) -> dict[str, float]:
        device = next(model.parameters()).device
        found = errors_on(run_of(model), scans)
        model.to(device).train()
        return found

    with holding(out, "pretrain", request.overwrite, keep=resume) as place:
        origin = {"probes": {str(path): file_hash(path) for path in probes}, "sources": dict(request.sources)}
        provenance = provenance_of("pretrain", {**origin, "settings": settings.flat()})
        place.put(PROVENANCE, lambda path: write_json(path, provenance))
        place.put("settings.json", lambda path: write_json(path, settings.flat()))
        training = pretrain(settings, place, look, request.report, given, resume)
        run = run_of(training.model)
        run = replace(run, error_model=calibrated(run), history=tuple(training.history))
        run.provenance.update(provenance)
        place.put(bundle.BUNDLE, lambda path: bundle.save_run(path.parent, run), ready=True)
        names = {"step": "step", "train_loss": "patch_error"}
        draw_history(
            out / "loss.png", {title: [row[name] for row in training.history] for title, name in names.items()}
        )
    for name, share in coverage_of(run, scans).items():
        request.report(f"{name}: 90 % error bars hold {share:.0%} of the phase errors")
    return run


def _probe_in(path: Path) -> Field:
    """The probe (m, N, N) of a file.

    Raises:
        PtychoError: where it has none.
    """
    probe = start_in(path).get("probe")
    if probe is None:
        raise PtychoError(f"--probes: {path}: holds no probe (probeGuess).")
    return np.asarray(torch.from_numpy(probe).to(torch.complex128).numpy())

"""The main job on embedded data: simulate, train, reconstruct, score."""

from pathlib import Path
from typing import Final

from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_reconstruction, score_in_box
from ptychopinn.commands.simulate import make_scan
from ptychopinn.config import Settings
from ptychopinn.figures.scan import draw_scan
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.output_folder import filling, write_json, write_provenance
from ptychopinn.inference.infer import infer
from ptychopinn.model import bundle
from ptychopinn.model.bundle import Run
from ptychopinn.scan.scan import Scan
from ptychopinn.training.train import train

SCAN: Final = {"object_size": 224, "step": 4.8, "probe_radius": 12.0, "nphotons": 1e6}


def run_demo(request: Request) -> str:
    """Train on a simulated Siemens star, then reconstruct it and an object of another kind.

    Args:
        request: its ``max_seconds`` is the time for the training; its folder receives scans, run, images and scores.

    Returns:
        A table of scores, also written to ``scores.json`` and ``scores.md``.
    """
    out, report = request.out, request.report
    settings = request.settings.changed(**SCAN, nepochs=1000)
    with filling(out, "demo", request.overwrite):
        write_provenance(out, "demo", {"settings": settings.flat()})
        star, lines = make_scan(settings), make_scan(Settings.of({**SCAN, "object": "lines", "seed": 1}))
        report(f"simulated {len(star)} frames of {star.N} x {star.N} pixels, {star.photons:.3g} photons per frame")
        draw_scan(out / "scan.png", star)
        run = train(star, settings, out / "run", report)
        bundle.save_run(out / "run", run)
        scores = {
            "star (trained on)": _reconstructed(run, star, out / "star"),
            "lines (never seen)": _reconstructed(run, lines, out / "lines"),
        }
        write_json(out / "scores.json", scores)
        table = _table(scores)
        (out / "scores.md").write_text(table + "\n", encoding="utf-8")
    return table


def _reconstructed(run: Run, scan: Scan, folder: Path) -> dict[str, float]:
    """Write a scan and its image; returns the scores of the image."""
    write_npz(folder.with_suffix(".npz"), scan)
    result = infer(run, scan)
    folder.mkdir()
    save_reconstruction(folder, result, scan, truth=True)
    seconds = sum(result.seconds.values())
    return {**score_in_box(result, scan), "deviance_per_pixel": result.deviance, "seconds": seconds}


def _table(scores: dict[str, dict[str, float]]) -> str:
    """Scores as a Markdown table."""
    columns = {
        "phase MAE (rad)": "phase_mae",
        "amplitude MAE (rel.)": "amplitude_mae",
        "complex error": "complex_error",
        "deviance per pixel": "deviance_per_pixel",
        "inference (s)": "seconds",
    }
    head = f"| {'object':<20} | " + " | ".join(columns) + " |"
    rule = f"|{'-' * 22}|" + "|".join("-" * (len(title) + 2) for title in columns) + "|"
    rows = [
        f"| {name:<20} | " + " | ".join(f"{values[key]:>{len(title)}.3f}" for title, key in columns.items()) + " |"
        for name, values in scores.items()
    ]
    return "\n".join([head, rule, *rows])

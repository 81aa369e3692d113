"""The main job on embedded data: simulate, train, reconstruct, score."""

from pathlib import Path
from typing import Final

from ptychopinn.commands.results import save_reconstruction, score_in_box
from ptychopinn.commands.simulate import make_scan
from ptychopinn.config import Settings
from ptychopinn.figures.scan import draw_scan
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.output_folder import filling, write_json, write_provenance
from ptychopinn.inference.infer import infer
from ptychopinn.model import bundle
from ptychopinn.text import Report
from ptychopinn.training.train import train

SCAN: Final = {"object_size": 224, "step": 4.8, "probe_radius": 12.0, "nphotons": 1e6}


def run_demo(out: Path, max_seconds: float, overwrite: bool = False, report: Report = lambda line: None) -> str:
    """Train on a simulated Siemens star, then reconstruct it and an object of another kind.

    Args:
        out: folder for scans, run, images and scores.
        max_seconds: time for the training.
        overwrite: replace an older demo.
        report: receives lines of progress.

    Returns:
        A table of scores, also written to ``scores.json`` and ``scores.md``.
    """
    with filling(out, "demo", overwrite):
        return _run(out, max_seconds, report)


def _run(out: Path, max_seconds: float, report: Report) -> str:
    settings = Settings.of({**SCAN, "max_seconds": max_seconds, "nepochs": 1000})
    write_provenance(out, "demo", {"settings": settings.flat()})
    scans = {
        "star (trained on)": make_scan(settings),
        "lines (never seen)": make_scan(Settings.of({**SCAN, "object": "lines", "seed": 1})),
    }
    star = next(iter(scans.values()))
    report(f"simulated {len(star)} frames of {star.N} x {star.N} pixels, {star.photons:.3g} photons per frame")
    draw_scan(out / "scan.png", star)
    run = train(star, settings, out / "run", report)
    bundle.save_run(out / "run", run)
    scores = {}
    for name, scan in scans.items():
        kind = name.split()[0]
        write_npz(out / f"{kind}.npz", scan)
        result = infer(run, scan)
        folder = out / kind
        folder.mkdir()
        save_reconstruction(folder, result, scan, truth=True)
        scores[name] = {
            **score_in_box(result, scan),
            "deviance_per_pixel": result.deviance,
            "seconds": sum(result.seconds.values()),
        }
    write_json(out / "scores.json", scores)
    table = _table(scores)
    (out / "scores.md").write_text(table + "\n", encoding="utf-8")
    return table


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

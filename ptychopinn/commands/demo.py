"""The main job on embedded data: simulate, train, reconstruct, score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ptychopinn.commands.refine import refine_scan
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_reconstruction
from ptychopinn.commands.simulate import make_scan
from ptychopinn.config import Settings
from ptychopinn.evaluation.metrics import score_in_box
from ptychopinn.figures.beside import draw_beside
from ptychopinn.figures.scan import draw_scan
from ptychopinn.files.atomic import writing
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.output_folder import BESIDE, check_apart, write_json, write_provenance
from ptychopinn.files.replacing import holding
from ptychopinn.inference.infer import infer
from ptychopinn.model import bundle
from ptychopinn.model.pretrained import pretrained
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan
from ptychopinn.training.train import train

SCAN: Final = {"object_size": 224, "step": 4.8, "probe_radius": 12.0, "nphotons": 1e6}


def run_demo(request: Request) -> str:
    """Reconstruct a star and lines with the network of the package, train it on the star, and refine that image.

    Args:
        request: its ``max_seconds`` is the time for the training; its folder receives scans, run, images and scores.

    Returns:
        A table of scores, also written to ``scores.json`` and ``scores.md``.
    """
    report = request.report
    settings = request.settings.changed(**SCAN, nepochs=1000)
    check_apart([request.out], request.reads())
    with holding(request.out, "demo", request.overwrite) as place, place.staging() as out:
        write_provenance(out, "demo", {"settings": settings.flat()})
        star, lines = make_scan(settings), make_scan(Settings.of({**SCAN, "object": "lines", "seed": 1}))
        report(f"simulated {len(star)} frames of {star.N} x {star.N} pixels, {star.photons:.3g} photons per frame")
        draw_scan(out / "scan.png", star)
        for name, scan in (("star", star), ("lines", lines)):
            write_npz(out / f"{name}.npz", scan)
        before = {"star": infer(pretrained(), star), "lines": infer(pretrained(), lines)}
        report("reconstructed both with the network of the package")
        run = train(star, settings, out / "run", report)
        bundle.save_run(out / "run", run)
        after = {"star": infer(run, star), "lines": infer(run, lines)}
        refined = refine_scan(star, settings.changed(subpixel="bilinear"), "cpu", after["star"], report)
        for name, result, scan in (("star", refined, star), ("lines", after["lines"], lines)):
            (out / name).mkdir()
            save_reconstruction(out / name, result, scan, truth=True)
        _draw(out / "star" / BESIDE, {"Network": after["star"], "Refined": refined}, star)
        scores = {
            "star, not trained": _scored(before["star"], star),
            "lines, not trained": _scored(before["lines"], lines),
            "star, trained on": _scored(after["star"], star),
            "lines, never seen": _scored(after["lines"], lines),
            "star, refined": _scored(refined, star),
        }
        write_json(out / "scores.json", scores)
        table = _table(scores)
        with writing(out / "scores.md") as temporary:
            temporary.write_text(table + "\n", encoding="utf-8")
    return table


def _scored(result: Reconstruction, scan: Scan) -> dict[str, float]:
    """Scores of an image."""
    seconds = sum(result.seconds.values())
    return {**score_in_box(result, scan), "deviance_per_pixel": result.deviance, "seconds": seconds}


def _draw(path: Path, results: Mapping[str, Reconstruction], scan: Scan) -> None:
    """Images of one scan with their error bars, side by side in the scan box."""
    assert scan.object is not None
    box, shape = scan.scan_box, scan.object.shape
    images = {}
    for name, result in results.items():
        assert result.phase_std is not None
        bars = reframe(result.phase_std.astype(np.complex64), result.origin, (0, 0), shape)[box].real
        images[name] = (result.window(shape)[box], bars)
    draw_beside(path, images, scan.object[box], "Siemens star: the network in one pass, and refined on the counts")


def _table(scores: dict[str, dict[str, float]]) -> str:
    """Scores as a Markdown table."""
    columns = {
        "phase MAE (rad)": "phase_mae",
        "amplitude MAE (rel.)": "amplitude_mae",
        "complex error": "complex_error",
        "deviance per pixel": "deviance_per_pixel",
        "seconds": "seconds",
    }
    head = f"| {'object':<20} | " + " | ".join(columns) + " |"
    rule = f"|{'-' * 22}|" + "|".join("-" * (len(title) + 2) for title in columns) + "|"
    rows = [
        f"| {name:<20} | " + " | ".join(f"{values[key]:>{len(title)}.3f}" for title, key in columns.items()) + " |"
        for name, values in scores.items()
    ]
    return "\n".join([head, rule, *rows])

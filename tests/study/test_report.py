"""The report: every number of the tables, the best marked, pictures inside, nothing from outside."""

import base64
import csv
import html.parser
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ptychopinn.files.output_folder import versions, write_json, write_table
from ptychopinn.scan.simulation import siemens_star
from ptychopinn.study.design import StudyDesign
from ptychopinn.study.jobs import Job, jobs_of
from ptychopinn.study.records import LIBRARIES, input_hashes, write_record
from ptychopinn.study.report import write_report
from ptychopinn.study.results import Row, best_arms

DESIGN = StudyDesign.of({"doses": [1e3, 1e5]})
JOBS = jobs_of(DESIGN)
ARMS = ("PINN gs1", "PINN gs1 refined", "PINN gs2", "supervised", "iterative")


def scores_of(job: Job) -> list[dict]:
    """Made-up numbers: the refined network is best in phase, the iterative arm in FRC50."""
    size = 1 / np.sqrt(job.dose)
    return [
        {
            "arm": arm,
            "phase_mae": size * (2 - (arm == "PINN gs1 refined")) + 0.001 * number,
            "phase_ms_ssim": None if job.view == "sparse" else 1 - size * (1 + number),
            "amplitude_mae": size,
            "frc50": 0.2 + 0.01 * number,
            "deviance_per_pixel": 1.0 + number,
            "seconds_total": 3.0 * (number + 1),
            "notes": "a <b>note</b>",
        }
        for number, arm in enumerate(ARMS)
    ]


def fill(folder: Path, job: Job) -> None:
    """What a finished job leaves, as far as the report reads it."""
    out = folder / job.out
    out.mkdir(parents=True, exist_ok=True)
    for name in job.outputs:
        (folder / name).write_bytes(b"made")
    if job.stage == "overlap":
        part = {f"metric_{name}": {"mean": 0.25} for name in ("1_group", "2_image", "3_group_to_group")}
        chosen = {"n_accepted": 30, "n_read": 500, "spacing_threshold": 38.4, "selection_strategy": "direct"}
        each = {"selection": chosen, "view": part, "scan": part, "parameters": {"probe_diameter_px": 75.0}}
        write_json(out / "metrics_bundle.json", {"splits": {"scan_train": each, "scan_test": each}})
    if job.stage == "compare":
        write_table(out / "comparison_metrics.csv", scores_of(job))
        star = siemens_star(64)
        images = {"truth": star, **dict.fromkeys(ARMS, star.conj())}
        mask = np.zeros((64, 64), dtype=bool)
        mask[8:50, 4:60] = True
        np.savez(out / "reconstructions_aligned.npz", **images, mask=mask, origin=np.zeros(2))
    about = {"seconds": 2.5, "cpu_seconds": 2.0, "peak_memory_gib": 0.5, "versions": versions(*LIBRARIES)}
    write_record(folder, job, {"status": "done", "inputs": input_hashes(folder, job, {}), **about})


class Page(html.parser.HTMLParser):
    """Text, images and addresses of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[str] = []
        self.addresses: list[str] = []
        self.best: list[str] = []
        self.words = ""
        self.marked = False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        if tag == "img":
            self.images.append(values["src"])
        self.marked = values.get("class") == "best"

    def handle_data(self, data):
        self.words += " " + data
        if self.marked:
            self.best.append(data)
            self.marked = False


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for job in JOBS:
        fill(folder, job)
    failed = next(job for job in JOBS if job.name == "compare-1e5-sparse-test")
    write_record(folder, failed, {"status": "failed", "reason": "the <disk> is full"})
    write_report(folder, DESIGN)
    return folder


@pytest.fixture(scope="module")
def page(study) -> Page:
    return Page(study / "report.html")


def test_the_table_has_a_row_per_arm_of_every_finished_comparison(study):
    with (study / "report.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 11 * 5
    assert {row["arm"] for row in rows} == {*ARMS[:4], "LSQML"}
    (row,) = (
        row
        for row in rows
        if (float(row["dose"]), row["view"], row["split"], row["arm"]) == (1e3, "dense", "test", "LSQML")
    )
    job = next(job for job in JOBS if job.name == "compare-1e3-dense-test")
    expected = scores_of(job)[4]
    for name in ("phase_mae", "phase_ms_ssim", "frc50", "seconds_total"):
        assert float(row[name]) == expected[name]
    assert float(row["shared_phase_mae"]) > 0
    assert row["shared_views"] == "baseline, dense, sparse"
    (lost,) = {row["shared_views"] for row in rows if row["dose"] == "100000.0" and row["split"] == "test"}
    assert lost == "baseline, dense"
    assert all(row["phase_ms_ssim"] == "" for row in rows if row["view"] == "sparse")


def test_the_page_is_self_contained(study, page):
    assert page.addresses == page.images
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "http" not in (study / "report.html").read_text()
    assert (study / "report.html").stat().st_size < 5_000_000


def test_every_picture_can_be_seen(page):
    # Two splits of curves; phase and amplitude of three views and two splits.
    assert len(page.images) == 2 + 3 * 4
    for address in page.images:
        picture = imread(io.BytesIO(base64.b64decode(address.partition(",")[2])), format="png")
        assert min(picture.shape[:2]) > 100
        assert picture[..., :3].std() > 0.02


def test_the_page_says_what_is_not_finished_and_with_what_it_was_made(page):
    words = " ".join(page.words.split())
    assert "43 done, 1 failed" in words
    assert "compare-1e5-sparse-test failed the <disk> is full" in words
    assert f"numpy {np.__version__}" in words
    assert json.dumps("simulation_seed") in words
    assert "dense train 30 500 38.4 direct 75.0 0.250" in words


def test_the_best_of_each_dose_is_marked(page):
    job = next(job for job in JOBS if job.name == "compare-1e3-dense-test")
    refined = scores_of(job)[1]["phase_mae"]
    assert f"{refined:.4g}" in page.best
    assert "0.24" in page.best
    # Of a deviance smaller is not better, and a column without a choice has no best.
    assert "5" not in page.best


def row(arm: str, **values) -> Row:
    return Row(JOBS[-1], arm, values)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("phase_mae", (0.1, 0.2), {"a"}),
        ("phase_mse", (0.1, 0.1), set()),
        ("phase_psnr", (10.0, 20.0), {"b"}),
        ("amplitude_ms_ssim", (0.5, 0.4), {"a"}),
        ("frc50_half_period_nm", (20.0, 10.0), {"b"}),
        ("efficiency", (0.5, 0.9), {"b"}),
        ("deviance_per_pixel", (1.0, 2.0), set()),
        ("removed_shift_x", (1.0, 2.0), set()),
        ("frc50", (None, 0.3), set()),
    ],
)
def test_which_is_best(metric, values, best):
    rows = [row(arm, **{metric: value}) for arm, value in zip("ab", values, strict=True)]
    assert best_arms(rows, metric) == best


def test_the_report_links_the_pages_of_comparisons_that_are_there(tmp_path):
    for job in JOBS:
        fill(tmp_path, job)
    there = next(job for job in JOBS if job.name == "compare-1e5-dense-test")
    (tmp_path / there.out / "view.html").write_text("page")
    write_report(tmp_path, DESIGN)
    page = Page(tmp_path / "report.html")
    assert [address for address in page.addresses if address not in page.images] == [f"{there.out}/view.html"]


def test_a_study_without_any_result_has_a_report(tmp_path):
    write_report(tmp_path, DESIGN)
    words = Page(tmp_path / "report.html").words
    assert "No comparison is finished." in words
    assert "44 to do" in words


def test_the_page_says_what_was_skipped_and_why(tmp_path):
    design = StudyDesign.of({"doses": [1e3], "object_size": 420})
    (failed,) = (job for job in jobs_of(design) if job.name == "overlap-1e3-dense")
    write_record(tmp_path, failed, {"status": "failed", "reason": "the disk is full"})
    write_report(tmp_path, design)
    words = " ".join(Page(tmp_path / "report.html").words.split())
    assert "overlap-1e3-dense failed the disk is full" in words
    assert "baseline-1e3-dense-test skipped needs overlap-1e3-dense, which failed" in words
    assert "compare-1e3-dense-test skipped needs overlap-1e3-dense, which failed" in words
    assert "train-1e3-sparse-gs2 skipped 4 frames in the train part of view sparse" in words
    assert "simulate-1e3 to do" in words


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_chromium_opens_the_page(study, tmp_path):
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,1500", f"--user-data-dir={tmp_path}"]
    flags += ["--disable-background-networking", "--no-first-run"]
    shot = tmp_path / "page.png"
    address = (study / "report.html").as_uri()
    subprocess.run([CHROMIUM, *flags, f"--screenshot={shot}", address], check=True, capture_output=True, timeout=180)
    picture = imread(shot)
    assert picture.shape[:2] == (1500, 1300)
    assert picture[..., :3].std() > 0.05
    # A page that measures its own pictures: nothing is drawn of one that is broken.
    script = "<script>document.title = [...document.images].map(i => i.naturalWidth + 'w').join(' ')</script></body>"
    (tmp_path / "measured.html").write_text((study / "report.html").read_text().replace("</body>", script))
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", (tmp_path / "measured.html").as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    widths = [int(width) for width in re.findall(r"(\d+)w", title[1])]
    assert len(widths) == 14
    assert min(widths) > 100

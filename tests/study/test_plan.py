"""Designs from presets, files and assignments; the folder that keeps one."""

import json

import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.study.design import PRESETS, StudyDesign
from ptychopinn.study.jobs import jobs_of
from ptychopinn.study.plan import begin, chosen_design, known_design, stored_design, table


def test_nothing_given_is_nothing_chosen():
    assert chosen_design(None, None, {}) is None
    assert known_design(None, None) == StudyDesign()


def test_assignments_win_over_the_preset_and_over_a_file(tmp_path):
    quick = StudyDesign.of(PRESETS["quick"])
    assert chosen_design("quick", None, {}) == quick
    changed = chosen_design("quick", None, {"train.nepochs": 9})
    assert changed is not None
    assert changed.train == {**quick.train, "nepochs": 9}
    (tmp_path / "mine.json").write_text(json.dumps({"N": 64, "step": 3}))
    mine = chosen_design(None, tmp_path / "mine.json", {"step": 4})
    assert mine is not None
    assert (mine.N, mine.step, mine.engine) == (64, 4.0, "lsqml")


def test_a_base_is_found_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "base.npz").touch()
    monkeypatch.chdir(tmp_path)
    design = chosen_design(None, None, {"base": "base.npz"})
    assert design is not None
    assert design.base == str(tmp_path / "base.npz")


def test_a_folder_keeps_its_design(tmp_path):
    folder = tmp_path / "study"
    design = StudyDesign.of({"N": 64})
    folder.mkdir()
    begin(folder, known_design(folder, design))
    assert stored_design(folder) == design
    assert known_design(folder, None) == design
    assert known_design(folder, design) == design
    other = StudyDesign.of({"N": 64, "doses": [5e2]})
    with pytest.raises(PtychoError, match=r"has doses \[1000\.0, .*\], now \[500\.0\]; .*--update"):
        known_design(folder, other)
    begin(folder, known_design(folder, other, update=True))
    assert stored_design(folder) == other


def test_a_folder_whose_making_was_killed_goes_on(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    design = StudyDesign.of({"N": 64})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ptychopinn.study.plan.write_provenance", killed)
        begin(tmp_path, design)
    assert known_design(tmp_path, None) == design


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(PtychoError, match="is not empty"):
        known_design(tmp_path, None)


def test_a_study_that_lost_its_design_is_refused(tmp_path):
    begin(tmp_path, StudyDesign())
    (tmp_path / "design.json").unlink()
    with pytest.raises(PtychoError, match=r"is not empty; give another --out\.$"):
        known_design(tmp_path, None)


def test_the_table_has_a_line_per_job():
    jobs = jobs_of(StudyDesign())
    lines = table(jobs, {job.name: "done" for job in jobs}).splitlines()
    assert len(lines) == 67
    assert lines[0].split() == ["job", "dose", "view", "split", "gridsize", "state"]
    assert lines[1].split() == ["simulate-1e3", "1000", "-", "-", "-", "done"]

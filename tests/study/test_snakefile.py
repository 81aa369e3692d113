"""The Snakefile has the jobs, files and resources of the study; tests/cli/test_study.py runs Snakemake itself."""

import ast
import re

from ptychopinn.study.design import StudyDesign
from ptychopinn.study.jobs import jobs_of
from ptychopinn.study.snakefile import write_snakefile

DESIGN = StudyDesign.of({"resources": {"train": {"gpu": 2, "runtime": 99}}})
JOBS = jobs_of(DESIGN)


def rules(text: str) -> dict[str, str]:
    parts = re.split(r"^rule (\w+):\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def files(rule: str, kind: str) -> list[str]:
    found = re.search(rf"    {kind}:\n        (\[.*\]),\n", rule)
    assert found, rule
    return ast.literal_eval(found[1])


def test_a_rule_for_every_job_and_one_for_the_report(tmp_path):
    path = write_snakefile(tmp_path, DESIGN, JOBS)
    found = rules(path.read_text())
    assert list(found)[0] == "report"
    assert len(found) == 67
    for job in JOBS:
        rule = found[job.name.replace("-", "_")]
        assert files(rule, "input") == list(job.inputs)
        assert files(rule, "output") == list(job.outputs)
        assert f'"{{PTYCHOPINN}} study run --out . --job {job.name}"' in rule
        assert f"gpu={2 if job.stage == 'train' else DESIGN.resources[job.stage].gpu}," in rule
    assert "runtime=99," in found["train_1e3_dense_gs2"]


def test_the_report_waits_for_everything(tmp_path):
    found = rules(write_snakefile(tmp_path, DESIGN, JOBS).read_text())
    waited = set(files(found["report"], "input"))
    makers = {name: job for job in JOBS for name in job.outputs}
    reached = {makers[name].name for name in waited}
    for job in reversed(JOBS):
        if job.name in reached:
            reached.update(job.needs)
    assert reached == {job.name for job in JOBS}


def test_names_with_dots_are_rules_too(tmp_path):
    design = StudyDesign.of({"doses": [2.5e-1, 2.5e3]})
    found = rules(write_snakefile(tmp_path, design, jobs_of(design)).read_text())
    assert "simulate_2_5e3" in found
    assert "simulate_2_5e_1" in found

"""The same jobs for Snakemake, whose executors run them on a cluster."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2

from ptychopinn.files.atomic import writing
from ptychopinn.study.design import StudyDesign
from ptychopinn.study.jobs import Job, summary

NAME: Final = "Snakefile"


def write_snakefile(folder: Path, design: StudyDesign, jobs: Sequence[Job]) -> Path:
    """Write a rule per job, and one for the report, which asks for the last files that the jobs make.

    Args:
        folder: of the study.
        design: whose ``resources`` the rules ask for.
        jobs: to run.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptychopinn.study", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    used = {name for job in jobs for name in job.inputs}
    text = environment.get_template("Snakefile.j2").render(
        summary=summary(jobs),
        command=shlex.join([sys.executable, "-P", "-m", "ptychopinn"]),
        ends=[job.outputs[0] for job in jobs if not used.intersection(job.outputs)],
        jobs=jobs,
        resources=design.resources,
        rule=_rule,
    )
    with writing(folder / NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / NAME


def _rule(job: Job) -> str:
    """A name of a job that Python takes."""
    return "".join(char if char.isalnum() else "_" for char in job.name)

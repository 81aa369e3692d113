"""The same jobs for Snakemake, whose executors run them on a cluster."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ptychopinn.figures.page.templates import write_from
from ptychopinn.study.design import StudyDesign
from ptychopinn.study.jobs import Job, summary


def write_snakefile(folder: Path, design: StudyDesign, jobs: Sequence[Job]) -> Path:
    """Write a rule per job, and one for the report, which asks for the last files that the jobs make.

    Args:
        folder: of the study.
        design: whose ``resources`` the rules ask for.
        jobs: to run.
    """
    used = {name for job in jobs for name in job.inputs}
    return write_from(
        folder / "Snakefile",
        "ptychopinn.study",
        autoescape=False,
        summary=summary(jobs),
        command=shlex.join([sys.executable, "-P", "-m", "ptychopinn"]),
        ends=[job.outputs[0] for job in jobs if not used.intersection(job.outputs)],
        jobs=jobs,
        resources=design.resources,
        rule=lambda job: re.sub(r"\W", "_", job.name),  # a name that Python takes
    )

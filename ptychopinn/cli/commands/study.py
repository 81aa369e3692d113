"""``ptychopinn study``."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptychopinn.cli import options, screen
from ptychopinn.cli.help import LiveCommand
from ptychopinn.config import read_assignments
from ptychopinn.errors import PtychoError

if TYPE_CHECKING:
    from ptychopinn.study.commands import Asked

app = options.new_app()

Folder = Annotated[Path, typer.Argument(help="folder of a study")]
Snakefile = Annotated[bool, typer.Option("--snakefile", help="write OUT/Snakefile: a rule per job")]
Redo = Annotated[bool, typer.Option("--redo", help="run the selected jobs again, even if finished")]
PRESET = "reference, or quick: 10 minutes on 2 idle cores [default: reference]"
ASSIGNED = "a field of the design, such as train.nepochs=20"
VIEW = "only this view: baseline, dense, sparse; may be repeated"
STAGE = "only simulate, overlap, train, baseline or compare"
DRY_RUN = "print the table, write it and the skips to OUT/plan.json, and stop"
ALLOW_MISSING = "skip jobs that cannot run; skip_summary.json lists them"


@app.callback(epilog="Example: ptychopinn study run --preset quick --out study --jobs 2")
def study() -> None:
    """Compare networks and iterative reconstruction over doses and overlaps."""


def _asked(
    preset: Annotated[str | None, typer.Option(help=PRESET)] = None,
    design: Annotated[Path | None, typer.Option("--design", help="JSON file of a design")] = None,
    assigned: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=ASSIGNED)] = None,
    dose: Annotated[list[float] | None, typer.Option(help="only this dose and its needs; may be repeated")] = None,
    view: Annotated[list[str] | None, typer.Option(help=VIEW)] = None,
    split: Annotated[list[str] | None, typer.Option(help="only train or test")] = None,
    stage: Annotated[list[str] | None, typer.Option(help=STAGE)] = None,
    gridsize: Annotated[list[int] | None, typer.Option(help="only networks of this group size")] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help=ALLOW_MISSING)] = False,
    update: Annotated[bool, typer.Option("--update", help="let a new design replace that of --out")] = False,
) -> "Asked":
    """The design and the jobs that a call asks for."""
    from ptychopinn.study.commands import Asked

    names = ("doses", "views", "splits", "stages", "gridsizes")
    filters = {name: each or [] for name, each in zip(names, (dose, view, split, stage, gridsize), strict=True)}
    return Asked(preset, design, read_assignments(assigned or ()), filters, allow_missing, update)


def _with_design(body: Callable[..., None]) -> Any:
    """A command whose ``asked`` comes from the options of :func:`_asked`."""
    own, shared = (dict(inspect.signature(each).parameters) for each in (body, _asked))
    del own["asked"]

    def run(**values: Any) -> None:
        asked = _asked(**{name: values[name] for name in shared})
        body(asked=asked, **{name: values[name] for name in own})

    return options.presented(run, body, (own | shared).values())


@app.command(epilog="Example: ptychopinn study plan --preset quick")
@_with_design
def plan(
    asked: "Asked",
    out: Annotated[Path | None, options.out_option("folder of the study, which may exist")] = None,
    snakefile: Snakefile = False,
) -> None:
    """Print the jobs of a study; with --out write them, and what would be skipped, as plan.json."""
    if snakefile and out is None:
        raise PtychoError("--snakefile: needs --out, the folder of the study.")
    if asked.update and out is None:
        raise PtychoError("--update: has no effect without --out, the folder whose design it replaces.")

    from ptychopinn.study import commands

    screen.show(commands.plan(out, asked, snakefile))
    if out is not None:
        typer.echo(f"Plan: {out}/plan.json")
    if snakefile:
        typer.echo(f"Snakefile: {out}/Snakefile; snakemake -d {out} -s {out}/Snakefile --cores 2 --keep-going")


@app.command(cls=LiveCommand, epilog="Example: ptychopinn study run --preset quick --out study --jobs 2")
@_with_design
def run(
    asked: "Asked",
    out: Annotated[Path, options.out_option("folder of the study; an existing study continues")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="jobs at a time")] = 1,
    job: Annotated[str | None, typer.Option("--job", help="only the job of this name, as a Snakefile asks")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)] = False,
    redo: Redo = False,
    serve: options.Serve = None,
    quiet: options.Quiet = False,
) -> None:
    """Run a study, or continue it: jobs that are finished and whose inputs did not change are kept."""
    from ptychopinn.study import commands

    if job is not None:
        others = {"preset": asked.preset, "design": asked.design, "set": asked.assigned, "jobs": jobs > 1}
        others |= {"dry-run": dry_run, "allow-missing": asked.allow_missing, "update": asked.update, "redo": redo}
        others |= {"serve": serve is not None}
        if given := [name for name, value in (others | dict(asked.filters)).items() if value]:
            raise PtychoError(f"--job: runs one job of a study as it is; omit --{given[0].removesuffix('s')}.")
        typer.echo(commands.run_named(out, job))
    elif dry_run and serve is not None:
        raise PtychoError("--serve: has no effect with --dry-run, which runs nothing; give one of them.")
    elif dry_run:
        screen.show(commands.plan(out, asked, snakefile=False))
        typer.echo(f"Plan: {out}/plan.json")
    else:
        with screen.reporting(quiet, "Running the study") as report:
            line = commands.run(out, replace(asked, redo=redo), jobs, report, serve)
        typer.echo(line)


@app.command(epilog="Example: ptychopinn study status study")
def status(folder: Folder) -> None:
    """Print the state of every job."""
    from ptychopinn.study import commands

    screen.show(commands.status(folder))


@app.command(epilog="Example: ptychopinn study report study")
def report(folder: Folder) -> None:
    """Write report.html and report.csv of the finished jobs."""
    from ptychopinn.study import commands

    typer.echo(commands.report(folder))

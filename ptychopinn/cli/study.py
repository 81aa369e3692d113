"""``ptychopinn study``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ptychopinn.cli import options, screen
from ptychopinn.config import read_assignments
from ptychopinn.errors import PtychoError

app = options.new_app()

Out = Annotated[Path, typer.Option("--out", "-o", help="folder of the study; an older one goes on")]
Folder = Annotated[Path, typer.Argument(help="folder of a study")]
Preset = Annotated[str | None, typer.Option(help="reference, or quick: 10 minutes on 2 cores [default: reference]")]
Design = Annotated[Path | None, typer.Option("--design", help="JSON file of a design")]
Assigned = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="a field of the design, such as train.nepochs=20"),
]
Dose = Annotated[list[float] | None, typer.Option(help="only this dose, and what it needs; may be repeated")]
View = Annotated[list[str] | None, typer.Option(help="only this view: baseline, dense, sparse; may be repeated")]
Split = Annotated[list[str] | None, typer.Option(help="only train or test")]
Stage = Annotated[list[str] | None, typer.Option(help="only simulate, overlap, train, baseline or compare")]
Gridsize = Annotated[list[int] | None, typer.Option(help="only networks of this group size")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="leave out what cannot be; listed in skip_summary.json")
]
Update = Annotated[bool, typer.Option("--update", help="let a new design replace that of --out")]


@app.callback(epilog="Example: ptychopinn study run --preset quick --out study --jobs 2")
def study() -> None:
    """Compare networks and iterative reconstruction over doses and overlaps."""


@app.command(epilog="Example: ptychopinn study plan --preset quick")
def plan(
    preset: Preset = None,
    design: Design = None,
    assigned: Assigned = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder of the study, which may exist")] = None,
    dose: Dose = None,
    view: View = None,
    split: Split = None,
    stage: Stage = None,
    gridsize: Gridsize = None,
    allow_missing: AllowMissing = False,
    update: Update = False,
    snakefile: Annotated[bool, typer.Option("--snakefile", help="write OUT/Snakefile: a rule per job")] = False,
) -> None:
    """Print the jobs of a study, or write them as a Snakefile."""
    if snakefile and out is None:
        raise PtychoError("--snakefile: needs --out, the folder of the study.")

    from ptychopinn.study import commands

    if update and out is None:
        raise PtychoError("--update: has no effect without --out, the folder whose design it replaces.")
    filters = _filters(dose, view, split, stage, gridsize)
    asked = commands.Asked(preset, design, read_assignments(assigned or ()), filters, allow_missing, update)
    typer.echo(commands.plan(out, asked, snakefile))
    if snakefile:
        typer.echo(f"Snakefile: {out}/Snakefile; snakemake -d {out} -s {out}/Snakefile --cores 2 --keep-going")


@app.command(epilog="Example: ptychopinn study run --preset quick --out study --jobs 2")
def run(
    out: Out,
    preset: Preset = None,
    design: Design = None,
    assigned: Assigned = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="jobs at a time")] = 1,
    dose: Dose = None,
    view: View = None,
    split: Split = None,
    stage: Stage = None,
    gridsize: Gridsize = None,
    job: Annotated[str | None, typer.Option("--job", help="only the job of this name, as a Snakefile asks")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the table and stop")] = False,
    allow_missing: AllowMissing = False,
    update: Update = False,
    redo: Annotated[bool, typer.Option("--redo", help="again, though finished: the jobs the filters ask for")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a study, or go on with it: jobs that are finished and whose inputs did not change are kept."""
    from ptychopinn.study import commands

    filters = _filters(dose, view, split, stage, gridsize)
    asked = commands.Asked(preset, design, read_assignments(assigned or ()), filters, allow_missing, update, redo)
    if job is not None:
        others = {"preset": preset, "design": design, "set": assigned, "jobs": jobs > 1, "dry-run": dry_run}
        others |= {"allow-missing": allow_missing, "update": update, "redo": redo, **filters}
        if given := [name for name, value in others.items() if value]:
            raise PtychoError(f"--job: runs one job of a study as it is; omit --{given[0].removesuffix('s')}.")
        typer.echo(commands.run_named(out, job))
    elif dry_run:
        typer.echo(commands.plan(out, asked, snakefile=False))
    else:
        typer.echo(commands.run(out, asked, jobs, screen.speaker(quiet)))


@app.command(epilog="Example: ptychopinn study status study")
def status(folder: Folder) -> None:
    """Print how far every job is."""
    from ptychopinn.study import commands

    typer.echo(commands.status(folder))


@app.command(epilog="Example: ptychopinn study report study")
def report(folder: Folder) -> None:
    """Write report.html and report.csv of what is finished."""
    from ptychopinn.study import commands

    typer.echo(commands.report(folder))


def _filters(*values: list[Any] | None) -> dict[str, list[Any]]:
    return dict(zip(("doses", "views", "splits", "stages", "gridsizes"), (each or [] for each in values), strict=True))

"""The jobs of a study: a command each, the files it reads and writes, and the jobs it needs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.npz_arrays import keys_of
from ptychopinn.study.design import EMBEDDED, FULL, SPLITS, StudyDesign, dose_name

STAGES: Final = ("simulate", "overlap", "train", "baseline", "compare")

JOBS = "jobs"
"""Folder of the jobs, inside that of the study."""


@dataclass(frozen=True)
class Job:
    """A call of ``ptychopinn`` in the folder of the study.

    Attributes:
        name: unique; also of its folder.
        stage: name of the command.
        dose: photons per frame.
        view: its view of the scan; None for all.
        split: ``train`` or ``test``; None for both.
        gridsize: of the network; None without one.
        model: ``pinn`` or ``supervised``; None without a network.
        arguments: of the command; relative paths start at the folder of the study.
        inputs: files that it reads.
        outputs: files that it writes for others.
        needs: names of the jobs that make the inputs.
    """

    name: str
    stage: str
    dose: float
    view: str | None
    split: str | None
    gridsize: int | None
    model: str | None
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where it works, inside the folder of the study."""
        return f"{JOBS}/{self.name}"

    @property
    def out(self) -> str:
        """Folder of its results."""
        return f"{self.folder}/out"

    @property
    def command(self) -> tuple[str, ...]:
        """The whole call."""
        return ("ptychopinn", self.stage, *self.arguments)


def jobs_of(design: StudyDesign) -> tuple[Job, ...]:
    """All jobs of a design, each after those that it needs."""
    jobs: list[Job] = []
    for dose in design.doses:
        jobs.append(_simulate(design, dose))
    for dose in design.doses:
        jobs += [_overlap(design, dose, view) for view in design.views]
    for dose in design.doses:
        jobs += [_train(design, dose, view, size) for view in design.all_views for size in design.gridsizes]
        jobs.append(_train(design, dose, FULL, design.gridsizes[0], "supervised"))
    for dose in design.doses:
        jobs += [_baseline(design, dose, view, split) for view in design.all_views for split in SPLITS]
    for dose in design.doses:
        jobs += [_compare(design, dose, view, split) for view in design.all_views for split in SPLITS]
    return tuple(jobs)


def find(jobs: Sequence[Job], name: str) -> Job:
    """The job of a name.

    Raises:
        PtychoError: when there is none.
    """
    found = next((job for job in jobs if job.name == name), None)
    if found is None:
        raise PtychoError(f"--job {shortened(name)}: not a job of this study; 'ptychopinn study status' lists them.")
    return found


def matching(jobs: Sequence[Job], design: StudyDesign, **filters: Sequence[Any]) -> tuple[Job, ...]:
    """The jobs that every given filter asks for, in order.

    Args:
        jobs: to choose from.
        design: that they belong to.
        filters: ``doses``, ``views``, ``splits``, ``stages``, ``gridsizes``; an empty one takes all.

    Raises:
        PtychoError: for a value that the design does not have, or when nothing is left.
    """
    there: dict[str, Sequence[Any]] = {"doses": design.doses, "views": design.all_views, "splits": SPLITS}
    there |= {"stages": STAGES, "gridsizes": design.gridsizes}
    wanted = {name.removesuffix("s"): values for name, values in filters.items() if values}
    for name, values in wanted.items():
        for value in values:
            if value not in there[f"{name}s"]:
                given, *listed = (f"{x:g}" if isinstance(x, float) else str(x) for x in (value, *there[f"{name}s"]))
                raise PtychoError(f"--{name} {shortened(given)}: not in the design; choose from {', '.join(listed)}.")
    found = tuple(job for job in jobs if all(getattr(job, name) in values for name, values in wanted.items()))
    if not found:
        raise PtychoError("study: no job matches all filters; give fewer.")
    return found


def with_needs(jobs: Sequence[Job], chosen: Sequence[Job]) -> tuple[Job, ...]:
    """The chosen jobs and those that they need, in order."""
    names = {job.name for job in chosen}
    for job in reversed(jobs):
        if job.name in names:
            names.update(job.needs)
    return tuple(job for job in jobs if job.name in names)


def unmet(job: Job, states: Mapping[str, str]) -> str:
    """Which of the jobs that a job needs failed or was skipped; empty when none did."""
    for name in job.needs:
        if states.get(name) in ("failed", "skipped"):
            return f"needs {name}, which {'failed' if states[name] == 'failed' else 'was skipped'}"
    return ""


def summary(jobs: Sequence[Job]) -> str:
    """``51 jobs: 3 simulate, 6 overlap, ...``."""
    counts = Counter(job.stage for job in jobs)
    return f"{len(jobs)} jobs: " + ", ".join(f"{counts[stage]} {stage}" for stage in STAGES if counts[stage])


def job_name(stage: str, dose: float, *parts: str) -> str:
    """``train-1e3-dense-gs2``."""
    return "-".join((stage, dose_name(dose), *parts))


def _out(name: str, file: str = "") -> str:
    """A result of a job, or the folder of all."""
    return f"{JOBS}/{name}/out" + (f"/{file}" if file else "")


def _scan(dose: float, view: str, split: str) -> tuple[str, str]:
    """Name of the job that makes a scan, and its file."""
    name = job_name("simulate", dose) if view == FULL else job_name("overlap", dose, view)
    return name, _out(name, f"scan_{split}.npz")


def _network(dose: float, view: str, gridsize: int, model: str) -> tuple[str, str]:
    """Name of the job that trains a network, and its file."""
    name = job_name("train", dose, view, f"gs{gridsize}", *(() if model == "pinn" else (model,)))
    return name, _out(name, "wts.h5.zip")


def _simulate(design: StudyDesign, dose: float) -> Job:
    name = job_name("simulate", dose)
    arguments = [_out(name, "scan.npz"), "--nphotons", f"{dose:.10g}", "--seed", str(design.simulation_seed)]
    if design.base in EMBEDDED:
        arguments += ["--object", design.base, "--object-size", str(design.object_size), "--N", str(design.N)]
        arguments += ["--probe-radius", f"{design.radius:g}", "--probe-curvature", f"{design.probe_curvature:g}"]
        inputs: tuple[str, ...] = ()
    else:
        arguments += ["--from", design.base]
        inputs = (design.base,)
    if design.base in EMBEDDED or not {"xcoords", "ycoords"} <= keys_of(Path(design.base)):
        arguments += ["--step", f"{design.step:g}", "--jitter", f"{design.jitter:g}"]
    arguments += ["--interpolation", design.interpolation, "--split", design.split_axis]
    if design.split_gap is not None:
        arguments += ["--split-gap", f"{design.split_gap:g}"]
    outputs = tuple(_out(name, f"scan_{split}.npz") for split in SPLITS)
    return Job(name, "simulate", dose, None, None, None, None, tuple(arguments), inputs, outputs, ())


def _overlap(design: StudyDesign, dose: float, view: str) -> Job:
    name = job_name("overlap", dose, view)
    maker = job_name("simulate", dose)
    scans = tuple(_out(maker, f"scan_{split}.npz") for split in SPLITS)
    settings: dict[str, Any] = {"overlap": design.views[view], "gridsize": design.gridsizes[-1]}
    settings |= {"neighbor_count": design.neighbor_count, "seed": design.grouping_seed}
    if design.n_subsample is not None:
        settings |= {"n_subsample": design.n_subsample, "subsample_seed": design.subsampling_seed}
    arguments = (*scans, "--out", _out(name), *_assigned(settings))
    outputs = (*(_out(name, f"scan_{split}.npz") for split in SPLITS), _out(name, "metrics_bundle.json"))
    return Job(name, "overlap", dose, view, None, None, None, arguments, scans, outputs, (maker,))


def _train(design: StudyDesign, dose: float, view: str, gridsize: int, model: str = "pinn") -> Job:
    name, network = _network(dose, view, gridsize, model)
    maker, scan = _scan(dose, view, "train")
    settings: dict[str, Any] = {"gridsize": gridsize, "neighbor_count": design.neighbor_count}
    settings |= {"seed": design.grouping_seed, "accelerator": design.accelerator}
    # Arms are compared, and the network of the package takes single frames only.
    settings |= {"start_from": "scratch"}
    if model == "supervised":
        settings |= {"model_type": model, "nll_weight": 0.0}
    settings |= design.train | design.train_of_view.get(view, {})
    arguments = (scan, "--out", _out(name), *_assigned(settings))
    return Job(name, "train", dose, view, "train", gridsize, model, arguments, (scan,), (network,), (maker,))


def _baseline(design: StudyDesign, dose: float, view: str, split: str) -> Job:
    name = job_name("baseline", dose, view, split)
    maker, scan = _scan(dose, view, split)
    settings: dict[str, Any] = {"engine": design.engine, "epochs": design.epochs, "seed": design.simulation_seed}
    settings |= {"accelerator": design.accelerator} | design.baseline
    arguments = (scan, "--out", _out(name), *_assigned(settings))
    outputs = (_out(name, "reconstruction.h5"), _out(name, "provenance.json"))
    return Job(name, "baseline", dose, view, split, None, None, arguments, (scan,), outputs, (maker,))


def _compare(design: StudyDesign, dose: float, view: str, split: str) -> Job:
    """All arms of a view: its networks on counts, these refined, the supervised network and the iterative image."""
    name = job_name("compare", dose, view, split)
    scanner, scan = _scan(dose, view, split)
    networks = [(f"PINN gs{size}", *_network(dose, view, size, "pinn")) for size in design.gridsizes]
    teacher, supervised = _network(dose, FULL, design.gridsizes[0], "supervised")
    iterative = job_name("baseline", dose, view, split)
    settings = {"accelerator": design.accelerator} | design.compare
    arguments = (
        *(scan, *(part for arm, _, file in networks for part in ("--pinn", f"{arm}={file}"))),
        *("--supervised", supervised, "--iterative", _out(iterative), "--refine"),
        # Positions of simulated frames are exact, and a poor image has no reliable registration.
        *("--skip-registration", "--sigma", f"{design.ms_ssim_sigma:g}", "--out", _out(name), *_assigned(settings)),
    )
    pinns = tuple(file for _, _, file in networks)
    inputs = (scan, *pinns, supervised, _out(iterative, "reconstruction.h5"), _out(iterative, "provenance.json"))
    outputs = (_out(name, "comparison_metrics.csv"), _out(name, "reconstructions_aligned.npz"))
    needs = (scanner, *(maker for _, maker, _ in networks), teacher, iterative)
    return Job(name, "compare", dose, view, split, None, None, arguments, inputs, outputs, needs)


def _assigned(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    return [part for name, text in texts.items() for part in ("--set", f"{name}={text}")]

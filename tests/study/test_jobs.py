"""The matrix of the reference design, job by job."""

from collections import Counter

import pytest
from typer.main import get_command

from ptychopinn.cli.app import app
from ptychopinn.errors import PtychoError
from ptychopinn.study.design import StudyDesign
from ptychopinn.study.jobs import STAGES, Job, find, jobs_of, matching, summary, with_needs

DOSES = (1e3, 1e4, 1e5)
REFERENCE = StudyDesign()
JOBS = jobs_of(REFERENCE)


def cells(stage: str, *names: str) -> set[tuple]:
    found = [tuple(getattr(job, name) for name in names) for job in JOBS if job.stage == stage]
    assert len(set(found)) == len(found)
    return set(found)


def test_three_simulations_one_per_dose():
    assert cells("simulate", "dose") == {(dose,) for dose in DOSES}


def test_six_pairs_of_views():
    assert cells("overlap", "dose", "view") == {(dose, view) for dose in DOSES for view in ("dense", "sparse")}


def test_networks_of_every_gridsize_on_the_counts_of_every_view_and_three_on_truth():
    of_dose = {(view, size, "pinn") for view in ("baseline", "dense", "sparse") for size in (1, 2)}
    of_dose.add(("baseline", 1, "supervised"))
    assert cells("train", "dose", "view", "gridsize", "model") == {(dose, *rest) for dose in DOSES for rest in of_dose}


def test_eighteen_iterative_reconstructions():
    views, splits = ("baseline", "dense", "sparse"), ("train", "test")
    assert cells("baseline", "dose", "view", "split") == {(d, v, s) for d in DOSES for v in views for s in splits}


def test_eighteen_comparisons():
    views, splits = ("baseline", "dense", "sparse"), ("train", "test")
    assert cells("compare", "dose", "view", "split") == {(d, v, s) for d in DOSES for v in views for s in splits}


def test_there_is_nothing_else():
    assert summary(JOBS) == "66 jobs: 3 simulate, 6 overlap, 21 train, 18 baseline, 18 compare"
    assert len({job.name for job in JOBS}) == 66
    assert set(Counter(job.stage for job in JOBS)) == set(STAGES)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_input_comes_from_a_job_that_is_waited_for_and_stands_before(job: Job):
    made = {name: maker.name for maker in JOBS for name in maker.outputs}
    assert {made[name] for name in job.inputs} == set(job.needs)
    order = [each.name for each in JOBS]
    assert all(order.index(name) < order.index(job.name) for name in job.needs)
    assert all(name.startswith(f"{job.folder}/out/") for name in job.outputs)


@pytest.mark.parametrize("stage", STAGES)
def test_the_commands_know_the_options(stage: str):
    command = get_command(app).get_command(None, stage)
    known = {name for parameter in command.params for name in parameter.opts}
    used = {text for job in JOBS if job.stage == stage for text in job.arguments if text.startswith("--")}
    assert used <= known


def test_a_comparison_has_all_arms_of_its_cell():
    job = find(JOBS, "compare-1e4-sparse-test")
    call = " ".join(job.command)
    assert "overlap-1e4-sparse/out/scan_test.npz --pinn PINN gs1=jobs/train-1e4-sparse-gs1/" in call
    assert "--pinn PINN gs2=jobs/train-1e4-sparse-gs2/" in call
    assert "--supervised jobs/train-1e4-baseline-gs1-supervised/" in call
    assert "--iterative jobs/baseline-1e4-sparse-test/out --refine --skip-registration --sigma 1 " in call


def test_networks_are_trained_on_the_train_part_alone():
    for job in JOBS:
        if job.stage == "train":
            assert job.split == "train"
            assert job.inputs[0].endswith("scan_train.npz")


def test_settings_of_a_view_win_over_those_of_all():
    design = StudyDesign.of({"train": {"nepochs": 5}, "train_of_view": {"sparse": {"nepochs": 2}}})
    for job in jobs_of(design):
        if job.stage == "train":
            assert f"nepochs={2 if job.view == 'sparse' else 5}" in job.arguments


def test_no_result_is_made_for_nothing():
    used = {name for job in JOBS for name in job.inputs}
    for job in JOBS:
        if job.stage in ("train", "baseline"):
            assert used.intersection(job.outputs), job.name


def test_every_gridsize_has_networks_and_is_in_every_comparison():
    jobs = jobs_of(StudyDesign.of({"gridsizes": [1, 2, 3], "neighbor_count": 9}))
    counts = Counter((job.stage, job.gridsize) for job in jobs if job.gridsize)
    assert counts == {("train", 1): 12, ("train", 2): 9, ("train", 3): 9}
    assert all(job.arguments.count("--pinn") == 3 for job in jobs if job.stage == "compare")
    assert len({job.name for job in jobs}) == len(jobs)


def names(**filters) -> list[str]:
    return [job.name for job in with_needs(JOBS, matching(JOBS, REFERENCE, **filters))]


def test_no_filter_is_everything():
    assert len(names()) == 66


def test_only_what_is_asked_matches():
    assert len(matching(JOBS, REFERENCE, stages=["compare"], doses=[1e3])) == 6


def test_filters_bring_what_the_jobs_need():
    assert names(doses=[1e3], views=["dense"], splits=["test"], stages=["compare"]) == [
        "simulate-1e3",
        "overlap-1e3-dense",
        "train-1e3-dense-gs1",
        "train-1e3-dense-gs2",
        "train-1e3-baseline-gs1-supervised",
        "baseline-1e3-dense-test",
        "compare-1e3-dense-test",
    ]


@pytest.mark.parametrize(
    ("filters", "counts"),
    [
        ({"stages": ["simulate"]}, {"simulate": 3}),
        ({"stages": ["overlap"], "views": ["sparse"]}, {"simulate": 3, "overlap": 3}),
        ({"gridsizes": [1]}, {"simulate": 3, "overlap": 6, "train": 12}),
        ({"doses": [1e3, 1e5], "stages": ["train"]}, {"simulate": 2, "overlap": 4, "train": 14}),
        ({"splits": ["test"], "stages": ["baseline"]}, {"simulate": 3, "overlap": 6, "baseline": 9}),
    ],
)
def test_filters(filters, counts):
    assert Counter(name.partition("-")[0] for name in names(**filters)) == counts


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"doses": [2e3]}, "--dose 2000: not in the design; choose from 1000, 10000, 100000."),
        ({"views": ["thin"]}, "--view thin: not in the design; choose from baseline, dense, sparse."),
        ({"splits": ["half"]}, "choose from train, test."),
        ({"stages": ["cook"]}, "choose from simulate, overlap, train, baseline, compare."),
        ({"gridsizes": [3]}, "choose from 1, 2."),
        ({"stages": ["simulate"], "views": ["dense"]}, "no job matches all filters"),
    ],
)
def test_filters_that_the_design_does_not_have(filters, words):
    with pytest.raises(PtychoError) as error:
        names(**filters)
    assert words in str(error.value)


def test_a_name_that_is_no_job():
    with pytest.raises(PtychoError, match="--job nothing: not a job"):
        find(JOBS, "nothing")

"""The design of a study: its defaults are the reference, and what cannot be is refused by name."""

import json

import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.study.design import PRESETS, StudyDesign, combined, dose_name, read_design


def test_the_default_is_the_reference_design():
    design = StudyDesign.of(PRESETS["reference"])
    assert design == StudyDesign()
    assert design.doses == (1e3, 1e4, 1e5)
    assert design.gridsizes == (1, 2)
    assert design.neighbor_count == 7
    assert design.N == 128
    assert design.views == {"dense": 0.7, "sparse": 0.2}
    assert design.split_axis == "y"
    seeds = (design.simulation_seed, design.grouping_seed, design.subsampling_seed)
    assert seeds == (42, 123, 456)
    assert design.ms_ssim_sigma == 1.0
    assert (design.engine, design.epochs) == ("lsqml", 100)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_design_survives_json(preset, tmp_path):
    design = StudyDesign.of(PRESETS[preset])
    (tmp_path / "design.json").write_text(design.model_dump_json())
    assert StudyDesign.of(read_design(tmp_path / "design.json")) == design


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"doses": 5}, "doses: 5 given. An array is needed, such as [1000, 10000]"),
        ({"neighbor_count": 3}, "neighbor_count: 3 given; at least C = 4 is needed for gridsize 2"),
        ({"gridsizes": [1, 3]}, "at least C = 9"),
        ({"views": {"dense": 1.0}}, "dense: an overlap must be at least 0 and below 1"),
        ({"views": {"dense": -0.1}}, "dense: an overlap"),
        ({"views": {"baseline": 0.5}}, "not 'baseline'"),
        ({"views": {"../up": 0.5}}, "../up: lower-case"),
        ({"doses": [1e3, 0]}, "every dose must be positive"),
        ({"doses": [1e3, -1e4]}, "every dose must be positive"),
        ({"doses": []}, "doses"),
        ({"doses": [1e3, 1000]}, "give every dose once"),
        ({"doses": [float("nan")]}, "doses"),
        ({"gridsizes": [4]}, "gridsizes"),
        ({"N": 127}, "N: 127 given"),
        ({"split_gap": 0}, "split_gap"),
        ({"neighbour_count": 7}, "Did you mean 'neighbor_count'?"),
        ({"train": {"nepoch": 3}}, "train: nepoch: not a setting. Did you mean 'nepochs'?"),
        ({"train": {"nepochs": 0}}, "train: nepochs: 0 given"),
        ({"train": {"gridsize": 2}}, "train: gridsize: is set by another field"),
        ({"baseline": {"epochs": 2}}, "baseline: epochs: is set by another field"),
        ({"train_of_view": {"thin": {}}}, "train_of_view: thin: not a view"),
        ({"train_of_view": {"dense": {"seed": 1}}}, "train_of_view.dense: seed"),
        ({"resources": {"cook": {}}}, "cook: not a stage"),
        ({"resources": {"train": {"gpus": 1}}}, "resources.train.gpus"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(PtychoError) as error:
        StudyDesign.of(values, "mine.json")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_one_neighbour_is_enough_without_groups():
    assert StudyDesign.of({"gridsizes": [1], "neighbor_count": 1}).gridsizes == (1,)


def test_gridsizes_are_in_order():
    assert StudyDesign.of({"gridsizes": [3, 1, 2, 1], "neighbor_count": 9}).gridsizes == (1, 2, 3)


@pytest.mark.parametrize(
    ("dose", "name"), [(1e3, "1e3"), (2500, "2.5e3"), (1e5, "1e5"), (123456, "1.23456e5"), (0.5, "5e-1")]
)
def test_doses_have_short_names(dose, name):
    assert dose_name(dose) == name
    assert float(name) == dose


def test_assignments_reach_into_objects_and_leave_the_rest():
    values = {"N": 64, "train": {"stages": 2, "nepochs": 9}}
    changed = combined(values, {"train.nepochs": 1, "resources.train.gpu": 0, "N": 32})
    assert changed == {"N": 32, "train": {"stages": 2, "nepochs": 1}, "resources": {"train": {"gpu": 0}}}
    assert values["train"]["nepochs"] == 9
    assert StudyDesign.of(changed).resources["train"].mem_mb == 4000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "an object of fields of a study"),
        ("{", "is not JSON"),
        (None, "cannot be"),
        ('{"N": 64, "N": 32}', "N: given twice"),
    ],
)
def test_a_file_that_is_no_design(tmp_path, text, words):
    path = tmp_path / "design.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PtychoError, match=words):
        read_design(path)


def test_a_file_with_a_wrong_field_is_named(tmp_path):
    path = tmp_path / "design.json"
    path.write_text(json.dumps({"dose": [1]}))
    with pytest.raises(PtychoError, match=r"design\.json: dose: not a field.*'doses'"):
        read_design(path)

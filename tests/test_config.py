"""Settings: one name each, limits that hold, and a record of where every value came from."""

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from ptychopinn.config import Settings, read_assignments, read_settings, resolve
from ptychopinn.errors import PtychoError
from ptychopinn.json_reader import read_json

FIELDS = [(name, info) for section in Settings() for name, info in type(section[1]).model_fields.items()]
NAMES = [name for name, _ in FIELDS]


def test_a_name_stands_in_one_section_only():
    assert len(NAMES) == len(set(NAMES))
    assert list(Settings().flat()) == NAMES


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["scheduler=plateau"], {"scheduler": "plateau"}),
        (["learning-rate=1e-3", "crop=null"], {"learning_rate": 1e-3, "crop": None}),
        (["deterministic=true", "num_workers = 2"], {"deterministic": True, "num_workers": 2}),
        ([], {}),
    ],
)
def test_assignments_are_json_where_they_can_be(texts, expected):
    assert read_assignments(texts) == expected


@pytest.mark.parametrize("texts", [["scheduler"], ["=3"], ["seed=1", "seed=2"]])
def test_assignments_have_one_name_and_one_value(texts):
    with pytest.raises(PtychoError, match="--set"):
        read_assignments(texts)


@pytest.mark.parametrize("text", ["32", '"32"', "auto", "bf16"])
def test_a_precision_may_look_like_a_number(text):
    settings = Settings.of(read_assignments([f"inference_precision={text}"]))
    assert settings.inference.inference_precision == text.strip('"')


def test_flat_names_go_there_and_back():
    changed = Settings.of({"gridsize": 2, "crop": 32, "nepochs": 7, "object": "lines", "synchronise": False})
    assert changed != Settings.of({}) == Settings()
    assert Settings.of(changed.flat()) == changed
    assert Settings.of(json.loads(json.dumps(changed.flat()))) == changed
    assert (changed.model.gridsize, changed.data.crop, changed.inference.synchronise) == (2, 32, False)


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().training.nepochs = 3


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("neighbors_count", "neighbor_count"), ("nepoch", "nepochs"), ("learning-rate", "learning_rate")],
)
def test_a_misspelt_name_is_recognised(wrong, meant):
    with pytest.raises(PtychoError) as error:
        Settings.of({wrong: 1}, "here")
    assert str(error.value) == f"here: {wrong}: not a setting. Did you mean '{meant}'?"


@pytest.mark.parametrize("name", ["training", "zzzzzz", "n", ""])
def test_other_names_get_a_way_to_the_list(name):
    with pytest.raises(PtychoError) as error:
        Settings.of({name: 1}, "here")
    assert str(error.value) == f"here: {name}: not a setting. Run 'ptychopinn config schema' to list them."


OUT_OF_RANGE = [
    ("gridsize", 4),
    ("gridsize", 0),
    ("features", "fourier"),
    ("stages", 0),
    ("stages", 9),
    ("n_filters_scale", 0),
    ("depth", 6),
    ("crop", 7),
    ("every", 0),
    ("measurement", "volts"),
    ("nphotons", 0),
    ("nphotons", -1e6),
    ("n_groups", 0),
    ("neighbor_count", 0),
    ("nepochs", 0),
    ("nepochs", 2.5),
    ("max_seconds", 0),
    ("batch_size", 0),
    ("learning_rate", 0),
    ("val_fraction", 1),
    ("val_fraction", -0.1),
    ("teacher_epochs", -1),
    ("synthetic_fraction", 1.0),
    ("seed", -1),
    ("accelerator", "abacus"),
    ("inference_batch_size", 0),
    ("synchronise", "perhaps"),
    ("object_size", 47),
    ("N", 33),
    ("N", 14),
    ("N", 1026),
    ("step", 0),
    ("jitter", 0.6),
    ("probe_radius", -1),
    ("interpolation", "nearest"),
    ("probe_curvature", float("nan")),
    ("learning_rate", float("inf")),
    ("nphotons", float("nan")),
    ("N", None),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(PtychoError) as error:
        Settings.of({"gridsize": 1, name: value}, "here")
    message = str(error.value)
    assert message.startswith(f"here: {name}: {value!r} given. ")
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gridsize", 3),
        ("stages", 8),
        ("crop", None),
        ("crop", 8),
        ("val_fraction", 0),
        ("teacher_epochs", 0),
        ("synthetic_fraction", 0),
        ("N", 16),
        ("N", 1024),
        ("N", 100),
        ("jitter", 0),
        ("jitter", 0.5),
        ("probe_curvature", -3),
        ("nphotons", 1e12),
    ],
)
def test_limits_belong_to_the_range(name, value):
    assert Settings.of({name: value}).flat()[name] == value


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"nepochs": 3, "batch_size": 8, "crop": None, "synchronise": True}))
    flags = {"nepochs": 5, "seed": 0, "synchronise": False, "gradient_clip_val": None}
    settings, sources = resolve(flags, path)
    assert (settings.training.nepochs, sources["nepochs"]) == (5, "flag")
    assert (settings.training.batch_size, sources["batch_size"]) == (8, str(path))
    assert (settings.data.crop, sources["crop"]) == (None, str(path))
    assert (settings.model.gridsize, sources["gridsize"]) == (1, "default")
    assert (settings.execution.gradient_clip_val, sources["gradient_clip_val"]) == (None, "flag")
    # A flag that says what the default says, or false, was given all the same.
    assert (settings.training.seed, sources["seed"]) == (0, "flag")
    assert (settings.inference.synchronise, sources["synchronise"]) == (False, "flag")
    assert list(sources) == NAMES


def test_without_flags_and_file_everything_is_a_default():
    settings, sources = resolve({})
    assert settings == Settings()
    assert set(sources.values()) == {"default"}


def test_a_wrong_flag_is_not_blamed_on_the_file(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"nepochs": 3}')
    with pytest.raises(PtychoError, match=r"^command line: batch_size: 0 given\."):
        resolve({"batch_size": 0}, path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("is not JSON",)),
        (b"nepochs = 3", ("is not JSON",)),
        (b'{"nepochs": 3', ("is not JSON",)),
        (b"\x80\x02\xff", ("is not JSON",)),
        (b"[1, 2]", ("holds an array", "an object of settings is needed")),
        (b"3", ("holds a number", "an object of settings is needed")),
        (b'{"neighbors": 4}', ("neighbors: not a setting.", "Did you mean 'neighbor_count'?")),
        (b'{"training": {"nepochs": 3}}', ("training: not a setting.",)),
        (b'{"nepochs": "many"}', ("nepochs: 'many' given.",)),
        (b'{"probe_curvature": NaN}', ("probe_curvature: nan given.",)),
    ],
)
def test_a_bad_file_gets_one_sentence(tmp_path, content, words):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    for read in (read_settings, lambda path: resolve({"seed": 1}, path)):
        with pytest.raises(PtychoError) as error:
            read(path)
        message = str(error.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert all(word in message for word in words)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_file_that_cannot_be_read(tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "absent.json"
    with pytest.raises(PtychoError) as error:
        read_settings(path)
    assert str(error.value).startswith(f"{path}: cannot be read: ")


def test_a_pipe_of_the_shell_is_read_and_no_other_one_is_waited_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"epochs": 3}')
    os.close(writing)
    assert read_json(Path(f"/dev/fd/{reading}"), "settings") == {"epochs": 3}
    os.close(reading)
    os.mkfifo(tmp_path / "settings.json")
    with pytest.raises(PtychoError, match="settings.json: is a pipe; a file is needed"):
        read_json(tmp_path / "settings.json", "settings")

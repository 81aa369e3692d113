"""Names of arms: given, of the kind, of the folder; never two of one name, never one fewer than was given."""

from pathlib import Path

import pytest

from ptychopinn.commands.shared.arms import named_arms
from ptychopinn.errors import PtychoError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run1", "run2", "truth", "deep/a/out", "deep/b/out", "lr=0.1", "x=y/run"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("run1/wts.h5.zip", "run2/wts.h5.zip", "deep/a/out/reconstruction.h5", "alone.npz"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(refine: bool = False, **given: list[str]) -> list[str]:
    return [arm.name for arm in named_arms(given, refine)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pinn": ["run1"], "supervised": ["run2"], "iterative": ["alone.npz"]}, ["PINN", "supervised", "iterative"]),
        ({"pinn": ["gs1=run1", "gs2=run2"]}, ["gs1", "gs2"]),
        ({"pinn": ["run1", "run2"]}, ["run1", "run2"]),
        ({"pinn": ["run1/wts.h5.zip", "run2"]}, ["run1", "run2"]),
        ({"pinn": ["run1", "run1"]}, ["run1", "run1 2"]),
        ({"pinn": ["run1", "run1/wts.h5.zip", "run1"]}, ["run1", "run1 2", "run1 3"]),
        ({"iterative": ["deep/a/out", "deep/b/out/reconstruction.h5", "alone.npz"]}, ["a_out", "b_out", "alone"]),
        ({"pinn": ["run2=run1", "run2"]}, ["run2", "run2 2"]),
        ({"pinn": ["supervised=run1"], "supervised": ["run2"]}, ["supervised", "supervised 2"]),
        ({"iterative": ["truth", "run1"]}, ["truth 2", "run1"]),
        ({"pinn": ["lr=0.1", "run1"]}, ["lr=0.1", "run1"]),
        ({"pinn": ["a=lr=0.1", "b=x=y/run"]}, ["a", "b"]),
        ({"pinn": ["x=y/run"]}, ["PINN"]),
    ],
)
def test_names(place: Path, given: dict[str, list[str]], expected: list[str]) -> None:
    assert names(**given) == expected


def test_kinds_and_paths_are_kept(place: Path) -> None:
    arms = named_arms({"pinn": ["a b=run1", "x=y/run"], "iterative": ["c=lr=0.1"]})
    assert [(arm.kind, str(arm.path)) for arm in arms] == [
        ("pinn", "run1"),
        ("pinn", "x=y/run"),
        ("iterative", "lr=0.1"),
    ]


def test_refined_arms_have_names_of_their_own(place: Path) -> None:
    assert names(pinn=["a=run1", "a refined=run2"]) == ["a", "a refined"]
    with pytest.raises(PtychoError, match="another arm is named 'a refined'"):
        names(refine=True, pinn=["a=run1", "a refined=run2"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pinn": ["a=run1", "a=run2"]}, "--pinn a=run2: another arm is named 'a'; each needs a name of its own."),
        ({"pinn": ["a=run1"], "iterative": ["a=run2"]}, "--iterative a=run2: another arm is named 'a'"),
        ({"pinn": ["=run1"]}, "--pinn =run1: '' is no name"),
        ({"pinn": ["a/b=run1"]}, "'a/b' is no name"),
        ({"pinn": ["a|b=run1"]}, "is no name"),
        ({"pinn": ["truth=run1"]}, "the name 'truth' means something else"),
        ({"supervised": ["a=absent"]}, "--supervised a=absent: neither this path nor absent exists; NAME=PATH"),
        ({"supervised": ["a="]}, "--supervised a=: neither this path nor an empty one exists"),
        ({"pinn": ["a" * 41 + "=run1"]}, "a name of 41 characters; at most 40"),
    ],
)
def test_refusals(place: Path, given: dict[str, list[str]], words: str) -> None:
    with pytest.raises(PtychoError) as error:
        names(**given)
    assert words in str(error.value)

"""Bundles that are damaged or made by others: refused with one line, and no code in them is run."""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from ptychopinn.model.bundle import SCHEMA
from tests.cli.refusing import Words, assert_refused


class Evil:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


Members = dict[str, bytes]


def edited(**changes: Any) -> Callable[[Members], Members]:
    """Changes of the manifest."""
    return lambda members: (
        members | {"manifest.json": json.dumps(json.loads(members["manifest.json"]) | changes).encode()}
    )


def exchanged(name: str, content: bytes) -> Callable[[Members], Members]:
    """Another content of a member, its hash made to fit."""

    def change(members: Members) -> Members:
        manifest = json.loads(members["manifest.json"])
        manifest["sha256"][name.partition(".")[0]] = hashlib.sha256(content).hexdigest()
        return members | {"manifest.json": json.dumps(manifest).encode(), name: content}

    return change


NETWORK = "diffraction_to_obj.safetensors"
BUNDLES: dict[str, tuple[Callable[[Members], Members], Words]] = {
    "no manifest": (lambda members: {NETWORK: members[NETWORK]}, ("holds no manifest.json", "'ptychopinn train'")),
    "no network": (
        lambda members: {name: value for name, value in members.items() if name != NETWORK},
        (f"holds no {NETWORK}", "'ptychopinn train'"),
    ),
    "manifest that is no JSON": (lambda members: members | {"manifest.json": b"{"}, ("manifest.json: is not JSON",)),
    "manifest that is deep": (lambda members: members | {"manifest.json": b"[" * 99_999}, ("manifest.json",)),
    "manifest that is an array": (
        lambda members: members | {"manifest.json": b"[1]"},
        ("manifest.json: holds an array", "an object of manifest entries is needed"),
    ),
    "newer schema": (edited(schema=SCHEMA + 1), (f"schema {SCHEMA + 1} is newer", "update ptychopinn")),
    "unknown setting": (edited(settings={"colour": "red"}), ("settings: colour: not a setting",)),
    "setting out of range": (edited(settings={"gridsize": 7}), ("settings: gridsize: 7 given",)),
    "changed tensor": (lambda members: members | {NETWORK: members[NETWORK][:-1] + b"?"}, ("does not match its hash",)),
    "tensors of another shape": (
        exchanged(NETWORK, save({"networks.0.enter.weight": torch.zeros(2)})),
        ("the bundle does not fit together",),
    ),
    "pickled code": (exchanged(NETWORK, pickle.dumps(Evil())), ("diffraction_to_obj: is no safetensors data",)),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_malformed_bundle_is_refused(place: Path, template: Path, name: str) -> None:
    change, words = BUNDLES[name]
    with zipfile.ZipFile(template) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(place / "bad.zip", "w") as archive:
        for member, content in change(members).items():
            archive.writestr(member, content)
    assert_refused(place, "infer bad.zip scan.npz --out out", ("bad.zip: ", *words))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("absent.zip", ("absent.zip: no such file", "'ptychopinn train'")),
        ("empty", ("empty/wts.h5.zip: no such file", "'ptychopinn train'")),
        ("foreign", ("foreign/wts.h5.zip: no such file", "'ptychopinn train'")),
        ("scan.npz", ("scan.npz: holds no manifest.json", "'ptychopinn train'")),
        ("notes.txt", ("notes.txt: is no readable bundle", "not a zip file")),
        ("short.zip", ("short.zip: is no readable bundle", "not a zip file")),
        ("changed.zip", ("changed.zip: is no readable bundle", "Bad CRC-32")),
        ("notes.txt/run", ("notes.txt/run: is no readable bundle", "Not a directory")),
    ],
)
def test_what_is_no_run_is_refused(place: Path, template: Path, run: str, words: Words) -> None:
    content = template.read_bytes()
    (place / "short.zip").write_bytes(content[:-300])
    (place / "changed.zip").write_bytes(content[:-999] + bytes([content[-999] ^ 1]) + content[-998:])
    assert_refused(place, f"infer {run} scan.npz --out out", words)

"""Bundles: what goes in comes out, written whole or not at all; damaged and hostile ones only raise."""

import hashlib
import itertools
import json
import math
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.model.bundle import BUNDLE, MANIFEST, SCHEMA, Run, load_run, save_run
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.illumination import Illumination

NETWORK, WHOLE = "diffraction_to_obj.safetensors", "autoencoder.safetensors"
Members = dict[str, bytes]


def make_run(features: str = "realspace", masked: bool = True) -> Run:
    """A tiny network with nothing left at zero."""
    torch.manual_seed(0)
    values = {"features": features, "gridsize": 2, "n_filters_scale": 0.1, "stages": 1, "depth": 1, "nphotons": 3.5}
    chosen = Settings.of(values)
    model = PtychoModel(chosen.model, 0.012345678912345)
    for network in model.networks:
        nn.init.normal_(network.leave.weight)
    mask = torch.rand(32, 32) > 0.1 if masked else None
    history = ({"epoch": 1, "train_loss": 0.25}, {"epoch": 2, "train_loss": 1 / 3})
    light = Illumination(1e3 * curved_disc(32, 7.0, 2.5), mask, 20)
    return Run(model.eval(), light, chosen, history, {"scan": "a.npz", "sha256": "0" * 64})


def assert_same(found: Run, expected: Run) -> None:
    assert found.settings == expected.settings
    assert found.history == expected.history
    assert found.provenance == expected.provenance
    assert found.illumination.support == expected.illumination.support
    assert found.model.input_scale == expected.model.input_scale
    assert torch.equal(found.illumination.probe, expected.illumination.probe)
    assert (found.illumination.good_pixels is None) == (expected.illumination.good_pixels is None)
    if expected.illumination.good_pixels is not None:
        assert torch.equal(found.illumination.good_pixels, expected.illumination.good_pixels)
    state = found.model.state_dict()
    assert state.keys() == expected.model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in expected.model.state_dict().items())
    assert not found.model.training


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run()


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """A run folder; not to be changed."""
    path = tmp_path_factory.mktemp("run")
    save_run(path, run)
    return path


@pytest.fixture
def forge(folder, tmp_path) -> Callable[..., Path]:
    """Write the bundle again with members changed by a function, its hashes made to fit unless told otherwise."""

    def write(change: Callable[[Members], None], rehash: bool = True, compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(folder / BUNDLE) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        if rehash:
            manifest = json.loads(members[MANIFEST])
            for name in (NETWORK, WHOLE):
                digest = hashlib.sha256(members.get(name, b"")).hexdigest()
                manifest["sha256"][name.removesuffix(".safetensors")] = digest
            members[MANIFEST] = json.dumps(manifest).encode()
        path = tmp_path / "forged.zip"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    return write


def assert_refused(path: Path, match: str = ".") -> None:
    """The bundle is refused in one line that names it."""
    with pytest.raises(PtychoError, match=match) as caught:
        load_run(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("features", ["realspace", "amplitude"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_round_trip_predicts_the_same(tmp_path, features, masked):
    run = make_run(features, masked)
    path = save_run(tmp_path, run)
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((2, 4, 32, 32), 9.0), generator)
    offsets = torch.randn(2, 4, 2, generator=generator).clamp(-2, 2)
    expected = run.model(counts, offsets, run.illumination, 2)[-1]
    for where in (tmp_path, path, str(path)):
        found = load_run(where)
        assert_same(found, run)
        assert torch.equal(found.model(counts, offsets, found.illumination, 2)[-1], expected)


def test_both_models_are_inside_beside_one_manifest(folder, run):
    assert [path.name for path in folder.iterdir()] == [BUNDLE]
    with zipfile.ZipFile(folder / BUNDLE) as archive:
        assert sorted(archive.namelist()) == sorted([MANIFEST, NETWORK, WHOLE, "frames.safetensors"])
        manifest = json.loads(archive.read(MANIFEST))
        network, whole = load(archive.read(NETWORK)), load(archive.read(WHOLE))
    assert manifest["schema"] == SCHEMA
    assert manifest["settings"] == run.settings.flat()
    assert {"ptychopinn", "torch", "python"} <= manifest["versions"].keys()
    assert network.keys() == run.model.state_dict().keys()
    assert whole.keys() == network.keys() | {"probe", "good_pixels"}


def test_a_bundle_may_be_compressed_and_hold_more_which_is_not_unpacked(forge, run, tmp_path, monkeypatch):
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    extra = {"../evil": b"1", "../../evil": b"2", f"{tmp_path}/evil": b"3", "C:\\evil": b"4", "notes.txt": b"5"}
    path = forge(lambda members: members.update(extra), compression=zipfile.ZIP_DEFLATED)
    assert_same(load_run(path), run)
    assert {entry.name for entry in tmp_path.rglob("*")} == {"deep", "inside", path.name}


@pytest.mark.parametrize("name", [NETWORK, WHOLE])
def test_a_changed_byte_is_refused_by_its_hash(forge, name):
    def change(members: Members) -> None:
        content = bytearray(members[name])
        content[-3] ^= 1
        members[name] = bytes(content)

    assert_refused(forge(change, rehash=False), f"{name.removesuffix('.safetensors')}: does not match its hash")


def test_members_that_are_exchanged_are_refused(forge):
    def change(members: Members) -> None:
        members[NETWORK], members[WHOLE] = members[WHOLE], members[NETWORK]

    assert_refused(forge(change, rehash=False), "hash")
    assert_refused(forge(change), "does not fit together")


@pytest.mark.parametrize("name", [MANIFEST, NETWORK, WHOLE])
def test_a_missing_member_is_named(forge, name):
    assert_refused(
        forge(lambda members: members.pop(name), rehash=False),
        f"holds no {name}; a {BUNDLE} written by 'ptychopinn train' is needed",
    )


def edit(members: Members, **changes: Any) -> None:
    """Change entries of the manifest; ``...`` removes one."""
    manifest = json.loads(members[MANIFEST]) | changes
    kept = {name: value for name, value in manifest.items() if value is not ...}
    members[MANIFEST] = json.dumps(kept).encode()


def test_a_newer_schema_is_refused_by_name(forge):
    assert_refused(forge(partial(edit, schema=SCHEMA + 1)), f"schema {SCHEMA + 1} is newer .* update ptychopinn")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("schema", [..., None, "1", [1], 1.5, math.nan]),
        ("settings", [..., None, [], "x", 3, {"unknown": 1}, {"gridsize": 7}, {"depth": None}, {"seed": math.nan}]),
        ("sha256", [..., None, [], "x", {}, {"diffraction_to_obj": 3}]),
        ("history", [..., None, "abc", {}, [1], [[]]]),
        ("provenance", [..., None, [], [["a", 1]], "abc"]),
        ("support", [..., None, "20", [], 2.5, 0, -4, 34, 10**400, math.nan, math.inf]),
        ("input_scale", [..., None, "1", [], 0.0, -1.0, 10**400, math.nan, math.inf]),
    ],
)
def test_a_manifest_of_wrong_content_is_refused(forge, name, values):
    for value in values:
        assert_refused(forge(partial(edit, **{name: value}), rehash=False))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"[1, 2]",
        b"3",
        b"null",
        b'"text"',
        b"NaN",
        b"\xff\xfe\x00",
        b"\x00" * 9,
        b"[" * 100_000,
        b"1" * 9_999,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_a_manifest_that_is_no_object_is_refused(forge, text):
    assert_refused(forge(lambda members: members.update({MANIFEST: text}), rehash=False))


def retensor(members: Members, name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors of a member."""
    tensors = load(members[name])
    change(tensors)
    members[name] = save(tensors)


FIRST = "networks.0.enter.weight"
OTHER_TENSORS = {
    "another shape": (NETWORK, {FIRST: torch.zeros(2, 2)}),
    "another layer": (NETWORK, {"networks.9.enter.weight": torch.zeros(2)}),
    "a scalar probe": (WHOLE, {"probe": torch.zeros(())}),
    "a flat probe": (WHOLE, {"probe": torch.zeros(2)}),
    "a probe that is not square": (WHOLE, {"probe": torch.zeros(1, 32, 16, 2)}),
    "a real probe": (WHOLE, {"probe": torch.zeros(1, 32, 32, 3)}),
    "a probe of whole numbers": (WHOLE, {"probe": torch.zeros(1, 32, 32, 2, dtype=torch.int32)}),
    "an empty probe": (WHOLE, {"probe": torch.zeros(1, 0, 0, 2)}),
    "a mask of another size": (WHOLE, {"good_pixels": torch.ones(30, 30, dtype=torch.bool)}),
    "a mask of floats": (WHOLE, {"good_pixels": torch.ones(32, 32)}),
}


@pytest.mark.parametrize(("name", "tensors"), OTHER_TENSORS.values(), ids=OTHER_TENSORS.keys())
def test_tensors_that_do_not_fit_are_refused(forge, name, tensors):
    change = partial(retensor, name=name, change=lambda found: found.update(tensors))
    assert_refused(forge(change), "does not fit together")


@pytest.mark.parametrize(("name", "key"), [(NETWORK, FIRST), (WHOLE, "probe")])
def test_missing_tensors_are_refused(forge, name, key):
    assert_refused(forge(partial(retensor, name=name, change=lambda found: found.pop(key))), "does not fit together")


def header(**fields: Any) -> bytes:
    """A safetensors file of 16 bytes of data under a header of our own making."""
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | fields
    text = json.dumps({"x": entry}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(16)


@pytest.mark.parametrize("name", [NETWORK, WHOLE])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        bytes(100),
        b"\xff" * 100,
        header(dtype="F99"),
        header(dtype="F4", shape=[32]),
        header(shape=[5]),
        header(shape=[2**62, 2**62]),
        header(data_offsets=[0, 99]),
        header(data_offsets=[16, 0]),
        header()[:-1],
    ],
    ids=lambda content: repr(content[8:40]),
)
def test_data_that_is_no_safetensors_is_refused_though_its_hash_is_right(forge, name, content):
    assert_refused(forge(lambda members: members.update({name: content})))


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", [MANIFEST, NETWORK, WHOLE])
def test_pickled_code_is_never_run(forge, tmp_path, name):
    evil = tmp_path / "evil"
    content = pickle.dumps(Payload(evil))
    assert_refused(forge(lambda members: members.update({name: content}), rehash=name != MANIFEST))
    assert not evil.exists()
    pickle.loads(content)
    assert evil.exists()


@pytest.mark.parametrize("name", [MANIFEST, NETWORK, WHOLE])
def test_a_member_that_claims_too_much_is_refused_before_it_is_read(folder, tmp_path, name):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(folder / BUNDLE) as source, zipfile.ZipFile(path, "w") as archive:
        for member in source.namelist():
            archive.writestr(member, source.read(member))
        archive.getinfo(name).file_size = 2**45
    assert_refused(path, f"{name}: claims {2**45} bytes")


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / BUNDLE
    path.write_bytes(content)
    assert_refused(path)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.zip"):
        assert_refused(path, "no such file; a folder written by 'ptychopinn train' holds one")


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_bundle_is_refused(folder, tmp_path, kept):
    content = (folder / BUNDLE).read_bytes()
    path = tmp_path / "short.zip"
    path.write_bytes(content[: int(kept * len(content))])
    assert_refused(path)


def structure(path: Path) -> list[int]:
    """Bytes of the archive that are not data of members: local headers, directory, end."""
    with zipfile.ZipFile(path) as archive:
        local = [info.header_offset + i for info in archive.infolist() for i in range(30 + len(info.filename))]
        return local + list(range(archive.start_dir, path.stat().st_size))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.zip"


@settings(max_examples=300)
@given(data=st.data())
def test_random_bytes_are_refused_or_change_nothing(folder, run, scratch, data):
    content = bytearray((folder / BUNDLE).read_bytes())
    anywhere, vital = st.integers(0, len(content) - 1), st.sampled_from(structure(folder / BUNDLE))
    for place in data.draw(st.lists(anywhere | vital, min_size=1, max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(content)
    try:
        found = load_run(scratch)
    except PtychoError as error:
        assert "\n" not in str(error)
    else:
        assert_same(found, run)


def test_a_flip_of_any_bit_of_the_directory_is_refused_or_changes_nothing(folder, run, scratch):
    content = (folder / BUNDLE).read_bytes()
    start = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)  # the entry of the first network
    for place, bit in itertools.product(range(start, start + 46), range(8)):
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        scratch.write_bytes(changed)
        try:
            found = load_run(scratch)
        except PtychoError:
            continue
        assert_same(found, run)


def test_a_bundle_is_replaced_whole_or_not_at_all(tmp_path, run, monkeypatch):
    save_run(tmp_path, run)
    before = (tmp_path / BUNDLE).read_bytes()
    unwritable = Run(run.model, run.illumination, run.settings, (), {"no JSON": object()})
    with pytest.raises(TypeError):
        save_run(tmp_path, unwritable)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", full)
        with pytest.raises(RunFailedError, match="No space left on device"):
            save_run(tmp_path, run)
    assert [path.name for path in tmp_path.iterdir()] == [BUNDLE]
    assert (tmp_path / BUNDLE).read_bytes() == before
    other = Run(run.model, run.illumination, run.settings, (), {"second": True})
    save_run(tmp_path, other)
    assert_same(load_run(tmp_path), other)

"""Exported programs: the patches of the model, from the file alone, at any batch size."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.batches import groups_of
from ptychopinn.model.bundle import Run
from ptychopinn.model.export import RealModel, export
from ptychopinn.physics.probe import curved_disc, normalise_probe
from ptychopinn.scan.grouping import reach
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.probe_scale import as_networks_see
from tests.model.test_model import GRIDSIZES, REACH, light_of, measured, model_of, offsets_of

FEATURES = pytest.mark.parametrize("features", ["realspace", "amplitude"])
KINDS = pytest.mark.parametrize("kind", [("realspace", 1), ("realspace", 2), ("amplitude", 1)], ids=str)


def run_of(kind: tuple[str, int], scan) -> Run:
    """An untrained run whose network answers something, of the experiment of a scan."""
    model = model_of(*kind).eval()
    settings = Settings.of(model.config.model_dump())
    return Run(model, Illumination.of(scan), settings, network_factor=as_networks_see(scan)[1])


def expected_patches(run: Run, scan, groups: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, offsets and patches of groups by the model itself."""
    places = torch.from_numpy(scan.positions[groups])
    offsets = (places - places.mean(dim=1, keepdim=True)).float()
    counts = scan.frames(groups.ravel()).reshape(*groups.shape, scan.N, scan.N)
    far = reach(scan.positions, groups_of(run, scan))
    with torch.inference_mode():
        seen, factor = as_networks_see(scan)
        return counts, offsets, factor * run.model(counts, offsets, Illumination.of(seen), far)[-1]


@FEATURES
@GRIDSIZES
@pytest.mark.parametrize(("size", "modes", "masked"), [(34, 1, False), (33, 2, True), (50, 1, True)])
def test_real_arithmetic_gives_the_same_patches(features, gridsize, size, modes, masked):
    light, offsets = light_of(size), offsets_of(2, gridsize)
    if modes > 1:
        light = light._replace(probe=torch.cat([light.probe, 0.5j * light.probe.roll(3, dims=-1)]))
    if masked:
        light = light._replace(good_pixels=torch.rand(size, size, generator=torch.Generator().manual_seed(0)) > 0.1)
    counts, model = measured(offsets, light), model_of(features, gridsize)
    with torch.inference_mode():
        expected = model(counts, offsets, light, REACH)[-1]
        given = (counts,) if gridsize == 1 or features == "amplitude" else (counts, offsets)
        real, imag = RealModel(model, light, REACH)(*given)
    torch.testing.assert_close(torch.complex(real, imag), expected, rtol=0, atol=2e-5)


@KINDS
def test_the_program_of_a_file_gives_the_patches_of_the_model(tmp_path, tiny_scan, kind):
    run, path = run_of(kind, tiny_scan), tmp_path / "net.pt2"
    about = export(run, path, None if kind[1] == 1 else tiny_scan)
    groups = groups_of(run, tiny_scan)
    extra = {"ptychopinn.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["ptychopinn.json"]) == about
    assert ("offsets" in about["inputs"]) == (kind[1] > 1)
    for count in (1, 7):
        counts, offsets, expected = expected_patches(run, tiny_scan, groups[:count])
        with torch.no_grad():
            real, imag = program(counts, offsets) if kind[1] > 1 else program(counts)
        assert float((expected - 1).abs().max()) > 0.05
        torch.testing.assert_close(torch.complex(real, imag), expected, rtol=0, atol=2e-5)


@KINDS
@pytest.mark.slow
def test_onnx_gives_the_patches_of_the_model(tmp_path, tiny_scan, kind):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run, path = run_of(kind, tiny_scan), tmp_path / "net.onnx"
    about = export(run, path, None if kind[1] == 1 else tiny_scan)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["ptychopinn.inputs"]) == about["inputs"]
    groups = groups_of(run, tiny_scan)
    for count in (1, 7):
        counts, offsets, expected = expected_patches(run, tiny_scan, groups[:count])
        inputs = {"counts": counts.numpy(), "offsets": offsets.numpy()}
        real, imag = session.run(["real", "imag"], {name: inputs[name] for name in about["inputs"]})
        np.testing.assert_allclose(real + 1j * imag, expected.numpy(), rtol=0, atol=5e-5)


def test_another_scan_brings_its_probe(tmp_path, tiny_scan):
    run = run_of(("realspace", 1), tiny_scan)
    probe = normalise_probe(curved_disc(32, 5.0, 1.0), 3e5).numpy()
    other = replace(tiny_scan, probe=probe)
    about = export(run, tmp_path / "net.pt2", other)
    assert about["probe_photons"] == pytest.approx(3e5, rel=1e-5)
    program = torch.export.load(tmp_path / "net.pt2").module()
    counts, _, expected = expected_patches(run, other, np.arange(3)[:, None])
    with torch.no_grad():
        torch.testing.assert_close(torch.complex(*program(counts)), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("net.h5", ("realspace", 1), "net.h5 ends in .h5; .pt2 or .onnx is needed"),
        ("net", ("realspace", 1), "net ends in nothing; .pt2 or .onnx"),
        ("net.pt2", ("realspace", 2), "--scan: groups of 4 frames reach as far as their scan says"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, tiny_scan, name, kind, words):
    with pytest.raises(PtychoError, match=words.replace("(", "\\(")):
        export(run_of(kind, tiny_scan), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_its_libraries_onnx_is_refused(tmp_path, tiny_scan, monkeypatch):
    monkeypatch.setattr("ptychopinn.model.export.find_spec", lambda name: None)
    with pytest.raises(PtychoError, match=r"ptychopinn\[export\]"):
        export(run_of(("realspace", 1), tiny_scan), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())

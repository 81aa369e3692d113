"""A trained network as one program of real numbers, for devices without this package: torch.export or ONNX."""

import copy
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing
from ptychopinn.model import features
from ptychopinn.model.batches import groups_of
from ptychopinn.model.bundle import Run, with_trained_probe
from ptychopinn.model.model import PtychoModel
from ptychopinn.model.unet import to_amplitude_and_phase
from ptychopinn.physics.diffraction import POWER_FLOOR
from ptychopinn.scan.grouping import reach
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.probe_scale import as_networks_see
from ptychopinn.scan.scan import Scan

ENDINGS: Final = (".pt2", ".onnx")
OUTPUTS: Final = ("real", "imag")
OPSET = 20
"""Of ONNX."""

Pair = tuple[Tensor, Tensor]
"""Real and imaginary part."""


class RealModel(nn.Module):
    """The patches of :class:`ptychopinn.model.model.PtychoModel` for one illumination, in real arithmetic.

    Transforms are products with the matrix ``S[k, n] = exp(-2 pi i (k - N // 2) n / N) / sqrt(N)``, so that
    ``S psi S^T`` is :func:`ptychopinn.physics.fourier.to_detector`. Frames go to their places in a group, and back,
    by matrices of bilinear weights. Probe, mask and matrices are constants of the program.

    Args:
        model: trained.
        illumination: probe, good pixels and lit area.
        reach: as in :meth:`ptychopinn.model.model.PtychoModel.forward`.
        factor: multiplies the patches, see :func:`ptychopinn.scan.probe_scale.as_networks_see`.
    """

    def __init__(self, model: PtychoModel, illumination: Illumination, reach: int, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.config = model.config
        # torch.export warns about weights in another order in memory.
        self.networks = copy.deepcopy(model.networks).to(memory_format=torch.contiguous_format)
        self.scale, self.support = model.input_scale, illumination.support
        N = illumination.probe.shape[-1]
        step = 2**self.config.depth
        inside = N if self.config.features == "amplitude" else illumination.support + 2 * reach
        self.edge = -(-inside // step) * step
        grid = torch.arange(N, dtype=torch.float64)
        angle = -2 * torch.pi * ((grid[:, None] - N // 2) * grid % N) / N
        self._keep("transform", torch.polar(torch.full_like(angle, N**-0.5), angle).to(torch.complex64))
        self._keep("probe", illumination.probe)
        self._keep("step", features.step_weight(illumination.probe, illumination.support))
        known = [features.probe_share(illumination.probe, illumination.support)]
        if self.config.sees_noise:
            known.append(features.light_level(illumination.probe, illumination.support, None))
        if self.config.whole:
            known.append(torch.zeros_like(known[0]))
        self.register_buffer("known", torch.stack(known))
        mask = torch.ones(N, N, dtype=torch.bool) if illumination.good_pixels is None else illumination.good_pixels
        self.register_buffer("mask", mask.to(torch.float32))

    def forward(self, counts: Tensor, offsets: Tensor | None = None) -> Pair:
        """Photons to object patches.

        Args:
            counts: (B, C, N, N) float32 photons, zero frequency at [N // 2, N // 2].
            offsets: (B, C, 2) float32 pixels (y, x) from the centre of each group; None where C is 1.

        Returns:
            Real and imaginary part of the transmission, each (B, C, N, N).
        """
        if self.config.features == "amplitude":
            N = counts.shape[-1]
            amplitudes = functional.pad(counts.sqrt() * self.scale, (0, self.edge - N, 0, self.edge - N))
            real, imag = self._transmission(self.networks[0](amplitudes))
            return self.factor * real[..., :N, :N], self.factor * imag[..., :N, :N]
        known = [one.expand(*counts.shape[:2], -1, -1) for one in self.get_buffer("known")]
        light = torch.cat([self._on_canvas(one, offsets) for one in known], dim=1)
        patches = torch.ones_like(counts), torch.zeros_like(counts)
        channels = torch.zeros_like(light[:, :1]).expand(-1, 2 + self.config.hidden_channels, -1, -1)
        for network in self.networks:
            seen = [self._on_canvas(part, offsets) for part in self._corrections(counts, patches)]
            channels = channels + network(torch.cat([*seen, light, channels], dim=1))
            real, imag = self._transmission(channels[:, :2])
            patches = (
                1 + self._off_canvas(real - 1, offsets, counts.shape[-1]),
                self._off_canvas(imag, offsets, counts.shape[-1]),
            )
        return self.factor * patches[0], self.factor * patches[1]

    def _keep(self, name: str, value: Tensor) -> None:
        """Hold a complex constant as two real ones."""
        self.register_buffer(f"{name}_real", value.real.contiguous())
        self.register_buffer(f"{name}_imag", value.imag.contiguous())

    def _pair(self, name: str) -> Pair:
        return self.get_buffer(f"{name}_real"), self.get_buffer(f"{name}_imag")

    def _transmission(self, channels: Tensor) -> Pair:
        amplitude, phase = to_amplitude_and_phase(channels, self.config.amp_activation)
        return amplitude * phase.cos(), amplitude * phase.sin()

    def _corrections(self, counts: Tensor, patches: Pair) -> Pair:
        """:func:`ptychopinn.model.features.corrections` of (B, C, N, N) real and imaginary parts."""
        transform = self._pair("transform")
        waves = _times(self._pair("probe"), (patches[0].unsqueeze(-3), patches[1].unsqueeze(-3)))
        field = _product(_product(transform, waves), _transposed(transform))
        power = (field[0].square() + field[1].square()).sum(dim=-3, keepdim=True)
        ratio = counts.unsqueeze(-3).sqrt() * power.clamp_min(POWER_FLOOR).rsqrt() - 1
        ratio = ratio * self.get_buffer("mask")
        # Back to the lit pixels only.
        start = counts.shape[-1] // 2 - self.support // 2
        lit = transform[0][:, start : start + self.support], -transform[1][:, start : start + self.support]
        change = _product(_product(_transposed(lit), (ratio * field[0], ratio * field[1])), lit)
        real, imag = _times(self._pair("step"), change)
        return real.sum(dim=-3), imag.sum(dim=-3)

    def _on_canvas(self, images: Tensor, offsets: Tensor | None) -> Tensor:
        if offsets is None:
            return features.recentred(images, self.edge)
        rows, columns = (_bilinear(offsets[..., axis], images.shape[-1], self.edge) for axis in (0, 1))
        return rows.mT @ images @ columns

    def _off_canvas(self, canvas: Tensor, offsets: Tensor | None, size: int) -> Tensor:
        if offsets is None:
            return features.recentred(canvas, size)
        rows, columns = (_bilinear(offsets[..., axis], size, self.edge) for axis in (0, 1))
        return rows @ canvas @ columns.mT


def export(run: Run, path: Path, scan: Scan | None = None) -> dict[str, Any]:
    """Write a network as a program, ``.pt2`` (torch.export) or ``.onnx``, for batches of any size.

    Args:
        run: trained.
        path: to write.
        scan: the experiment it is for: probe, mask, and how far groups reach; that of the training when None.

    Returns:
        What goes in and comes out, as it is written into the file too.

    Raises:
        PtychoError: for another ending, groups of several frames without a scan, or a missing library.
    """
    check_ending(path)
    model, illumination, far, factor = run.model, run.illumination, 0, run.network_factor
    seen = illumination._replace(probe=illumination.probe * factor)
    if scan is not None:
        scan = with_trained_probe(run, scan)
        model, illumination = model.scaled_to(scan), Illumination.of(scan)
        scan_seen, factor = as_networks_see(scan)
        seen = Illumination.of(scan_seen)
        far = reach(scan.positions, groups_of(run, scan))
    elif run.any_setup:
        raise PtychoError("--scan: a network for any set-up becomes a program for one of them; give a scan file.")
    elif model.config.gridsize > 1:
        raise PtychoError(
            f"--scan: groups of {model.config.gridsize**2} frames reach as far as their scan says; give a scan file."
        )
    frames, N = model.config.gridsize**2, illumination.probe.shape[-1]
    program = RealModel(model, seen, far, factor).eval()
    # Two groups: torch.export takes a size of one for a constant.
    inputs: tuple[Tensor, ...] = (torch.ones(2, frames, N, N),)
    if frames > 1 and model.config.features == "realspace":
        inputs += (torch.zeros(2, frames, 2),)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        exported = torch.export.export(program, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    about = description(model, illumination, far, len(inputs))
    with writing(path) as temporary:
        temporary.write_bytes(_onnx(exported, about) if path.suffix == ".onnx" else _pt2(exported, about))
    return about


def check_ending(path: Path) -> None:
    """Refuse a file name that says no format, or one whose libraries are not here.

    Raises:
        PtychoError: naming both.
    """
    if path.suffix not in ENDINGS:
        raise PtychoError(f"--out: {path} ends in {path.suffix or 'nothing'}; {' or '.join(ENDINGS)} is needed.")
    if path.suffix == ".onnx" and not all(find_spec(name) for name in ("onnx", "onnxscript")):
        raise PtychoError("--out: ONNX needs two more libraries; pip install 'ptychopinn[export]', or write .pt2.")


def description(model: PtychoModel, illumination: Illumination, reach: int, inputs: int) -> dict[str, Any]:
    """What a program takes and gives."""
    frames, N = model.config.gridsize**2, illumination.probe.shape[-1]
    about: dict[str, Any] = {
        "inputs": {"counts": f"(batch, {frames}, {N}, {N}) float32, photons, zero frequency at [{N // 2}, {N // 2}]"},
        "outputs": {name: f"(batch, {frames}, {N}, {N}) float32, transmission, 1 in vacuum" for name in OUTPUTS},
        "probe_photons": float(illumination.probe.abs().square().sum()),
        "support_px": illumination.support,
        "canvas_reach_px": reach,
    }
    if inputs > 1:
        about["inputs"]["offsets"] = f"(batch, {frames}, 2) float32, pixels (y, x) from the centre of the group"
    if model.config.features == "amplitude":
        about["input_scale"] = model.input_scale
    return about


def _pt2(exported: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={"ptychopinn.json": json.dumps(about)})
    return buffer.getvalue()


def _onnx(exported: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    names = list(about["inputs"])
    program = torch.onnx.export(
        exported, (), input_names=names, output_names=OUTPUTS, opset_version=OPSET, dynamo=True, verbose=False
    )
    assert program is not None
    proto = program.model_proto
    for key, value in about.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = f"ptychopinn.{key}", value if isinstance(value, str) else json.dumps(value)
    return bytes(proto.SerializeToString())


def _times(a: Pair, b: Pair) -> Pair:
    """Complex product, element by element."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _product(a: Pair, b: Pair) -> Pair:
    """Complex product of matrices."""
    return a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]


def _transposed(a: Pair) -> Pair:
    return a[0].mT, a[1].mT


def _bilinear(offsets: Tensor, size: int, edge: int) -> Tensor:
    """Weights (B, C, size, edge) of the pixels of a canvas in those of a patch, along one axis.

    Pixel r of a patch lies at ``edge // 2 + offset - size // 2 + r``, and each pixel of the canvas weighs
    ``max(0, 1 - distance)``.
    """
    rows = torch.arange(size, device=offsets.device) + (edge // 2 - size // 2)
    places = offsets[..., None, None] + rows[:, None]
    return functional.relu(1 - (places - torch.arange(edge, device=offsets.device)).abs())

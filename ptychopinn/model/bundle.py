"""A trained network as one file, ``wts.h5.zip``: safetensors and a JSON manifest, nothing executable."""

import hashlib
import json
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing
from ptychopinn.files.naming import check_plain, naming
from ptychopinn.files.output_folder import CHECKPOINTS, read_provenance, versions
from ptychopinn.json_reader import LARGEST, parse_json, validated
from ptychopinn.memory import check_memory
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.probe import normalise_probe, probe_power
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan
from ptychopinn.text import html_of, plot_of

BUNDLE = "wts.h5.zip"
SCHEMA = 1
MANIFEST = "manifest.json"
MEMBERS = ("diffraction_to_obj", "autoencoder", "frames")
PACKED = 16
"""Bytes of tensors that one byte of a bundle unpacks to, at most: those that ptychopinn writes are not compressed, and
trained weights hardly can be."""

COPIES = 3
"""Times that tensors are held while they are read."""

UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
"""What a damaged ZIP archive or JSON text raises."""


class Manifest(BaseModel):
    """What a bundle says of itself; keys that are not here are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    schema_: int = Field(alias="schema")
    settings: dict[str, Any]
    input_scale: float = Field(gt=0, allow_inf_nan=False)
    support: int = Field(gt=0, description="pixels")
    network_factor: float = Field(1.0, gt=0, allow_inf_nan=False)
    any_setup: bool = False
    error_model: list[list[float]] = []
    sha256: dict[str, str]
    history: list[dict[str, Any]]
    provenance: dict[str, Any]

    @field_validator("schema_")
    @classmethod
    def _is_known(cls, schema: int) -> int:
        if schema > SCHEMA:
            raise PtychoError(f"schema {schema} is newer than this ptychopinn reads ({SCHEMA}); update ptychopinn.")
        return schema


@dataclass(frozen=True)
class Run:
    """A trained model and what it was trained with.

    Attributes:
        model: on the CPU, in evaluation mode.
        illumination: of the training scan.
        settings: effective settings.
        history: a row per epoch.
        provenance: anything else worth keeping: source file, hash, where settings came from.
        frames: (n,) numbers of the frames of the file that were used, of the first file where there are several.
        held_out: those of them kept for validation.
        network_factor: amplitude of the probe that the network saw over that of ``illumination``.
        any_setup: whether it was trained on generated set-ups, and ``illumination`` is but one of them.
        error_model: coefficients of the error bars of amplitude and phase, see
            :func:`ptychopinn.inference.own_errors.error_bars`; empty where a network has none.
    """

    model: PtychoModel
    illumination: Illumination
    settings: Settings
    history: tuple[dict[str, float], ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    frames: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    held_out: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    network_factor: float = 1.0
    any_setup: bool = False
    error_model: tuple[tuple[float, ...], ...] = ()

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def plot(self) -> Any:
        """Losses by epoch, or the probe where there are none; ``.figure`` of what it returns is matplotlib's."""
        return plot_of(self)


def save_run(folder: Path, run: Run) -> Path:
    """Write ``folder/wts.h5.zip`` whole or not at all.

    It holds both models of the field's contract: ``diffraction_to_obj`` (counts to patches: the network) and
    ``autoencoder`` (counts to counts: the network, the probe and the detector mask), and the numbers of the frames
    that were used.

    Returns:
        The path of the bundle.
    """
    network = {name: value.contiguous() for name, value in run.model.state_dict().items()}
    physics = {"probe": torch.view_as_real(run.illumination.probe).contiguous()}
    if run.illumination.good_pixels is not None:
        physics["good_pixels"] = run.illumination.good_pixels
    frames = {name: torch.from_numpy(np.ascontiguousarray(getattr(run, name))) for name in ("frames", "held_out")}
    # A network for any set-up has no physics of its own to go with it.
    both = physics if run.any_setup else {**network, **physics}
    members = {"diffraction_to_obj": save(network), "autoencoder": save(both), "frames": save(frames)}
    manifest = {
        "schema": SCHEMA,
        "settings": run.settings.flat(),
        "input_scale": run.model.input_scale,
        "support": run.illumination.support,
        "network_factor": run.network_factor,
        "any_setup": run.any_setup,
        "error_model": run.error_model,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
        "history": list(run.history),
        "provenance": run.provenance,
        "versions": versions("ptychopinn", "torch", "lightning", "numpy"),
    }
    path = folder / BUNDLE
    with writing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for name, data in members.items():
            archive.writestr(f"{name}.safetensors", data)
    return path


def load_run(path: Path | str) -> Run:
    """Read a run folder or its ``wts.h5.zip``.

    Nothing in the file is executed; a damaged or hostile bundle can only raise.

    Raises:
        PtychoError: when it is no bundle, was written by a newer version, or has a changed byte.
    """
    path = Path(path)
    if path.is_dir() and not (path / BUNDLE).exists() and any(path.glob(CHECKPOINTS)):
        scan = read_provenance(path).get("scan", "SCAN")
        raise PtychoError(
            f"{path}: its training has not ended; finish it first: ptychopinn train {scan} --out {path} --resume."
        )
    path = bundle_file(path)
    manifest, members = _read(path)
    try:
        settings = Settings.of(manifest.settings, f"{path}: settings")
        model = PtychoModel(settings.model, manifest.input_scale)
        model.load_state_dict(members["diffraction_to_obj"])
        illumination = _illumination(manifest.support, members["autoencoder"])
        frames, held_out = (members["frames"][name].numpy() for name in ("frames", "held_out"))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["?"])[0].rstrip(":")
        raise PtychoError(f"{path}: the bundle does not fit together: {type(error).__name__}: {reason}.") from None
    history, provenance = tuple(manifest.history), manifest.provenance
    factor = manifest.network_factor
    trained = model.eval(), illumination, settings, history, provenance, frames, held_out, factor
    return Run(*trained, manifest.any_setup, tuple(map(tuple, manifest.error_model)))


def bundle_file(path: Path) -> Path:
    """The bundle of a run folder, or the file itself."""
    return path / BUNDLE if path.is_dir() else path


def _illumination(support: int, physics: dict[str, Tensor]) -> Illumination:
    """Illumination of the training scan; ValueError where its parts contradict each other."""
    probe, good_pixels = physics["probe"], physics.get("good_pixels")
    if probe.ndim != 4 or probe.shape[1] != probe.shape[2] or probe.dtype != torch.float32:
        raise ValueError(f"probe: {tuple(probe.shape)} {probe.dtype}")
    size = probe.shape[1]
    if good_pixels is not None and (good_pixels.shape != (size, size) or good_pixels.dtype != torch.bool):
        raise ValueError(f"good_pixels: {tuple(good_pixels.shape)} {good_pixels.dtype}")
    if support > size:
        raise ValueError(f"support: {support}, with frames of {size} pixels")
    return Illumination(torch.view_as_complex(probe), good_pixels, support)


def _read(path: Path) -> tuple[Manifest, dict[str, dict[str, Tensor]]]:
    """Manifest and tensors of a bundle, hashes checked."""
    check_plain(path)
    with naming(path):
        try:
            with zipfile.ZipFile(path) as archive:
                _check_members(archive, path)
                with naming(MANIFEST):
                    manifest = validated(Manifest, parse_json(archive.read(MANIFEST), "manifest entries", finite=False))
                data = {name: archive.read(f"{name}.safetensors") for name in MEMBERS}
        except FileNotFoundError:
            raise PtychoError("no such file; a folder written by 'ptychopinn train' holds one.") from None
        except IsADirectoryError:
            raise PtychoError("is a folder; a file written by 'ptychopinn train' is needed.") from None
        except UNREADABLE as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise PtychoError(f"is no readable bundle: {reason}.") from None
        return manifest, {name: _tensors(name, content, manifest) for name, content in data.items()}


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a bundle that lacks a member, or claims more than it can hold, before any of it is unpacked."""
    found = {info.filename: info.file_size for info in archive.infolist()}
    needed = (MANIFEST, *(f"{member}.safetensors" for member in MEMBERS))
    for name in needed:
        if name not in found:
            raise PtychoError(f"holds no {name}; a {BUNDLE} written by 'ptychopinn train' is needed.")
        most = LARGEST if name == MANIFEST else 2**20 + PACKED * path.stat().st_size
        if found[name] > most:
            raise PtychoError(f"{name}: claims {found[name]} bytes, at most {most} are possible.")
    check_memory(COPIES * sum(found[name] for name in needed), "the tensors")


def _tensors(name: str, content: bytes, manifest: Manifest) -> dict[str, Tensor]:
    if hashlib.sha256(content).hexdigest() != manifest.sha256.get(name):
        raise PtychoError(f"{name}: does not match its hash; the file was changed or damaged.")
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise PtychoError(f"{name}: is no safetensors data: {error}.") from None
    for key, values in tensors.items():
        if not bool(torch.isfinite(values).all()):
            raise PtychoError(f"{name}: {key} holds NaN or infinity, so the network gives no image; train it anew.")
    return tensors


def with_trained_probe(run: Run, scan: Scan) -> Scan:
    """The scan with the probe of the run where that trained one, of the power of its own; as it is otherwise."""
    if not run.settings.model.probe_trainable:
        return scan
    probe = run.illumination.probe.numpy()
    if probe.shape[-1] != scan.N:
        raise PtychoError(f"scan: frames of {scan.N} pixels, but the run trained a probe of {probe.shape[-1]}; crop.")
    # The flux of this scan may be another, and the training kept the power.
    power = float(probe_power(torch.from_numpy(scan.probe)).double().sum())
    return replace(scan, probe=normalise_probe(torch.from_numpy(probe), power).numpy())


SHARED = (
    *("crop", "centre", "flip_x", "flip_y", "swap_xy", "measurement", "nphotons"),
    *("probe_scale", "probe_mask", "probe_mask_diameter"),
    *("synchronise", "middle_trim"),
)
"""Settings of a training that an inference takes over."""


def spare_probe(run: Run) -> NDArray[np.complex64] | None:
    """Probe (m, N, N) of the training scan, for a scan whose file has none; None where there was no such scan."""
    return None if run.any_setup else run.illumination.probe.numpy()


def reading_of(run: Run) -> dict[str, Any]:
    """How the training scan was read: the part of its settings that another scan of the set-up shares."""
    usual, chosen = Settings().flat(), run.settings.flat()
    return {name: chosen[name] for name in SHARED if chosen[name] != usual[name]}

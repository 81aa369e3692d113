"""A trained network as one file, ``wts.h5.zip``: safetensors and a JSON manifest, nothing executable."""

import hashlib
import json
import platform
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing
from ptychopinn.model import Illumination, PtychoModel

BUNDLE = "wts.h5.zip"
SCHEMA = 1
MANIFEST = "manifest.json"
MEMBERS = ("diffraction_to_obj", "autoencoder")
LARGEST_MEMBER = 4 * 2**30
"""Bytes; a bundle that claims more is refused before it is unpacked."""


@dataclass(frozen=True)
class Run:
    """A trained model and what it was trained with.

    Attributes:
        model: on the CPU, in evaluation mode.
        light: the experiment of the training scan.
        settings: effective settings.
        history: a row per epoch.
        provenance: anything else worth keeping: source file, hash, where settings came from.
    """

    model: PtychoModel
    light: Illumination
    settings: Settings
    history: tuple[dict[str, float], ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


def save_run(folder: Path, run: Run) -> Path:
    """Write ``folder/wts.h5.zip`` whole or not at all.

    It holds both models of the field's contract: ``diffraction_to_obj`` (counts to patches: the network) and
    ``autoencoder`` (counts to counts: the network, the probe and the detector mask).

    Returns:
        The path of the bundle.
    """
    network = {name: value.contiguous() for name, value in run.model.state_dict().items()}
    physics = {"probe": torch.view_as_real(run.light.probe).contiguous()}
    if run.light.good_pixels is not None:
        physics["good_pixels"] = run.light.good_pixels
    members = {"diffraction_to_obj": save(network), "autoencoder": save({**network, **physics})}
    manifest = {
        "schema": SCHEMA,
        "settings": run.settings.flat(),
        "input_scale": run.light.scale,
        "support": run.light.support,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
        "history": list(run.history),
        "provenance": run.provenance,
        "versions": _versions(),
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
    path = path / BUNDLE if path.is_dir() else path
    manifest, members = _read(path)
    try:
        settings = Settings.of(manifest["settings"], f"{path}: settings")
        model = PtychoModel(settings.model)
        model.load_state_dict(members["diffraction_to_obj"])
        physics = members["autoencoder"]
        light = Illumination(
            probe=torch.view_as_complex(physics["probe"]),
            good_pixels=physics.get("good_pixels"),
            support=int(manifest["support"]),
            scale=float(manifest["input_scale"]),
        )
        history, provenance = tuple(manifest["history"]), dict(manifest["provenance"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["?"])[0].rstrip(":")
        raise PtychoError(f"{path}: the bundle does not fit together: {type(error).__name__}: {reason}.") from None
    return Run(model.eval(), light, settings, history, provenance)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Manifest and tensors of a bundle, hashes checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.file_size > LARGEST_MEMBER:
                    raise PtychoError(f"{path}: {info.filename}: claims {info.file_size} bytes; no bundle is so large.")
            manifest = json.loads(archive.read(MANIFEST))
            _check_manifest(path, manifest)
            data = {name: archive.read(f"{name}.safetensors") for name in MEMBERS}
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file; a folder written by 'ptychopinn train' holds one.") from None
    except KeyError as error:
        raise PtychoError(f"{path}: is no bundle: {error.args[0]}") from None
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise PtychoError(f"{path}: is no readable bundle: {error}.") from None
    members = {}
    for name, content in data.items():
        if hashlib.sha256(content).hexdigest() != manifest["sha256"].get(name):
            raise PtychoError(f"{path}: {name}: does not match its hash; the file was changed or damaged.")
        try:
            members[name] = load(content)
        except SafetensorError as error:
            raise PtychoError(f"{path}: {name}: is no safetensors data: {error}.") from None
    return manifest, members


def _check_manifest(path: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict):
        raise PtychoError(f"{path}: {MANIFEST}: an object with schema, settings and sha256 is needed.")
    schema = manifest.get("schema")
    if not isinstance(schema, int):
        raise PtychoError(f"{path}: {MANIFEST}: schema {schema!r}; a number is needed.")
    if schema > SCHEMA:
        raise PtychoError(f"{path}: schema {schema} is newer than this ptychopinn reads ({SCHEMA}); update ptychopinn.")


def _versions() -> dict[str, str]:
    names = ("ptychopinn", "torch", "lightning", "numpy")
    installed = {name: metadata.version(name) for name in names if _is_installed(name)}
    return {"python": platform.python_version(), **installed}


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

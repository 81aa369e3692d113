"""Iterative reconstruction by pty-chi; the only file that imports it.

pty-chi (https://pty-chi.readthedocs.io, version 2.2) has its own conventions. This file converts all of them:

=============  ==============================================  ====================================================
quantity       here                                            pty-chi
=============  ==============================================  ====================================================
frames         counts, zero frequency at [N/2, N/2]            intensities, ``fft_shift``
probe          (m, N, N), sqrt(photons), unitary transform     (1, m, N, N), divided by N, bare transform
positions      (y, x) of the patch pixel [N/2, N/2]            x and y on its canvas, with an origin of [-1/2, -1/2]
object         (H, W) on the canvas of the scan                (1, H, W), wider by a margin on every side
=============  ==============================================  ====================================================

pty-chi shifts the probe, not the object, to sub-pixel positions, and only the first of several modes.
"""

import logging
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ptychopinn.config import BaselineConfig
from ptychopinn.engines.judging.advice import verdict
from ptychopinn.errors import WARNING, PtychoError, RunFailedError
from ptychopinn.memory import check_memory
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe, start_image
from ptychopinn.scan.checks import check_scan
from ptychopinn.scan.coverage import light_on_canvas, mean_overlap, probe_coverage
from ptychopinn.scan.scan import Scan

Report = Callable[[str], None]

MARGIN = 2
"""Margin of the canvas that pty-chi needs, pixels; without it the result is NaN."""

ROOM = 8
"""Margin of the canvas with position correction, pixels."""

BATCHES, LARGEST_BATCH = 10, 100
"""Updates per epoch that a small scan needs to converge, and usual batch size of a large one."""

LINES = 10
"""Lines of progress."""

RESTART = 10
"""Epochs after which the difference map restarts from its image: older exit waves drift with the noise."""

POISSON = ("lsqml", "autodiff")
"""Engines with a Poisson likelihood."""

BY_GRADIENT = ("dm", "autodiff")
"""Engines without positions by cross-correlation."""

POSITIONS = ("position_correction", "affine_positions")
"""Settings that need ``refine_positions``."""

FEW_FRAMES, LEAST_REDUNDANCY = 30, 3.0
"""Below either, images of simulated scans get worse although the loss falls (docs/results.md)."""


def reconstruct(
    scan: Scan,
    config: BaselineConfig,
    seed: int = 0,
    device: str = "cpu",
    start: Reconstruction | None = None,
    report: Report = lambda line: None,
) -> Reconstruction:
    """Reconstruct a scan with an iterative engine of pty-chi; the image lies in the object frame of the scan.

    The probe is fixed without ``config.refine_probe``, and keeps its power with it, because the counts do not
    determine the common factor of object and probe. The global state of the process is not changed.

    Args:
        scan: to reconstruct; pixels that are not good are left out.
        config: engine, epochs, and whether to refine probe and positions.
        seed: of the order of the frames.
        device: ``cpu`` or ``cuda``.
        start: object to start from; vacuum when None.
        report: receives lines of progress, and a warning for a scan that may not determine its object.

    Returns:
        The image, the refined ``probe`` and ``positions``, and the ``loss`` of every epoch.

    Raises:
        PtychoError: when pty-chi cannot be imported or cannot combine the settings.
        RunFailedError: when the engine fails or diverges, with the likely cause.
    """
    _check(scan, config, device)
    if warning := doubt(scan, config.refine_probe):
        report(warning)
    began = time.perf_counter()
    with _undisturbed():
        ptychi = _library()
        task = _task(ptychi, scan, config, seed, device, start)
        loss = _run(task, scan, config, report)
        canvas = _canvas(scan, config)
        image = task.get_data_to_cpu("object", as_numpy=True)[0].astype(np.complex64)
        moved = task.get_data_to_cpu("probe_positions", as_numpy=True).astype(np.float64)
        refined = task.get_data_to_cpu("probe", as_numpy=True)[0].astype(np.complex64) * np.float32(scan.N)
    if config.refine_positions:
        scan = replace(scan, positions=moved + np.array(canvas.origin))
    if config.refine_probe:
        scan = replace(scan, probe=refined)
    seconds: dict[str, float] = {config.engine: time.perf_counter() - began}
    found = torch.from_numpy(reframe(image, canvas.origin, scan.canvas_origin, scan.canvas_shape)).to(device)
    result = Reconstruction.from_canvas(
        found,
        scan,
        probe_coverage(scan, device),
        seconds=seconds,
        probe=refined if config.refine_probe else None,
        loss=tuple(loss),
        subpixel="fourier",
    )
    result = result.with_deviance(scan, device)
    for line in verdict(result, scan, config, device):
        report(line)
    return result


def usual_batch_size(frames: int, engine: str = "lsqml") -> int:
    """Frames per update: ten updates per epoch, at most 100 frames each; dm always takes 100 at once."""
    return LARGEST_BATCH if engine == "dm" else min(LARGEST_BATCH, math.ceil(frames / BATCHES))


def doubt(scan: Scan, refine_probe: bool = False) -> str | None:
    """One line for a scan whose counts may not determine its object; None otherwise.

    A frame under a probe of A lit pixels holds at most 4 A independent numbers, the support of its autocorrelation.
    Each lit pixel of the object (and of a refined probe) has two unknowns.
    """
    intensity = probe_intensity(torch.from_numpy(scan.probe))
    area = float((intensity > 0.01 * intensity.max()).sum())
    light = light_on_canvas(scan, intensity)
    unknown = 2 * float((light > 0.01 * light.max()).sum())
    if refine_probe:
        unknown += 2 * area * len(scan.probe)
    lit = np.logical_or.reduce([scan.frames(block).numpy().any(axis=0) for block in scan.blocks()]).sum()
    measured = len(scan) * min(4 * area, float(lit))
    if len(scan) >= FEW_FRAMES and measured >= LEAST_REDUNDANCY * unknown:
        return None
    return (
        f"{WARNING}{len(scan)} frames hold about {measured:.2g} independent numbers for {unknown:.2g} unknowns; the "
        "image may be wrong although the loss falls: more frames or more overlap are needed."
    )


def _check(scan: Scan, config: BaselineConfig, device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise PtychoError(f"accelerator: {device} given; pty-chi runs on cpu or cuda.")
    if config.noise_model == "poisson" and config.engine not in POISSON:
        raise PtychoError(
            f"noise_model: poisson given with engine {config.engine}, which knows gaussian only; use "
            f"{' or '.join(POISSON)} for poisson."
        )
    if not config.refine_positions:
        given = [name for name in POSITIONS if getattr(config, name) != BaselineConfig.model_fields[name].default]
        if given:
            raise PtychoError(f"{given[0]}: has no effect without refine_positions; give --refine-positions.")
    if config.engine in BY_GRADIENT and config.position_correction != "gradient":
        raise PtychoError(
            f"position_correction: {config.position_correction} given, but {config.engine} knows gradient only."
        )
    check_scan(scan)
    waves = len(scan.probe) * 8 if config.engine == "dm" else 0
    check_memory((8 + waves) * len(scan) * scan.N**2, f"scan: {len(scan)} frames of {scan.N} x {scan.N} pixels")


def _library() -> Any:
    """The parts of pty-chi that are used; PtychoError when it cannot be imported."""
    try:
        from ptychi import api
        from ptychi.api.task import PtychographyTask
    # pty-chi imports torchvision, whose compiled operators raise a RuntimeError if they do not fit torch.
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PtychoError(
            f"baseline: pty-chi cannot be imported ({reason}); install ptychi, and a torchvision built for torch "
            f"{torch.__version__}."
        ) from None
    return SimpleNamespace(api=api, Task=PtychographyTask)


def _canvas(scan: Scan, config: BaselineConfig) -> SimpleNamespace:
    """Origin and shape of pty-chi's object: the canvas of the scan with a margin."""
    margin = ROOM if config.refine_positions else MARGIN
    (row, col), (height, width) = scan.canvas_origin, scan.canvas_shape
    return SimpleNamespace(origin=(row - margin, col - margin), shape=(height + 2 * margin, width + 2 * margin))


def _task(ptychi: Any, scan: Scan, config: BaselineConfig, seed: int, device: str, start: Reconstruction | None) -> Any:
    """Options of the engine and the data, converted."""
    canvas = _canvas(scan, config)
    # pty-chi rounds the positions before it adds their origin: subtract whole pixels only.
    places = torch.from_numpy(scan.positions - np.array(canvas.origin)).float()
    probe = torch.from_numpy(scan.probe)[None] / scan.N
    vacuum = np.ones(canvas.shape, np.complex64)
    first = vacuum if start is None else start_image(start.object, start.origin, canvas.origin, canvas.shape)
    options = _options(ptychi.api, config, scan, probe)
    options.object_options.position_origin_coords = [-0.5, -0.5]
    general = options.reconstructor_options
    general.random_seed = seed
    general.default_device = ptychi.api.Devices.GPU if device == "cuda" else ptychi.api.Devices.CPU
    task = ptychi.Task(
        options,
        diffraction_data=scan.frames(slice(None)),
        object_data=torch.from_numpy(first)[None],
        probe_data=probe,
        probe_position_x_px=places[:, 1].clone(),
        probe_position_y_px=places[:, 0].clone(),
        valid_pixel_mask=None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels),
    )
    # The seed of pty-chi does not set the order of the frames.
    task.reconstructor.dataloader.generator.manual_seed(seed)
    if config.engine == "autodiff" and config.noise_model == "poisson":
        # The loss of pty-chi takes the intensity for a logarithm.
        task.reconstructor.loss_function = torch.nn.PoissonNLLLoss(log_input=False)
    return task


def _options(api: Any, config: BaselineConfig, scan: Scan, probe: torch.Tensor) -> Any:
    """Options of all engines: absolute scale, our origin, and a probe that is fixed or keeps its power."""
    size = min(len(scan), config.baseline_batch_size or usual_batch_size(len(scan), config.engine))
    crowded = size / len(scan) * mean_overlap(scan, torch.from_numpy(scan.probe))
    options = _engine_options(api, config, probe, min(1.0, 1 / crowded))
    general, image, light = options.reconstructor_options, options.object_options, options.probe_options
    general.num_epochs = config.epochs
    if config.engine == "dm":
        general.chunk_length = size
    else:
        general.batch_size = size
    image.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    image.remove_object_probe_ambiguity.enabled = False
    light.optimizable = config.refine_probe
    light.orthogonalize_incoherent_modes.enabled = config.refine_probe
    light.power_constraint.enabled = config.refine_probe
    light.power_constraint.probe_power = float((probe.abs() ** 2).sum())
    places = options.probe_position_options
    places.optimizable = config.refine_positions
    places.correction_options.correction_type = api.PositionCorrectionTypes(config.position_correction)
    places.affine_transform_constraint.enabled = config.affine_positions
    return options


def _engine_options(api: Any, config: BaselineConfig, probe: torch.Tensor, step: float) -> Any:
    """Options of one engine; ``step`` is the step size of the engines that update batch by batch."""
    match config.engine:
        case "lsqml":
            options = api.LSQMLOptions()
            options.reconstructor_options.noise_model = api.NoiseModels(config.noise_model)
            options.reconstructor_options.rescale_probe_intensity_in_first_epoch = False
        case "rpie":
            options = api.RPIEOptions()
            options.object_options.step_size = options.probe_options.step_size = step
        case "epie":
            options = api.EPIEOptions()
            options.object_options.alpha = options.probe_options.alpha = step
        case "dm":
            options = api.DMOptions()
        case _:
            options = _autodiff(api, config, probe)
    return options


def _autodiff(api: Any, config: BaselineConfig, probe: torch.Tensor) -> Any:
    options = api.AutodiffPtychographyOptions()
    poisson = config.noise_model == "poisson"
    losses = api.LossFunctions
    options.reconstructor_options.loss_function = losses.POISSON if poisson else losses.MSE_SQRT
    options.object_options.optimizer = options.probe_options.optimizer = api.Optimizers.ADAM
    options.object_options.step_size = 0.03
    # Adam changes every pixel by about its step size, which therefore has the unit of the probe.
    options.probe_options.step_size = 0.03 * float(probe.abs().max())
    options.probe_position_options.optimizer = api.Optimizers.ADAM
    options.probe_position_options.step_size = 0.02
    return options


def _run(task: Any, scan: Scan, config: BaselineConfig, report: Report) -> list[float]:
    """Run epoch by epoch; return the loss of each.

    Raises:
        RunFailedError: when the engine raises, or its loss or object is not finite.
    """
    loss: list[float] = []
    middle = task.probe_positions.data.detach().mean(dim=0)
    for epoch in range(1, config.epochs + 1):
        if config.engine == "dm" and epoch % RESTART == 1:
            # It computes the exit waves from probe and object in epoch 0 only.
            task.reconstructor.current_epoch = 0
        try:
            task.run(1)
            if config.refine_positions:
                places = task.probe_positions.data.detach()
                with torch.no_grad():
                    task.probe_positions.set_data(places - places.mean(dim=0) + middle)
        except (RuntimeError, ValueError, ArithmeticError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise RunFailedError(f"{config.engine}: pty-chi stopped in epoch {epoch}: {reason}") from error
        loss.append(_last_loss(task))
        if not (math.isfinite(loss[-1]) and bool(torch.isfinite(torch.view_as_real(task.get_data("object"))).all())):
            raise RunFailedError(f"{config.engine}: NaN or infinity in epoch {epoch}: {_cause(scan, config)}.")
        if epoch in (1, config.epochs) or epoch % math.ceil(config.epochs / LINES) == 0:
            report(f"epoch {epoch} of {config.epochs}: loss {loss[-1]:.4g}")
    return loss


def _last_loss(task: Any) -> float:
    return float(task.reconstructor.loss_tracker.table.loss.iloc[-1])


def _cause(scan: Scan, config: BaselineConfig) -> str:
    """Likely cause of a result that is not finite."""
    span = np.ptp(scan.positions, axis=0)
    if span.min() < 1:
        return f"the positions span {span[0]:.2g} x {span[1]:.2g} px; pty-chi needs a pixel or more along both axes"
    if len(np.unique(scan.positions, axis=0)) < len(scan):
        return "frames share a position; keep one of each"
    power = float((abs(scan.probe) ** 2).sum())
    if not 0.01 < power / max(scan.photons, 1e-30) < 100:
        return f"the probe holds {power:.2g} photons and a frame {scan.photons:.2g}; give a probe in sqrt(photons)"
    if config.refine_positions:
        return "it diverged; positions may have left the canvas: leave refine_positions off, or start from an image"
    return "it diverged; try engine lsqml or a smaller batch size"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore what pty-chi changes in the process: default device and dtype, random states, logging, warnings."""
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    legacy, standard = np.random.get_state(), random.getstate()  # noqa: NPY002 - pty-chi seeds the global one
    root, own = logging.getLogger(), logging.getLogger("ptychi")
    level, silence = own.level, logging.NullHandler()
    own.setLevel(logging.CRITICAL + 1)
    # With no handler at all, logging.warning() adds one to the root logger for good.
    root.addHandler(silence)
    root.addFilter(_not_of_ptychi)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_device(None if device == torch.device("cpu") else device)
        torch.set_default_dtype(dtype)
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(standard)
        root.removeFilter(_not_of_ptychi)
        root.removeHandler(silence)
        own.setLevel(level)


def _not_of_ptychi(record: logging.LogRecord) -> bool:
    return "ptychi" not in record.pathname.replace("\\", "/").split("/")

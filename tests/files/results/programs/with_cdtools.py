"""Run by the interpreter of cdtools: RESULT FRAMES MODES; MODES is plain or mixed."""

import sys

import numpy as np
import torch
from cdtools.datasets import Ptycho2DDataset
from cdtools.models import FancyPtycho
from made_up import N, image, places, probe

WAVELENGTH, DISTANCE, PITCH = 1.55e-10, 1.0, 75e-6


def main(result: str, frames: str, modes: str) -> None:
    rng = np.random.default_rng(2)
    pixel, spots = WAVELENGTH * DISTANCE / (N * PITCH), places()
    beam = -pixel * np.stack([spots[:, 1], spots[:, 0], 0 * spots[:, 0]], axis=-1)
    dataset = Ptycho2DDataset(
        torch.as_tensor(beam, dtype=torch.float32),
        torch.ones(len(beam), N, N),
        wavelength=WAVELENGTH,
        detector_geometry={
            "distance": DISTANCE,
            "basis": torch.tensor([[0, -PITCH], [-PITCH, 0], [0, 0]], dtype=torch.float32),
            "corner": None,
        },
        mask=torch.ones(N, N, dtype=torch.bool),
    )
    model = FancyPtycho.from_dataset(dataset, n_modes=2, obj_padding=7, dm_rank=2 if modes == "mixed" else None)
    with torch.no_grad():
        model.probe.data = torch.as_tensor(probe()) / model.probe_norm
        model.obj.data = torch.as_tensor(image(tuple(model.obj.shape)))
        model.translation_offsets.data = torch.as_tensor(rng.uniform(-0.5, 0.5, (len(beam), 2)), dtype=torch.float32)
        model.weights.data *= 1.3
        if modes == "mixed":  # the same mixture for every frame: its mean is all there is to know
            model.weights.data += torch.as_tensor([[0, 0.4], [0.2j, 0]], dtype=torch.complex64)
        model.background.data *= 0
        (index, translations), _ = dataset[:]
        np.save(frames, model.forward(index, translations).numpy())
    model.save_to_h5(result, dataset)


main(*sys.argv[1:])

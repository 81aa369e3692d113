"""Run by the interpreter of PtyRAD: RESULT FRAMES."""

import sys

import numpy as np
import torch
from made_up import N, image, places, probe
from ptyrad.core.forward import multislice_forward
from ptyrad.core.functional import imshift_batch
from ptyrad.io.save import save_dict_to_hdf5


def main(result: str, frames: str) -> None:
    corners = places() + 6
    whole = np.round(corners).astype(np.int32)
    shifts = torch.as_tensor(corners - whole, dtype=torch.float32)
    picture, light = image((70, 74)), torch.as_tensor(probe() / np.linalg.norm(probe()))
    patches = np.stack([picture[y : y + N, x : x + N] for y, x in whole])[:, None, None]
    frequencies = torch.stack(torch.meshgrid(torch.fft.fftfreq(N), torch.fft.fftfreq(N), indexing="ij"))
    probes = imshift_batch(light, shifts=shifts, grid=frequencies)
    amplitude, phase = (torch.as_tensor(part, dtype=torch.float32) for part in (abs(patches), np.angle(patches)))
    np.save(frames, multislice_forward(amplitude, phase, probes, torch.ones(1, N, N, dtype=torch.complex64)).numpy())
    found = {"obja": abs(picture)[None, None], "objp": np.angle(picture)[None, None], "probe": light}
    save_dict_to_hdf5(
        {
            "ptyrad_version": "1.0.0",
            "optimizable_tensors": found | {"probe_pos_shifts": shifts},
            "params": {"init_params": {"meas_flipT": None}},
            "model_attributes": {"crop_pos": torch.as_tensor(whole), "dx": torch.tensor(0.2), "slice_thickness": 1.0},
            "avg_losses": {"loss_single": 0.1},
        },
        result,
    )


main(*sys.argv[1:])

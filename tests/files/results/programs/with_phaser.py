"""Run by the interpreter of phaser: RESULT FRAMES."""

import sys

import numpy as np
from made_up import N, image, places, probe
from phaser.engines.common.simulation import cutout_group
from phaser.state import IterState, ObjectState, ProbeState, ReconsState, ScanState
from phaser.utils.num import Sampling, fft2
from phaser.utils.object import ObjectSampling

EDGE = 0.21
"""Angstrom."""


def main(result: str, frames: str) -> None:
    scan = EDGE * places().reshape(5, 5, 2) - 1.7
    sampling = Sampling((N, N), sampling=(EDGE, EDGE))
    there = ObjectSampling.from_scan(scan, (EDGE, EDGE), pad=N * EDGE / 2 + 0.6)
    state = ReconsState(
        iter=IterState(1, 2, 3),
        wavelength=0.0197,
        probe=ProbeState(sampling, probe()),
        object=ObjectState(there, image(tuple(there.shape))[None], np.zeros(0, np.float32)),
        scan=ScanState(scan, scan),
    )
    group = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij")).reshape(2, -1)
    probes, objects, _ = cutout_group(*sampling.recip_grid(), state, group)
    power = (abs(fft2(probes * objects[:, :1])) ** 2).sum(axis=1)
    np.save(frames, np.fft.fftshift(power, axes=(-2, -1)))
    state.write_hdf5(result)


main(*sys.argv[1:])

"""Draw the pictures of ``docs/bad-image.md`` by the commands that it shows.

Every section there names a picture and has a block of commands: the last two write the folders ``bad`` and ``good``,
whose phases are drawn side by side. Run from the root, with the names of pictures, or none for all.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ptychopinn.files.reconstruction import read_reconstruction

DOCS = Path(__file__).parents[2] / "docs"
SECTION = re.compile(r"!\[[^\]]*\]\(images/(bad_\w+\.png)\)\n+```sh\n(.*?)```", re.DOTALL)


def phase(folder: Path) -> np.ndarray:
    """The middle of the phase of a result, its mean removed."""
    image = read_reconstruction(folder).object
    cut = tuple(slice(size // 5, size - size // 5) for size in image.shape)
    return np.angle(image[cut] * np.exp(-1j * np.angle(image[cut].sum())))


def draw(name: str, commands: str) -> None:
    """Run the commands in a folder of their own, and draw what they wrote."""
    program = Path(sys.executable).with_name("ptychopinn")
    with tempfile.TemporaryDirectory() as folder:
        for line in commands.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(line, comments=True)
            done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {line}\n{done.stdout}{done.stderr}")
            sys.stdout.write(f"{name}: {line}\n{done.stdout}")
        images = [phase(Path(folder) / part) for part in ("bad", "good")]
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), layout="constrained")
    for ax, image, title in zip(axes, images, ("what you see", "after the cure"), strict=True):
        ax.imshow(image, cmap="magma", vmin=-0.6, vmax=0.6)
        ax.set(title=title, xticks=[], yticks=[])
    figure.savefig(DOCS / "images" / name, dpi=80, pil_kwargs={"optimize": True})


def main(wanted: list[str]) -> None:
    """Draw all pictures, or those whose names are given."""
    for name, commands in SECTION.findall((DOCS / "bad-image.md").read_text(encoding="utf-8")):
        if not wanted or name in wanted:
            draw(name, commands)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The help of a command: its options in groups."""

import re
from typing import Any, Final

from typer.core import TyperCommand

from ptychopinn.config import Settings

BARE_PORT: Final = re.compile(r"([\w.-]+:)?\d+$")
"""A port, or an address and a port."""

OWN: Final = "Options"
SHARED: Final = "Output and settings"
RUNNING: Final = "Running"

SECTIONS: Final = {
    "model": "Network",
    "data": "Reading the scan",
    "training": "Training",
    "execution": RUNNING,
    "inference": "Making the image",
    "baseline": "Iterative engine",
    "refinement": "Iterative engine",
    "probe": "Making the probe",
    "start": "Iterative engine",
    "overlap": "Overlap",
    "simulation": "Simulation",
    "beamline": "Faults of a simulated beamline",
}
"""Heading of the settings of each section."""

ELSEWHERE: Final = {
    "gridsize": "Groups of frames",
    "neighbor_count": "Groups of frames",
    "n_groups": "Groups of frames",
    "seed": RUNNING,
    "learning_rate": "Training",
    "scheduler": "Training",
    "accumulate_grad_batches": "Training",
    "gradient_clip_val": "Training",
    "early_stop_patience": "Training",
    "simulate nphotons": "Simulation",
    "probe defocus": "Making the probe",
    "reconstruct defocus": "Making the probe",
}
"""Heading of settings that read better in another group than their section's, also by command."""

LAST: Final = ("out", "assigned", "config", "overwrite", "serve", "quiet", "help")
"""Options that all commands share."""


class LiveCommand(TyperCommand):
    """A command whose ``--serve`` may stand without its port."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write 0, any free port, where none is given."""
        ports = [after if BARE_PORT.match(after) else None for after in [*args[1:], ""]]
        for at in reversed([at for at, text in enumerate(args) if text == "--serve" and ports[at] is None]):
            args = [*args[: at + 1], "0", *args[at + 1 :]]
        return super().parse_args(ctx, args)


class GroupedCommand(LiveCommand):
    """A command whose help lists its options by subject."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, own options, those of settings by subject, and at last what all commands share."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], OWN: []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                is_argument = parameter.param_type_name == "argument"
                title = "Arguments" if is_argument else heading(str(ctx.info_name), str(parameter.name))
                groups.setdefault(title, []).append(record)
        for title in sorted(groups, key=lambda title: title == SHARED):
            if groups[title]:
                with formatter.section(title):
                    formatter.write_dl(groups[title], col_max=WIDEST_FLAG)


WIDEST_FLAG: Final = 34
"""Characters of the column of flags; what is wider takes a line of its own."""


def heading(command: str, name: str) -> str:
    """The heading under which the help of a command lists an option."""
    if name in LAST:
        return SHARED
    section = next((title for title, content in Settings() if name in type(content).model_fields), None)
    usual = OWN if section is None else SECTIONS.get(section, section.capitalize())
    return ELSEWHERE.get(f"{command} {name}", ELSEWHERE.get(name, usual))

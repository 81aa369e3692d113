"""What the user asks a command to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptychopinn.config import Section, Settings
from ptychopinn.text import Report


@dataclass(frozen=True)
class Request:
    """Settings, output and progress of one call.

    Attributes:
        settings: effective settings; flags win over the file of settings, the file over the defaults.
        sources: where each came from: ``flag``, the path of the file, ``run`` or ``default``.
        written: how the user wrote the settings of the command line: ``--max-seconds``, ``--set seed``.
        config: file of settings.
        out: file or folder to write.
        overwrite: replace what is there, if it is ours.
        report: receives lines of progress.
        progress_bar: draw one where the command has one.
        serve: port, or address and port, at which the live page is offered; None: nowhere.
    """

    settings: Settings = Settings()
    sources: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    out: Path = Path()
    overwrite: bool = False
    report: Report = lambda line: None
    progress_bar: bool = False
    serve: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Settings by name, without defaults."""
        values = self.settings.flat()
        return {name: values[name] for name, source in self.sources.items() if source != "default"}

    def used(self, *sections: Section, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Values of the settings of ``sections`` and of ``names``, and where each came from."""
        flat = self.settings.flat()
        every = [*(name for section in sections for name in type(section).model_fields), *names]
        return {name: flat[name] for name in every}, {name: self.sources[name] for name in every}

    def reads(self, *paths: Path | None) -> list[Path]:
        """All that a call reads: ``paths``, the files that settings name, and the file of settings."""
        from ptychopinn.files.reading import files_of  # with it comes torch, which a call for help must not wait for

        validation = self.settings.training.validate_on
        others = [self.config, None if validation is None else Path(validation), *files_of(self.settings.data)]
        return [path for path in (*paths, *others) if path is not None]

    def over(self, run: Mapping[str, Any]) -> "Request":
        """The request with settings of a trained run in place of defaults."""
        sources = {**self.sources, **{name: "run" for name in run.keys() - self.given.keys()}}
        return replace(self, settings=Settings.of({**run, **self.given}), sources=sources)

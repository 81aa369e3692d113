"""What to type in place of a flag that a command does not have."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ptychopinn.cli import applicable, older_names, options
from ptychopinn.config import Settings
from ptychopinn.errors import shortened

OPPOSITES: Final = ("no_", "disable_", "skip_")
"""Beginnings of flags that turn something off."""


def in_place_of(command: str, path: str, known: Mapping[str, bool], args: Sequence[str], first: str) -> str:
    """One sentence for every flag of a call that its command does not have.

    Args:
        command: name of the command.
        path: how to call it, after the name of the program: ``study run``.
        known: its flags; whether they take a value.
        args: of the call.
        first: the flag that stopped the reading of the call.
    """
    found = dict(_unknown(known, args))
    found.setdefault(first, None)
    advice = ((flag, _advice(command, path, known, flag, given)) for flag, given in found.items())
    return " ".join(f"{shortened(flag)}: {text}" + ("" if text.endswith("?") else ".") for flag, text in advice)


def _unknown(known: Mapping[str, bool], args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Long flags of a call that are not known, with the value that follows."""
    for number, text in enumerate(args):
        if text == "--":
            return
        flag, sign, value = text.partition("=")
        before, _, _ = args[number - 1].partition("=") if number else ("", "", "")
        is_value = known.get(before, False) and "=" not in args[number - 1]
        if flag.startswith("--") and flag not in known and not is_value:
            after = args[number + 1] if number + 1 < len(args) else "-"
            yield flag, value if sign else None if _is_flag(after) else after


def _is_flag(text: str) -> bool:
    return text.startswith("-") and not text[1:].replace(".", "", 1).isdigit()


def _advice(command: str, path: str, known: Mapping[str, bool], flag: str, given: str | None) -> str:
    """What to type in place of one flag, without the full stop."""
    name = older_names.plain(flag)
    text = older_names.INSTEAD.get(f"{command} {name}", older_names.INSTEAD.get(name))
    if found := _setting(command, name, given):
        setting, wanted = found
        if setting in applicable.USED.get(command, ()):
            return f"no flag of '{path}'; type {assignment(command, setting, wanted)}"
        if path in ("study plan", "study run") and (field := _field(setting)):
            return f"no flag of '{path}'; type --set {field}={'VALUE' if wanted is None else wanted}"
        text = text or f"has no effect in '{path}'; it is a setting of {applicable.takers(setting)}"
    value = "VALUE" if given is None else shortened(given)
    return text.format(value=value) if text else f"no flag of '{path}'{_nearest(command, path, known, flag, given)}"


def _nearest(command: str, path: str, known: Mapping[str, bool], flag: str, given: str | None) -> str:
    """The flag or setting that is spelt most alike, or where all of them are listed."""
    value = "VALUE" if given is None else shortened(given)
    spelt = "--" + flag.lstrip("-").replace("_", "-")
    if spelt in known:
        return f"; type {spelt}" + (f" {value}" if known[spelt] else "")
    if close := _close(command, older_names.plain(flag), known):
        typed = close if close in known else assignment(command, close, given)
        return f"; did you mean {typed}" + (f" {value}" if known.get(close) else "") + "?"
    settings = ", 'ptychopinn config schema' all settings" if command in applicable.USED else ""
    return f"; 'ptychopinn {path} --help' lists them{settings}, docs/ledger.md those of the older program"


def _setting(command: str, name: str, given: str | None) -> tuple[str, str | None] | None:
    """The setting that a name means in a command and the value to give it; None where it means none."""
    settings = {each.lower(): each for each in Settings().flat()}
    used = applicable.USED.get(command, frozenset())
    by_flag = {older_names.plain(flag): each for each in used for flag in applicable.spelling(command, each)}
    renamed = older_names.RENAMED.get(name)
    wanted = [by_flag.get(name), settings.get(name), renamed]
    if command == "train" and name == "epochs":
        wanted.insert(0, "nepochs")
    candidates = [each for each in wanted if each is not None]
    if candidates:
        setting = next((each for each in candidates if each in used), candidates[0])
        return setting, None if given is None else older_names.value_here(setting, given)
    for beginning in OPPOSITES:
        if name.startswith(beginning):
            rest = name.removeprefix(beginning)
            for positive in (rest, f"enable_{rest}"):
                if options.fields().get(positive) is not None and options.type_of(positive) is bool:
                    return positive, "false"
    return None


def _field(setting: str) -> str | None:
    """The field of a study's design that holds a setting; None where none does."""
    from ptychopinn.study.design import OWN, StudyDesign

    if setting in StudyDesign.model_fields:
        return setting
    takers = (command for command, own in OWN.items() if setting in applicable.USED[command] and setting not in own)
    return next((f"{command}.{setting}" for command in takers), None)


def assignment(command: str, setting: str, value: str | None) -> str:
    """How to give a setting in a command: its flag where it has one, else ``--set``."""
    spelt = applicable.spelling(command, setting)
    switch = options.type_of(setting) is bool
    off = switch and str(value).lower() in ("false", "0", "no", "off")
    if not spelt:
        return f"--set {setting}=" + (("false" if off else "true") if switch else "VALUE" if value is None else value)
    if switch:
        return applicable.switched_off(command, setting) if off else spelt[0]
    return f"{spelt[0]} " + ("VALUE" if value is None else value)


def _close(command: str, name: str, known: Mapping[str, bool]) -> str | None:
    """The flag, or else the setting of the command, whose name is nearest."""
    names: dict[str, Any] = dict.fromkeys(applicable.USED.get(command, ()))
    flags = {older_names.plain(flag): flag for flag in known if flag.startswith("--")}
    close = difflib.get_close_matches(name, [*flags, *names], n=1, cutoff=0.7)
    return None if not close else flags.get(close[0], close[0])

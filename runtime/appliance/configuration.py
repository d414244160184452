"""The configuration file: a table of TOML a command, whose keys are the command's options.

A flag goes before the environment, the environment before the file, the file before the default. The file says what
flags could say and nothing else, so its values are checked by the same conversions.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from mosear.runtime.errors import BadInput, UsageError, one_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "mosear.toml"
SHARED = "all"
"""The table whose keys hold for every command that has such an option."""

_LARGEST = 1 << 20
_SECRETS = frozenset({"token", "password", "passwd", "secret", "credential", "credentials"})
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/@\s]*:[^/@\s]+@")

Value = bool | str | list[str]


@dataclass(frozen=True)
class _Option:
    """An option or argument of a command, and whether this spelling of it is the one that turns it off."""

    parameter: Any
    negative: bool = False

    @property
    def name(self) -> str:
        return str(self.parameter.name)

    @property
    def is_switch(self) -> bool:
        return bool(getattr(self.parameter, "is_flag", False))

    @property
    def is_list(self) -> bool:
        return bool(getattr(self.parameter, "multiple", False)) or self.parameter.nargs != 1

    @property
    def is_argument(self) -> bool:
        return bool(self.parameter.param_type_name == "argument")


def find(named: Path | None, folder: Path | None = None) -> Path | None:
    """The file to read: ``named`` (``/dev/null``: none), else ``mosear.toml`` in ``folder`` if it is there, else None.

    Args:
        named: from ``--config`` or the environment.
        folder: the working directory by default.
    """
    if named is not None:
        return None if str(named) == os.devnull else named
    beside = (folder or Path()) / FILE_NAME
    return beside if beside.is_file() else None


def load(path: Path | None, commands: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
    """The defaults that a file gives to commands, in the shape of a ``default_map``.

    Args:
        path: of the file; None gives no defaults.
        commands: the command objects by name, as a typer group's ``commands`` has them.

    Returns:
        Command → parameter → value: a boolean for a switch, a list of texts for what may be repeated, else the text
        that a flag would have.

    Raises:
        BadInput: the file can't be read, or is not TOML.
        UsageError: it says something that the commands do not understand, or holds a secret.
    """
    if path is None:
        return {}
    content = _read(path)
    known = {name: _options(command) for name, command in commands.items()}
    _check_tables(path, content, known)
    found: dict[str, dict[str, Value]] = {name: {} for name in known}
    shared = content.get(SHARED, {})
    anywhere: dict[str, _Option] = {}
    for options in known.values():
        anywhere.update(options)
    for key in shared:
        _known(f"{path}: [{SHARED}]", key, shared[key], anywhere)
    for name, options in known.items():
        # What the shared table says of an option that this command lacks, or takes on its command line, is for others.
        common = {
            key: value for key, value in shared.items() if _spelt(key) in options and _may_be_set(options, _spelt(key))
        }
        found[name] = {
            **_converted(f"{path}: [{SHARED}]", common, name, commands[name], options),
            **_converted(f"{path}: [{name}]", content.get(name, {}), name, commands[name], options),
        }
    return {name: values for name, values in found.items() if values}


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise BadInput(f"{path} is not a configuration file", "name a file of TOML with --config or MOSEAR_CONFIG")
        with path.open("rb") as opened:
            raw = opened.read(_LARGEST + 1)
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror})", "check its path and permissions") from error
    if len(raw) > _LARGEST:
        raise BadInput(f"{path} is larger than 1 MiB", "name a configuration file")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not TOML ({one_line(error, 200)})", "mend that place in the file") from error


def _options(command: Any) -> dict[str, _Option]:
    options: dict[str, _Option] = {}
    for parameter in command.params:
        option = _Option(parameter)
        options.setdefault(_spelt(option.name), option)
        if option.is_argument:
            continue
        for flag in parameter.opts:
            options[_spelt(flag)] = option
        for flag in parameter.secondary_opts:
            options[_spelt(flag)] = _Option(parameter, negative=True)
    return options


def _spelt(key: str) -> str:
    return key.strip("-").replace("_", "-").lower()


def _check_tables(path: Path, content: Mapping[str, Any], known: Mapping[str, Mapping[str, _Option]]) -> None:
    tables = [SHARED, *known]
    for name, table in content.items():
        if isinstance(table, dict) and name in tables:
            continue
        everywhere: set[str] = set().union(*known.values())
        if not isinstance(table, dict) and (_spelt(name) in everywhere or _is_secret(name)):
            raise UsageError(
                f"{path}: {name} stands outside a table", f"put it below [{SHARED}], or below the command's own table"
            )
        if name in tables:
            raise UsageError(f"{path}: {name} is not a table", f"write [{name}] on a line, and its options below")
        raise UsageError(f"{path}: [{name}] is none of its tables", _near(name, tables, "[{}]"))


def _near(name: str, choices: Iterable[str], form: str = "{}") -> str:
    names = sorted(set(choices))
    near = difflib.get_close_matches(_spelt(name), names, n=1)
    there = ", ".join(form.format(each) for each in names)
    return f"did you mean {form.format(near[0])}? There are: {there}" if near else f"there are: {there}"


def _is_secret(key: str) -> bool:
    return bool(_SECRETS & set(_spelt(key).split("-")))


def _known(where: str, key: str, value: object, options: Mapping[str, _Option]) -> _Option:
    """The option of that spelling, which may stand in a file."""
    option = options.get(_spelt(key))
    if option is None and _is_secret(key):
        raise UsageError(
            f"{where} holds a secret ({key})",
            "keep it in a file of mode 0600 and name that (token-file), or set it in the environment",
        )
    if option is None:
        flags = [spelling for spelling, each in options.items() if not each.negative]
        raise UsageError(f"{where} {key} is no option of it", _near(key, flags))
    if option.negative:
        raise UsageError(f"{where} {key} is the flag that turns it off", f"write {_flag(option)} = false")
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, str) and _PASSWORD_IN_ADDRESS.search(text) for text in texts):
        variable = option.parameter.envvar
        variable = variable if isinstance(variable, str) else "its variable"
        raise UsageError(
            f"{where} {key} has a password in its address", f"set {variable} in an environment file of mode 0600"
        )
    return option


def _flag(option: _Option) -> str:
    return _spelt(option.parameter.opts[0]) if option.parameter.opts else option.name


def _may_be_set(options: Mapping[str, _Option], spelling: str) -> bool:
    """Whether a default for it would be used: not for an argument beside others, which take its place on the line."""
    arguments = {option.name for option in options.values() if option.is_argument}
    return not options[spelling].is_argument or len(arguments) == 1


def _converted(
    where: str, table: Mapping[str, Any], name: str, command: Any, options: Mapping[str, _Option]
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    spelt: dict[str, str] = {}
    for key, value in table.items():
        option = _known(where, key, value, options)
        if not _may_be_set(options, _spelt(key)):
            raise UsageError(
                f"{where} {key} can't come from a file, since mosear {name} takes several files",
                f"leave {key} out and name it on the command line",
            )
        if option.name in spelt:
            raise UsageError(f"{where} {spelt[option.name]} and {key} are one option", "leave one of them out")
        spelt[option.name] = key
        text = _text(f"{where} {key}", value, option)
        _try(f"{where} {key}", text, name, command, option)
        values[option.name] = text
    return values


def _text(where: str, value: object, option: _Option) -> Value:
    """What a flag would have been given for this value."""
    if option.is_switch:
        if not isinstance(value, bool):
            raise UsageError(f"{where} wants true or false, and is {_kind(value)}", "write true or false, unquoted")
        return value
    if option.is_list:
        if not isinstance(value, list):
            raise UsageError(f"{where} wants a list, and is {_kind(value)}", 'write it as ["…", "…"]')
        return [_scalar(where, each) for each in value]
    return _scalar(where, value)


def _scalar(where: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{where} wants a text or a number, and holds {_kind(value)}", "write it as its flag has it")
    return str(value)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date or time")


def _try(where: str, value: Value, name: str, command: Any, option: _Option) -> None:
    try:
        option.parameter.process_value(typer.Context(command, info_name=name), value)
    except typer.BadParameter as error:
        help_text = one_line(getattr(option.parameter, "help", None) or "see mosear --help", 300)
        what = f"{where} is {one_line(repr(value), 100)}: {one_line(error.message)}"
        raise UsageError(what, f"{_flag(option)}: {help_text}") from error

"""Recipes from files, from what ships with the package, and from flags; every error names the key and the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mosear.export.recipe import Recipe, near
from mosear.export.strict_yaml import Document, read_yaml
from mosear.runtime.errors import BadInput, UsageError

SHIPPED = Path(__file__).parent / "recipes"
_SUFFIXES = (".yaml", ".yml")
_PATHS = (("calibration",), ("checks", "clips"), ("target",))

FLAGS: dict[str, tuple[str, ...]] = {
    "target": ("target",),
    "precision": ("precision",),
    "calibration": ("calibration",),
    "mose": ("mose", "mode"),
    "max_kl": ("mose", "max_kl"),
    "min_agreement": ("mose", "min_agreement"),
    "rank": ("mose", "rank"),
    "reallocation": ("reallocation",),
    "lm_head": ("lm_head",),
    "capacity": ("capacity",),
    "clips": ("checks", "clips"),
    "examples": ("checks", "examples"),
    "sensitivity": ("checks", "sensitivity"),
    "intended_use": ("intended_use",),
    "use_reason": ("use_reason",),
}
"""Which key of a recipe each flag of the command sets."""


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe that ships, by its name, or one from a file.

    Args:
        name_or_path: a name without a suffix, or a path (anything with a slash, or ending in .yaml or .yml).

    Raises:
        UsageError: no recipe that ships has the name.
        BadInput: the file is missing or is no recipe.
    """
    text, path = str(name_or_path), Path(name_or_path)
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        return read_recipe(path)
    shipped = shipped_recipes()
    if text not in shipped:
        raise UsageError(
            f"no recipe is called {text!r}{near(text, shipped)}",
            f"use one of {', '.join(shipped)}, or the path of a .yaml file",
        )
    return read_recipe(shipped[text])


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file. Relative paths in it are relative to its folder.

    Raises:
        BadInput: it is missing, not YAML, or holds a key or a value that a recipe doesn't have.
    """
    document = read_yaml(path)
    try:
        recipe = Recipe.model_validate(document.content)
    except ValidationError as error:
        what, remedy = _explained(error, document)
        raise BadInput(what, remedy) from error
    content = recipe.model_dump(exclude_unset=True)
    for keys in _PATHS:
        _anchor(content, keys, path.parent)
    return Recipe.model_validate(content)


def override(recipe: Recipe, **flags: Any) -> Recipe:
    """The recipe with flags put over it; None means that a flag was not given.

    A precision given here replaces the recipe's layer rules too, and an intended use its reason: what is asked for is
    what is built. A mode of the experts drops the settings that it makes idle, and clips the number of examples.

    Args:
        recipe: what the file says.
        flags: by the names in ``FLAGS``.

    Raises:
        UsageError: a value is not one that the key takes.
        TypeError: there is no such flag.
    """
    unknown = sorted(set(flags) - set(FLAGS))
    if unknown:
        raise TypeError(f"no flag is called {', '.join(unknown)}")
    given = {name: value for name, value in flags.items() if value is not None}
    content = recipe.model_dump(exclude_unset=True)
    idle: dict[str, tuple[tuple[str, ...], ...]] = {
        "precision": (("layers",),),
        "intended_use": (("use_reason",),),
        "clips": (("checks", "examples"),),
        "examples": (("checks", "clips"),),
    }
    if given.get("mose") == "dynamic":
        idle["mose"] = (("mose", "max_kl"), ("mose", "min_agreement"), ("mose", "rank"))
    for name in given:
        for keys in idle.get(name, ()):
            _drop(content, keys)
    for name, value in given.items():
        _put(content, FLAGS[name], value)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        what, remedy = _explained(error, None)
        raise UsageError(what, remedy) from error


def _anchor(content: dict[str, Any], keys: tuple[str, ...], folder: Path) -> None:
    *parents, last = keys
    for key in parents:
        content = content.get(key, {})
    value = content.get(last)
    if isinstance(value, Path) or (isinstance(value, str) and value.endswith(_SUFFIXES)):
        # An absolute path stays itself when it is joined to a folder.
        content[last] = type(value)(folder / Path(value).expanduser())


def _put(content: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    *parents, last = keys
    for key in parents:
        content = content.setdefault(key, {})
    content[last] = value


def _drop(content: dict[str, Any], keys: tuple[str, ...]) -> None:
    *parents, last = keys
    for key in parents:
        content = content.get(key, {})
    content.pop(last, None)


def _explained(error: ValidationError, document: Document | None) -> tuple[str, str]:
    """What is wrong and what to do, from the first of pydantic's errors."""
    first = error.errors(include_url=False)[0]
    # Tags of unions stand in pydantic's path between the keys.
    path = [part for part in first["loc"] if not str(part).startswith("<")]
    name = ".".join(str(part) for part in path) or "the recipe"
    place = "" if document is None else f"{document.where(path)}: "
    more = error.error_count() - 1
    rest = f" (and {more} more)" if more else ""
    what, remedy = _in_words(first, path, name)
    return f"{place}{what}{rest}", remedy


def _in_words(first: ErrorDetails, path: list[str | int], name: str) -> tuple[str, str]:
    value = first.get("input")
    if first["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        return f"there is no key {name!r}{near(str(path[-1]), known)}", f"the keys there are {', '.join(known)}"
    if first["type"] == "literal_error":
        choices = first["ctx"]["expected"]
        words = [word.strip("' ") for word in choices.replace(" or ", ", ").split(",")]
        return f"{name} is {value!r}{near(str(value), words)}", f"use {choices.replace(chr(39), '')}"
    if first["type"] == "missing":
        return f"{name} is missing", "add it"
    if first["type"] == "value_error":
        return f"{name}: {first['ctx']['error']}", "correct it; docs/recipes.md describes each key"
    if first["type"] == "model_type":
        return f"{name} is {value!r}", f"give a mapping with keys out of {', '.join(_fields_at(path))}"
    shown = value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return f"{name} is {shown!r}", f"{first['msg'][0].lower()}{first['msg'][1:]}"


def _fields_at(path: list[str | int]) -> list[str]:
    """Keys that a recipe has at ``path``."""
    model: type[BaseModel] = Recipe
    for part in path:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)

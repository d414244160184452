"""The model's labels in the words of ROS 2's ``hri_msgs/msg/Expression``, with valence and arousal."""

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mosear.runtime.errors import BadInput, UsageError, one_line

# The constants of the message's definition, in its order: https://docs.ros.org/en/humble/p/hri_msgs/msg/Expression.html
# and https://github.com/ros4hri/hri_msgs/blob/52bdab7fedaa92b281839c2cb221cc1e35e09f90/msg/Expression.msg
EXPRESSIONS = (
    *("neutral", "angry", "sad", "happy", "surprised", "disgusted", "scared", "pleading", "vulnerable", "despaired"),
    *("guilty", "disappointed", "embarrassed", "horrified", "skeptical", "annoyed", "furious", "suspicious"),
    *("rejected", "bored", "tired", "asleep", "confused", "amazed", "excited"),
)

_FORM = 'HAPPY_LABEL = {expression = "happy", valence = 0.8, arousal = 0.5}'
_UNIT = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Expression(BaseModel):
    """What a label means in ROS 2: one of ``EXPRESSIONS``, and valence and arousal from -1 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    expression: str
    valence: _UNIT
    arousal: _UNIT


# "worried" has no word of its own in the message. Worry looks forward to harm, so of the words there it is nearest to
# fear, as a mild form of it; hence "scared", with less of both figures than fear would have. Valence and arousal are
# round figures in the sense of Russell's circumplex: chosen, not measured.
DEFAULT = {
    "neutral": Expression(expression="neutral", valence=0.0, arousal=0.0),
    "angry": Expression(expression="angry", valence=-0.6, arousal=0.7),
    "happy": Expression(expression="happy", valence=0.8, arousal=0.5),
    "sad": Expression(expression="sad", valence=-0.7, arousal=-0.4),
    "worried": Expression(expression="scared", valence=-0.4, arousal=0.4),
    "surprise": Expression(expression="surprised", valence=0.1, arousal=0.8),
}


def mapping_for(labels: Sequence[str], path: Path | None) -> dict[str, Expression]:
    """The meaning of every label, from a TOML or JSON file, or ``DEFAULT`` without one.

    Raises:
        UsageError: there is no file, and a label that ``DEFAULT`` does not know.
        BadInput: the file can't be read, misses a label, or has a label or an expression that does not exist.
    """
    if path is None:
        missing = [label for label in labels if label not in DEFAULT]
        if missing:
            raise UsageError(
                f"nothing says what {', '.join(missing)} means in ROS", "give the rosbridge sink ?mapping=FILE"
            )
        return {label: DEFAULT[label] for label in labels}
    mapping = {label: _expression(path, label, entry) for label, entry in _read(path).items()}
    for label in mapping:
        if label not in labels:
            raise BadInput(
                f"{path}: the model has no label {label!r}{_near(label, labels)}", f"use {', '.join(labels)}"
            )
    missing = [label for label in labels if label not in mapping]
    if missing:
        raise BadInput(f"{path} does not map {', '.join(missing)}", f"map every label, such as {_FORM}")
    return mapping


def mean(scores: Mapping[str, float], mapping: Mapping[str, Expression]) -> tuple[float, float]:
    """Valence and arousal of all labels, weighted by their scores; 0 and 0 when all scores are 0."""
    total = sum(scores.values())
    if not total > 0:
        return 0.0, 0.0
    valence = sum(score * mapping[label].valence for label, score in scores.items()) / total
    arousal = sum(score * mapping[label].arousal for label, score in scores.items()) / total
    return valence, arousal


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else _toml(text)
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror})", "name a TOML or JSON file") from error
    except ValueError as error:  # of JSON, of TOML and of UTF-8 alike
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise BadInput(f"{path} is no {kind}: {one_line(error, 200)}", f"write lines such as {_FORM}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} is no mapping", 'write {"LABEL": {"expression": …, "valence": …, "arousal": …}, …}')
    return content


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _expression(path: Path, label: str, entry: Any) -> Expression:
    try:
        expression = Expression.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([label, *map(str, first["loc"])])
        raise BadInput(f"{path}: {where}: {one_line(first['msg'], 200)}", f"write {_FORM}") from error
    if expression.expression not in EXPRESSIONS:
        word = expression.expression
        near = _near(word, EXPRESSIONS)
        raise BadInput(f"{path}: hri_msgs has no expression {word!r}{near}", f"use one of {', '.join(EXPRESSIONS)}")
    return expression


def _near(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word.lower(), words, 1)
    return f"; did you mean {close[0]}?" if close else ""

"""The options that ``mosear watch`` and ``mosear serve`` share: those of a live run."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mosear.runtime.live.loop import Reasons
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.perception.faces import Choice
from mosear.runtime.privacy.duration import parse_duration
from mosear.runtime.terminal import exits

_OPTIONS: dict[str, Any] = {
    "camera": Annotated[
        str | None,
        typer.Option(
            "--camera",
            envvar="MOSEAR_CAMERA",
            metavar="C",
            help="A number or /dev/videoN, rtsp://… or http://…, gst:PIPELINE, a file (played at real speed), or none.",
        ),
    ],
    "microphone": Annotated[
        str | None,
        typer.Option(
            "--mic",
            "--microphone",
            envvar="MOSEAR_MICROPHONE",
            metavar="M",
            help="default, a number or a part of a name, camera (the sound of the file or address), file:PATH, or "
            "none; by default the camera's sound where it has any, else the default microphone.",
        ),
    ],
    "window": Annotated[
        float | None,
        typer.Option(
            "--window", envvar="MOSEAR_WINDOW", metavar="S", help="Seconds a window; the model's own by default."
        ),
    ],
    "hop": Annotated[
        float, typer.Option("--hop", envvar="MOSEAR_HOP", metavar="S", help="Seconds from window to window.")
    ],
    "sinks": Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            envvar="MOSEAR_SINKS",
            metavar="SINK",
            help="Where answers also go; may be repeated: jsonl:PATH, csv:PATH, ws://…, wss://…, "
            "mqtt://[USER@]HOST/BASE_TOPIC, mqtts://…, rosbridge://HOST/TOPIC.",
        ),
    ],
    "smoothing": Annotated[
        float,
        typer.Option(
            "--smoothing",
            envvar="MOSEAR_SMOOTHING",
            metavar="S",
            help="Time constant of the exponential filter over the scores, in seconds; 0 turns it off.",
        ),
    ],
    "margin": Annotated[
        float,
        typer.Option(
            "--margin",
            envvar="MOSEAR_MARGIN",
            help="By how much another label must lead before the smoothed one changes.",
        ),
    ],
    "forget": Annotated[
        float,
        typer.Option(
            "--forget",
            envvar="MOSEAR_FORGET",
            metavar="S",
            help="Seconds without an answer, and the smoothed one is unknown.",
        ),
    ],
    "reasons": Annotated[
        Reasons, typer.Option("--reason", envvar="MOSEAR_REASON", help="When the model also gives its reasons; slower.")
    ],
    "transcript": Annotated[
        str | None,
        typer.Option(
            "--transcript",
            metavar="TEXT",
            help="What is said. By default the file beside a file's name with the ending .txt, where there is one.",
        ),
    ],
    "asr": Annotated[
        Path | None,
        typer.Option(
            "--asr",
            envvar="MOSEAR_ASR",
            metavar="DIR",
            help="Transcribe what is said, with the sherpa-onnx model in this folder.",
        ),
    ],
    "faces": Annotated[
        Path | None,
        typer.Option(
            "--faces",
            envvar="MOSEAR_FACES",
            metavar="FILE",
            help="Crop the face, found with this YuNet ONNX file; without it the whole frame is used.",
        ),
    ],
    "faces_sha256": Annotated[
        str | None,
        typer.Option(
            "--faces-sha256",
            envvar="MOSEAR_FACES_SHA256",
            metavar="HEX",
            help="What that file must hash to; needed for one that mosear does not know.",
        ),
    ],
    "face": Annotated[Choice, typer.Option("--face", envvar="MOSEAR_FACE", help="Which face, when there are several.")],
    "voice_activity": Annotated[
        bool,
        typer.Option(
            "--vad/--no-vad",
            envvar="MOSEAR_VAD",
            help="Tell speech from other sound; without it only silence counts as no speech.",
        ),
    ],
    "loop": Annotated[bool, typer.Option("--loop", help="Start a file over when it ends.")],
    "speed": Annotated[
        float,
        typer.Option(
            "--speed", envvar="MOSEAR_SPEED", min=0.01, help="How much faster than real time files are played."
        ),
    ],
    "save_media": Annotated[
        Path | None,
        typer.Option(
            "--save-media",
            envvar="MOSEAR_SAVE_MEDIA",
            metavar="DIR",
            help="Keep picture and sound in this folder; nothing is kept by default. Needs --keep-for.",
        ),
    ],
    "keep_for": Annotated[
        str | None,
        typer.Option(
            "--keep-for",
            envvar="MOSEAR_KEEP_FOR",
            metavar="T",
            help="Delete what was kept after so long: a number with s, m, h or d.",
        ),
    ],
}
"""By field of ``LiveOptions``, which has the defaults."""


def takes_live_options(camera: str | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a live run behind its own; it gets them as its argument ``live``.

    Args:
        camera: the default camera. With None there is no live run, and ``live`` is None, unless a camera or a
            microphone is named.
    """
    defaults = {each.name: None if each.default is MISSING else each.default for each in fields(LiveOptions)}
    defaults["camera"] = camera
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]

    def extend(command: Callable[..., None]) -> Callable[..., None]:
        own = [each for each in inspect.signature(command).parameters.values() if each.name != "live"]

        @wraps(command)
        def extended(**given: Any) -> None:
            named = {name: given.pop(name) for name in _OPTIONS}
            with exits(given["debug"]):
                live = _live(named)
            command(**given, live=live)

        signature = inspect.Signature([each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared)
        extended.__signature__ = signature  # type: ignore[attr-defined]
        extended.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        return extended

    return extend


def _live(named: dict[str, Any]) -> LiveOptions | None:
    if named["camera"] is None and named["microphone"] is None:
        return None
    keep_for = named["keep_for"]
    return LiveOptions(
        **named
        | {
            "camera": named["camera"] or "none",
            "keep_for": None if keep_for is None else parse_duration(keep_for),
            "sinks": list(named["sinks"] or ()),
        }
    )

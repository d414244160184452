"""The options that ``mosear watch`` and ``mosear serve`` share."""

from pathlib import Path
from typing import Annotated

import typer

from mosear.runtime.live.loop import Reasons
from mosear.runtime.perception.faces import Choice

CameraOption = typer.Option(
    "--camera",
    envvar="MOSEAR_CAMERA",
    metavar="C",
    help="A number or /dev/videoN, rtsp://… or http://…, gst:PIPELINE, a file (played at real speed), or none.",
)
Microphone = Annotated[
    str | None,
    typer.Option(
        "--mic",
        "--microphone",
        envvar="MOSEAR_MICROPHONE",
        metavar="M",
        help="default, a number or a part of a name, camera (the sound of the file or address), file:PATH, or none. By "
        "default the camera's sound where it has any, else the default microphone.",
    ),
]
WindowLength = Annotated[
    float | None,
    typer.Option("--window", envvar="MOSEAR_WINDOW", metavar="S", help="Seconds a window; the model's own by default."),
]
Hop = Annotated[float, typer.Option("--hop", envvar="MOSEAR_HOP", metavar="S", help="Seconds from window to window.")]
Smoothing = Annotated[
    float,
    typer.Option(
        "--smoothing",
        envvar="MOSEAR_SMOOTHING",
        metavar="S",
        help="Time constant of the exponential filter over the scores, in seconds; 0 turns it off.",
    ),
]
Margin = Annotated[
    float,
    typer.Option(
        "--margin", envvar="MOSEAR_MARGIN", help="By how much another label must lead before the smoothed one changes."
    ),
]
Forget = Annotated[
    float,
    typer.Option(
        "--forget",
        envvar="MOSEAR_FORGET",
        metavar="S",
        help="Seconds without an answer, and the smoothed one is unknown.",
    ),
]
WhenReason = Annotated[
    Reasons,
    typer.Option("--reason", envvar="MOSEAR_REASON", help="When the model also gives its reasons; slower."),
]
Transcript = Annotated[
    str | None,
    typer.Option(
        "--transcript",
        metavar="TEXT",
        help="What is said. By default the file beside a file's name with the ending .txt, where there is one.",
    ),
]
Asr = Annotated[
    Path | None,
    typer.Option(
        "--asr",
        envvar="MOSEAR_ASR",
        metavar="DIR",
        help="Transcribe what is said, with the sherpa-onnx model in this folder.",
    ),
]
Faces = Annotated[
    Path | None,
    typer.Option(
        "--faces",
        envvar="MOSEAR_FACES",
        metavar="FILE",
        help="Crop the face, found with this YuNet ONNX file; without it the whole frame is used.",
    ),
]
FacesHash = Annotated[
    str | None,
    typer.Option(
        "--faces-sha256",
        envvar="MOSEAR_FACES_SHA256",
        metavar="HEX",
        help="What that file must hash to; needed for one that mosear does not know.",
    ),
]
WhichFace = Annotated[Choice, typer.Option("--face", envvar="MOSEAR_FACE", help="Which face, when there are several.")]
VoiceActivity = Annotated[
    bool,
    typer.Option(
        "--vad/--no-vad",
        envvar="MOSEAR_VAD",
        help="Tell speech from other sound; without it only silence counts as no speech.",
    ),
]
Loop = Annotated[bool, typer.Option("--loop", help="Start a file over when it ends.")]
Speed = Annotated[
    float,
    typer.Option("--speed", envvar="MOSEAR_SPEED", min=0.01, help="How much faster than real time files are played."),
]
SaveMedia = Annotated[
    Path | None,
    typer.Option(
        "--save-media",
        envvar="MOSEAR_SAVE_MEDIA",
        metavar="DIR",
        help="Keep picture and sound in this folder; nothing is kept by default. Needs --keep-for.",
    ),
]
KeepFor = Annotated[
    str | None,
    typer.Option(
        "--keep-for",
        envvar="MOSEAR_KEEP_FOR",
        metavar="T",
        help="Delete what was kept after so long: a number with s, m, h or d.",
    ),
]
Sinks = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        envvar="MOSEAR_SINKS",
        metavar="SINK",
        help="Where answers also go; may be repeated: jsonl:PATH, csv:PATH, ws://…, wss://…, "
        "mqtt://[USER@]HOST/BASE_TOPIC, mqtts://…, rosbridge://HOST/TOPIC.",
    ),
]

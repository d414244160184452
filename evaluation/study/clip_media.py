"""The media of a clip, as the page holds them: the file itself where browsers play it, else converted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mosear.evaluation.study.convert import convert
from mosear.runtime.errors import BadInput
from mosear.runtime.media.file import MediaInfo, probe
from mosear.runtime.media.opening import open_media

# What Chromium, Firefox and Safari all play, by the first of FFmpeg's names of the container: codecs of its pictures
# and of its sound.
_PLAYED = {
    "mov": ("mp4", {"h264"}, {"aac", "mp3"}),
    "matroska": ("webm", {"vp8", "vp9"}, {"opus", "vorbis"}),
    "mp3": ("mpeg", set(), {"mp3"}),
    "wav": ("wav", set(), {"pcm_s16le"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}


@dataclass(frozen=True)
class Media:
    """A clip that goes into the page.

    Attributes:
        kind: its MIME type.
        data: the bytes of the file.
        converted: it is not the run's file, but was made from it.
    """

    kind: str
    data: bytes
    converted: bool


def find_media(recorded: str | None, roots: Sequence[Path]) -> Path | None:
    """The file that a run recorded; None where it isn't there (any more) or is a folder of pictures.

    Args:
        recorded: a path below the benchmark's root, or an absolute one.
        roots: folders to look in, in this order. No name leads out of them.
    """
    if not recorded or "\0" in recorded:
        return None
    if os.path.isabs(recorded):
        return Path(recorded) if os.path.isfile(recorded) else None
    for root in map(os.path.abspath, roots):
        path = os.path.normpath(os.path.join(root, recorded))
        if path.startswith(root.rstrip(os.sep) + os.sep) and os.path.isfile(path):
            return Path(path)
    return None


def read_media(path: Path) -> Media:
    """A clip's file, or what it is converted to where some browser would not play it.

    Raises:
        BadInput: it can't be read or converted.
    """
    info = probe(path)
    kind = _played_as(path, info)
    if kind is not None:
        try:
            return Media(kind, path.read_bytes(), converted=False)
        except OSError as error:
            raise BadInput(f"{path} can't be read ({error.strerror or error})", "check its permissions") from error
    with tempfile.TemporaryDirectory(prefix="mosear-study-") as folder:
        made = Path(folder) / "clip.mp4"
        convert(info, made)
        return Media("video/mp4" if info.video else "audio/mp4", made.read_bytes(), converted=True)


def _played_as(path: Path, info: MediaInfo) -> str | None:
    """The MIME type when all browsers play the file as it is, else None."""
    with open_media(path) as container:
        kind, video, audio = _PLAYED.get(container.format.name.split(",")[0], ("", set(), set()))
        pictures = [stream.codec_context for stream in container.streams.video]
        sounds = [stream.codec_context for stream in container.streams.audio]
        if any(each is None or each.name not in video or each.pix_fmt not in _PIXELS for each in pictures):
            return None
        if any(each is None or each.codec.canonical_name not in audio for each in sounds):
            return None
    if not kind:
        return None
    return f"{'video' if info.video else 'audio'}/{kind}"

"""A media file opened: only containers that hold the media themselves, and nothing beside the file."""

import os
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

import av

from mosear.runtime.errors import BadInput
from mosear.runtime.spans import span

# Only containers that hold the media themselves. Playlists (HLS, concat, SDP …) are left out, because they make the
# library open whatever files and addresses they name; so is tty, which takes any text file for a film.
FORMATS = (
    "mov,mp4,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ivf,av1,obu,ogg,mxf,nut,gif,apng,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,mjpeg,yuv4mpegpipe,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class Limits:
    """How much of a file is taken: ``seconds`` from its first picture or sound, and ``pixels`` of a picture."""

    seconds: float = inf
    pixels: int = MAX_PIXELS


class OverLimit(BadInput):
    """A file crosses one of the limits that it was opened with; ``which`` says which."""

    def __init__(self, path: Path, which: Literal["seconds", "pixels"], limits: Limits) -> None:
        most = f"lasts longer than {limits.seconds:g} s" if which == "seconds" else f"has over {limits.pixels} pixels"
        super().__init__(f"{path} {most}", "give a shorter part of it" if which == "seconds" else "make it smaller")
        self.which = which


def check_is_file(path: Path) -> None:
    """Raise BadInput unless ``path`` is a file with something in it that can be read."""
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder", "name the media files in it")
        if not path.exists():
            raise BadInput(f"{path}: no such file", "check the spelling of the path")
        if not path.is_file():
            raise BadInput(f"{path} is not a regular file", "save the media to a file first")
        if path.stat().st_size == 0:
            raise BadInput(f"{path} is empty", "copy or record it again")
        if not os.access(path, os.R_OK):
            raise BadInput(f"{path} can't be read: permission denied", "change its permissions")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read ({error})", "check the path") from error


def open_media(path: Path) -> av.container.InputContainer:
    """Open a media file. Raises BadInput when the library can't, or when it is no container of media itself."""
    try:
        kind = "jpeg_pipe" if _is_jpeg(path) else None
        # The prefix keeps a name with a colon from being taken for a protocol.
        with span("capture"):
            return av.open(f"file:{path.absolute()}", format=kind, options=dict(_OPTIONS), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"{path} is not a media file that can be read ({reason})",
            "give a whole video or sound file; one that was cut while being written often lacks its index",
        ) from error


def _is_jpeg(path: Path) -> bool:
    """By its name alone a .jpg is taken for the first of a numbered series, which is not allowed here."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return False
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"

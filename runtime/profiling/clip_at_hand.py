"""The clip that is profiled on, the built-in one written where none is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mosear.runtime.errors import Failed
from mosear.runtime.profiling.built_in_clip import write_built_in
from mosear.runtime.transcript import sidecar_transcript


@dataclass(frozen=True)
class ClipAtHand:
    """A clip.

    Attributes:
        path: the file.
        name: what a profile calls it.
        transcript: what is said in it, from the file beside it, as ``mosear run`` takes it.
    """

    path: Path
    name: str
    transcript: str | None = None


@contextmanager
def clip_at_hand(clip: Path | None, window_s: float) -> Iterator[ClipAtHand]:
    """The clip, or the built-in one of ``window_s`` seconds in a folder that is gone afterwards.

    Raises:
        BadInput: the text beside the clip can't be read.
        Failed: there is no room for the built-in clip.
    """
    if clip is not None:
        yield ClipAtHand(clip, str(clip), sidecar_transcript(clip))
        return
    try:
        folder = TemporaryDirectory(prefix="mosear-profile-")
    except OSError as error:
        what = f"there is no folder for a clip to profile on ({error.strerror or error})"
        raise Failed(what, "name a clip, or a writable folder in TMPDIR") from error
    with folder as place:
        path = Path(place) / "built-in.mp4"
        yield ClipAtHand(path, write_built_in(path, window_s))

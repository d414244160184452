"""The transcript that lies beside a clip."""

from pathlib import Path

from mosear.runtime.errors import BadInput

_MAX_BYTES = 64 * 1024


def sidecar_transcript(clip: str | Path) -> str | None:
    """The text of the file that has the clip's name and the ending ``.txt``, or None when there is none.

    Raises:
        BadInput: the file can't be read, is not UTF-8, or is longer than 64 KiB.
    """
    clip = Path(clip)
    path = clip.with_suffix(".txt") if clip.name else clip
    try:
        if path == clip or not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read ({error})", "check its permissions, or give --transcript") from error
    if len(data) > _MAX_BYTES:
        raise BadInput(f"{path} is too long for a transcript of {clip.name}", "move it away, or give --transcript")
    try:
        return data.decode("utf-8-sig").strip() or None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text", "save it as UTF-8, move it away, or give --transcript") from error

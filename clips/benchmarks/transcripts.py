"""What is said in MER2023's clips, from the transcripts that its users keep beside it."""

from __future__ import annotations

from pathlib import Path

from mosear.clips.benchmarks.gather import LeftOutError
from mosear.clips.benchmarks.tables import read_table
from mosear.runtime.errors import BadInput

# File → its columns of English text, the first that it has. As Emotion-LLaMA and MERTools name them.
_FILES = {
    "transcription_en_all.csv": ("sentence", "sentence_en", "english"),
    "transcription-engchi-polish.csv": ("english",),
    "label-transcription.csv": ("english",),
}


def read_transcripts(root: Path) -> dict[str, str]:
    """By clip, what is said in it, in English; empty where ``root`` has none of the files that are known.

    Raises:
        BadInput: such a file or a line of it can't be read, or it has no column of names or of English text.
    """
    for file, columns in _FILES.items():
        if not (root / file).exists():
            continue
        table = read_table(root / file)
        column = next((each for each in columns if table.has(each)), columns[0])
        table.need("name", column)
        said: dict[str, str] = {}
        for row in table.rows:
            try:
                name, text = row.text("name"), row.text(column)
            except LeftOutError as left_out:
                raise BadInput(
                    f"{row.line} in {root} can't be read: {left_out}.", "Mend the line, or remove the file."
                ) from None
            if name and text:
                said.setdefault(name, text)
        return said
    return {}

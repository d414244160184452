"""EMER (Lian et al., 2023): some of MER2023's clips with a written account of the emotion and its clues.

    v1   ROOT/gt-eng.csv                names,emotions,subtitles,reasons     100 clips with MER2023's label
    v2   ROOT/final-EMER-reason.csv     name,chinese,english                 332 clips without a label

The files may also lie in ROOT/dataset-v1 and ROOT/dataset-v2, as in AffectGPT's repository. The clips are MER2023's:
give its folder with --media, or put them in ROOT/video.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mosear.clips.benchmarks.gather import Gathering, LeftOutError
from mosear.clips.benchmarks.layout import folders_below, label_file
from mosear.clips.benchmarks.media import MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.tables import Row, Table, read_table
from mosear.clips.benchmarks.transcripts import read_transcripts
from mosear.clips.benchmarks.words import label_of, to_model
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.modality import LABELS

TITLE = "EMER"
LICENCE = (
    "EMER: academic research only; its clips are MER2023's, whose End User License Agreement binds what is derived "
    "from them too."
)
HEADLINE = ("clue_overlap", "label_overlap")
FILES: Mapping[str, tuple[str, ...]] = {
    "v1": ("gt-eng.csv", "dataset-v1/gt-eng.csv"),
    "v2": ("final-EMER-reason.csv", "dataset-v2/final-EMER-reason.csv"),
}
"""By version, where its label file may be."""

CLIPS = ("video", "videos", "train", "test1", "test2", "test3")
"""Folders below ROOT, or below that of --media, in which clips are looked for; they come from several of MER2023's."""

_REMEDY = "Give the folder that holds gt-eng.csv (v1) or final-EMER-reason.csv (v2), or the file with --labels."


def read_emer(root: Path, options: ReadOptions) -> Benchmark:
    """Read the version that is asked for as a split (v1 or v2), else the one that is there.

    Raises:
        BadInput: no label file, columns of neither version, no folder of clips, no clip that can be used.
        UsageError: no such version, or both are there and none is asked for.
    """
    table = read_table(_label_file(root, options))
    version = _version(table, options.split)
    gathering = Gathering(str(table.path))
    media = folders_below(options.media or root, CLIPS)
    said = {} if version == "v1" else read_transcripts(root)
    for row in table.rows:
        if version == "v1":
            _add_v1(gathering, row, media)
        else:
            _add_v2(gathering, row, media, said)
    labels = LABELS if version == "v1" else ()
    return Benchmark(
        name="emer",
        title=f"{TITLE} {version}",
        labels=labels,
        clips=gathering.clips("Give the folder of MER2023, or of its clips, with --media."),
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=HEADLINE,
        to_model=to_model(labels),
    )


def _label_file(root: Path, options: ReadOptions) -> Path:
    if options.split is not None and options.split not in FILES:
        raise UsageError(f"EMER has no split {options.split!r}.", f"Use its version: {' or '.join(FILES)}.")
    if options.labels is not None:
        return options.labels
    there = [version for version, files in FILES.items() if any((root / file).exists() for file in files)]
    if options.split is None and len(there) > 1:
        raise UsageError(f"both versions of EMER are in {root}.", "Choose one: --split v1 or --split v2.")
    wanted = [options.split] if options.split else there or list(FILES)
    return label_file(root, [file for version in wanted for file in FILES[version]], _REMEDY)


def _version(table: Table, asked: str | None) -> str:
    version = asked or ("v1" if table.has("reasons") else "v2" if table.has("english") else None)
    if version is None:
        header = ", ".join(table.columns) or "nothing"
        raise BadInput(
            f"{table.path} is of neither version of EMER (its header: {header}).",
            "Version 1 has names, emotions, subtitles and reasons, version 2 has name, chinese and english.",
        )
    table.need(*(("names", "emotions", "reasons") if version == "v1" else ("name", "english")))
    return version


def _add_v1(gathering: Gathering, row: Row, media: MediaFolders) -> None:
    def clip(name: str) -> BenchmarkClip:
        return BenchmarkClip(
            name=name,
            label=label_of(row.text("emotions"), LABELS),
            reference=_account(row.text("reasons")),
            transcript=row.text("subtitles") or None,
            media=media.find(row.line, name),
        )

    gathering.add(row.line, lambda: row.name("names"), clip)


def _add_v2(gathering: Gathering, row: Row, media: MediaFolders, said: Mapping[str, str]) -> None:
    def clip(name: str) -> BenchmarkClip:
        return BenchmarkClip(
            name=name,
            reference=_account(row.text("english")),
            transcript=said.get(name),
            media=media.find(row.line, name),
        )

    gathering.add(row.line, lambda: row.name("name"), clip)


def _account(text: str) -> str:
    if not text:
        raise LeftOutError("it has no account in English to compare with")
    return text

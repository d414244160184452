"""MELD (Poria et al., ACL 2019): utterances of a television series with their speakers, seven emotions.

    ROOT/test_sent_emo.csv                                      Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,…
    ROOT/test/output_repeated_splits_test/dia0_utt0.mp4         also without test/
    ROOT/train/train_splits, ROOT/dev/dev_splits_complete       likewise

The label files may also lie in the folder of their split, as in the archive of raw clips. Some clips are missing there
(dia110_utt7 of dev), others are cut wrongly or can't be decoded (dia125_utt3 of train), which shows when they are read.
Some of the test clips are named final_videos_testdia0_utt0.mp4: used where there is none of the plain name.
"""

from __future__ import annotations

from pathlib import Path

from mosear.clips.benchmarks.gather import Gathering
from mosear.clips.benchmarks.layout import label_file, media_folders
from mosear.clips.benchmarks.media import MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.tables import Row, read_table
from mosear.clips.benchmarks.words import label_of, to_model
from mosear.runtime.errors import UsageError

TITLE = "MELD"
LICENCE = (
    "MELD: its repository is under GPL-3.0; the clips are from a television series, whose rights are others': for "
    "research only, and not to be passed on."
)
HEADLINE = ("weighted_f1", "accuracy")
LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
CLIPS = {
    "train": ("train_splits",),
    "dev": ("dev_splits_complete", "dev_splits"),
    "test": ("output_repeated_splits_test", "test_splits"),
}
"""By split, the names that its folder of clips may have."""

# The first release has these characters of Windows' code page 1252 as control characters.
_WINDOWS = {code: bytes([code]).decode("cp1252", "replace") for code in (0x85, 0x91, 0x92, 0x93, 0x94, 0x96, 0x97)}


def read_meld(root: Path, options: ReadOptions) -> Benchmark:
    """Read a split, test unless another is asked for. A clip's name is dia{Dialogue_ID}_utt{Utterance_ID}, its subset
    the split.

    Raises:
        BadInput: no label file, a column that is missing, no folder of clips, no clip that can be used.
        UsageError: no such split.
    """
    split = "test" if options.split is None else options.split.casefold()
    if split not in CLIPS:
        raise UsageError(f"MELD has no split {options.split!r}.", f"Use one of {', '.join(CLIPS)}.")
    file = f"{split}_sent_emo.csv"
    path = options.labels or label_file(
        root, [file, f"{split}/{file}"], f"Give the folder that holds {file}, or a label file with --labels."
    )
    table = read_table(path)
    table.need("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
    places = [place for name in CLIPS[split] for place in (f"{split}/{name}", name)]
    media = media_folders(root, [*places, split], options.media)
    gathering = Gathering(str(path))
    for row in table.rows:
        _add(gathering, row, split, media)
    return Benchmark(
        name="meld",
        title=TITLE,
        labels=LABELS,
        clips=gathering.clips("Check that the clips lie in the folder, or give theirs with --media."),
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=HEADLINE,
        to_model=to_model(LABELS),
    )


def _add(gathering: Gathering, row: Row, split: str, media: MediaFolders) -> None:
    def clip(name: str) -> BenchmarkClip:
        return BenchmarkClip(
            name=name,
            label=label_of(row.text("Emotion"), LABELS),
            media=media.find(row.line, name, f"final_videos_test{name}"),
            subset=split,
            speaker=row.text("Speaker") or None,
            transcript=row.text("Utterance").translate(_WINDOWS) or None,
        )

    gathering.add(row.line, lambda: f"dia{row.whole('Dialogue_ID')}_utt{row.whole('Utterance_ID')}", clip)

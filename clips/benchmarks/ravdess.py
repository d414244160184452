"""RAVDESS (Livingstone and Russo, PLoS ONE 2018): two sentences, spoken and sung by 24 actors with eight emotions.

    ROOT/…/01-01-06-01-02-01-12.mp4      in any folders below, as Actor_12 or Video_Speech_Actor_12

The name says all: modality (01 picture and sound, 02 picture only, 03 sound only), channel (01 speech, 02 song),
emotion (01 neutral, 02 calm, 03 happy, 04 sad, 05 angry, 06 fearful, 07 disgust, 08 surprised), intensity (01 normal,
02 strong), sentence (01 or 02), repetition (01 or 02), actor (01 to 24).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mosear.clips.benchmarks.gather import Gathering, LeftOutError
from mosear.clips.benchmarks.media import SOUND, VIDEO, MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.words import to_model
from mosear.runtime.errors import BadInput, UsageError

TITLE = "RAVDESS"
LICENCE = "RAVDESS: CC BY-NC-SA 4.0; name its authors, no commercial use without a licence of theirs."
HEADLINE = ("accuracy", "uar")
LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
MODALITIES = {"full-av": 1, "video-only": 2, "audio-only": 3}
CHANNELS = {"speech": 1, "song": 2}
SENTENCES = ("Kids are talking by the door.", "Dogs are sitting by the door.")
_HIGHEST = {"modality": 3, "channel": 2, "emotion": 8, "intensity": 2, "sentence": 2, "repetition": 2, "actor": 24}


def read_ravdess(root: Path, options: ReadOptions) -> Benchmark:
    """Read the takes below `root`, in the order of their names.

    Without a split: speech and song with picture and sound. A split names a channel (speech, song), a modality
    (full-av, video-only, audio-only), or one of each with a + between them. Every take is there once in each modality.
    A clip's subset is its channel, its speaker the actor's number.

    Raises:
        BadInput: nothing there, or no clip that can be used.
        UsageError: no such split.
    """
    modality, channels = _selection(options.split)
    gathering = Gathering(f"RAVDESS in {root}")
    media, files = MediaFolders([root]), _media_files(root)
    for path in files:
        numbers = _numbers(path.stem)
        # A name that is not RAVDESS's is told; a take of another modality or channel was not asked for.
        if numbers is None or (numbers["modality"] == modality and numbers["channel"] in channels):
            _add(gathering, str(path.relative_to(root)), numbers, media)
    remedy = "Give the folder that holds Actor_01 to Actor_24, with names such as 01-01-06-01-02-01-12.mp4."
    if files and gathering.is_empty():
        raise BadInput(
            f"none of the {len(files)} media files in {root} is of split {options.split or 'full-av'}.",
            f"Use another --split: {', '.join([*MODALITIES, *CHANNELS])}, or one of each as speech+audio-only.",
        )
    return Benchmark(
        name="ravdess",
        title=TITLE,
        labels=LABELS,
        clips=gathering.clips(remedy),
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=HEADLINE,
        to_model=to_model(LABELS),
    )


def _selection(split: str | None) -> tuple[int, set[int]]:
    """(code of the modality, codes of the channels)."""
    words = [word.strip().casefold() for word in split.split("+")] if split is not None else []
    modalities = [MODALITIES[word] for word in words if word in MODALITIES]
    channels = [CHANNELS[word] for word in words if word in CHANNELS]
    if len(modalities) + len(channels) < len(words) or len(modalities) > 1 or len(channels) > 1:
        raise UsageError(
            f"RAVDESS has no split {split!r}.",
            f"Use one of {', '.join([*MODALITIES, *CHANNELS])}, or one of each as speech+audio-only.",
        )
    return (modalities or [MODALITIES["full-av"]])[0], set(channels or CHANNELS.values())


def _media_files(root: Path) -> list[Path]:
    """Videos and sounds below `root` by name, hidden ones left out; a folder that links lead to again is read once."""
    found: list[Path] = []
    seen = {os.path.realpath(root)}
    for folder, folders, files in os.walk(root, followlinks=True):
        inner = {each: os.path.realpath(os.path.join(folder, each)) for each in folders if not each.startswith(".")}
        folders[:] = sorted(each for each, real in inner.items() if real not in seen)
        seen.update(inner.values())
        found += [Path(folder, file) for file in files if not file.startswith(".")]
    media = [each for each in found if each.suffix.casefold() in (*VIDEO, *SOUND)]
    return sorted(media, key=lambda path: (path.name, path))


def _numbers(stem: str) -> dict[str, int] | None:
    if not re.fullmatch(r"[0-9]{2}(-[0-9]{2}){6}", stem):
        return None
    return dict(zip(_HIGHEST, map(int, stem.split("-")), strict=True))


def _add(gathering: Gathering, file: str, numbers: dict[str, int] | None, media: MediaFolders) -> None:
    def clip(name: str) -> BenchmarkClip:
        if numbers is None:
            raise LeftOutError("its name is not of RAVDESS's seven numbers of two digits")
        wrong = [f"{part} {value:02}" for part, value in numbers.items() if not 1 <= value <= _HIGHEST[part]]
        if wrong:
            raise LeftOutError(f"its name has {', '.join(wrong)}, which RAVDESS has not")
        return BenchmarkClip(
            name=name,
            media=media.find(file, file),
            label=LABELS[numbers["emotion"] - 1],
            subset=next(word for word, code in CHANNELS.items() if code == numbers["channel"]),
            speaker=f"{numbers['actor']:02}",
            transcript=SENTENCES[numbers["sentence"] - 1],
        )

    # A file's name need not be Unicode, and a benchmark's clips are called by text.
    shown = file.encode("utf-8", "replace").decode()
    gathering.add(shown, lambda: Path(shown).stem, clip)

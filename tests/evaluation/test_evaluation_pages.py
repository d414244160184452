"""The pages: what is measured is on them, whatever a name holds is shown as text, and they need nothing else."""

from pathlib import Path

import pytest
from strict_page import Page

from mosear.clips.benchmarks.record import Skipped
from mosear.evaluation.comparing import compare_runs
from mosear.evaluation.finish import figures_of, finish
from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.evaluation.report.ablation_page import write_ablation
from mosear.evaluation.report.comparison_page import comparison_page
from mosear.evaluation.report.page import page
from mosear.evaluation.results import Run, RunWriter, read_run
from mosear.evaluation.variants import ABLATION
from mosear.runtime.errors import BadInput

HOSTILE = "<script>alert(1)</script>&\"'\u202e"
SUBSETS = ("video_aligned", "audio_aligned", "consistent")


def setup(variant: str = "", name: str = "toy", title: str = "CA-MER") -> dict:
    return {
        "subject": {"kind": "bundle", "name": name, "sha256": "0" * 64, "target": "cpu", "backend": "onnxruntime",
                    "precision": "int8", "mose": "merged", "gates": {}},
        "benchmark": {"name": "ca-mer", "title": title, "split": None, "fold": None,
                      "headline": ["modality_gap", "accuracy"], "clips": 24, "sha256": "1" * 64},
        "answer": "score", "reason": False, "window_s": None, "hop_s": None, "words": ["happy", "sad"],
        "truth": {}, "synonyms": None, "base_reallocation": None, "variant": variant,
    }  # fmt: skip


def records(flip: int, hostile: bool = False) -> list[ClipRecord]:
    """24 clips, eight a subset; every ``flip``-th is wrong."""
    found = []
    for place in range(24):
        label = ("happy", "sad")[place % 2]
        other = ("sad", "happy")[place % 2]
        predicted = other if place % flip == 0 else label
        scores = {predicted: 0.8, ("sad" if predicted == "happy" else "happy"): 0.2}
        found.append(
            ClipRecord(
                name=HOSTILE if hostile and not place else f"clip{place}",
                label=label,
                predicted=predicted,
                subset=SUBSETS[place % 3],
                windows=1,
                scores=scores,
                by_modality={"visual": {label: 0.9, other: 0.1}, "audio": {other: 0.7, label: 0.3}},
                conflict=place / 23,
                reliance={"visual": 0.3, "audio": 0.5, "text": 0.2},
                reallocated=1.0,
            )
        )
    return found


def written(folder: Path, flip: int, hostile: bool = False, attention: bool = True, **more: str) -> Run:
    with RunWriter(folder, setup(**more), {"root": "/clips", "licence": HOSTILE, "notice": "A toy."}) as writer:
        answered = records(flip, hostile)
        for place, record in enumerate(answered):
            mass = [[[0.2, 0.3, 0.5], [0.4, 0.6, 0.0]]]
            told = AttentionRecord(
                record.name, [7], mass, [[float(place % 2), 0.0]], {"m": [[0.4, 0, 0.6], [0, 0.5, 0.5]]}
            )
            writer.add(record, told if attention else None)
        writer.finish([record.name for record in answered], [Skipped(HOSTILE, "not there")])
    return read_run(folder)


def test_the_page_of_a_run_says_what_was_measured(tmp_path: Path) -> None:
    run = written(tmp_path / "run", 6)
    shown = Page(page(run, figures_of(run)))
    text = " ".join(shown.text)
    assert "83.3 %" in text  # 20 of 24
    assert "toy, cpu, int8 on CA-MER" in text
    assert "A toy." in text
    # Head 0 of layer 7: 0.5 of 0.8 on media is on sound.
    assert "Audio share of the attention on media: all clips, 24 clips." in text
    assert "Reallocated: all clips, 24 clips." in text
    for name in ("visual rows", "video aligned", "0.75 to 1.00", "they differ"):
        assert name in text, name


def test_it_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    run = written(tmp_path / "run", 6, hostile=True)
    source = page(run, figures_of(run))
    shown = Page(source)
    assert {tag for tag, _ in shown.tags}.isdisjoint({"script", "link", "iframe", "object"})
    for tag, attributes in shown.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith(("#", "data:image/png;base64,")), (tag, value)
    assert any(HOSTILE.split("&")[0] in part for part in shown.text)
    assert "@import" not in source
    assert "url(http" not in source


def test_a_run_without_attention_says_so(tmp_path: Path) -> None:
    run = written(tmp_path / "run", 6, attention=False)
    text = " ".join(Page(page(run, figures_of(run))).text)
    assert "reports" in text or "report none" in text
    assert "Audio share" not in text


def test_two_runs(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", 3), written(tmp_path / "b", 6, hostile=True, name=HOSTILE)
    found = compare_runs(a, b, resamples=200)
    # a is wrong in 8 clips, b in 4 of the same; one clip has another name.
    assert found["clips"]["both"] == 23
    assert (found["mcnemar"]["b"], found["mcnemar"]["c"]) == (0, 4)
    text = " ".join(Page(comparison_page(a, b, found)).text)
    assert "4 that only B answers right, 0 that only A does" in text.replace("  ", " ")
    assert HOSTILE.split("&")[0] in text


def test_runs_that_can_not_be_compared(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", 3), written(tmp_path / "b", 3, title="DFEW")
    with pytest.raises(BadInput, match=r"CA-MER.*DFEW"):
        compare_runs(a, b)
    with RunWriter(tmp_path / "c", setup(), {}) as writer:
        writer.add(ClipRecord("elsewhere", "sad", "sad", scores={"sad": 1.0, "happy": 0.0}), None)
    with pytest.raises(BadInput, match="no clip in common"):
        compare_runs(a, read_run(tmp_path / "c"))


def test_an_ablation(tmp_path: Path) -> None:
    flips = dict(zip(ABLATION, (3, 4, 6, 12), strict=True))
    for name, flip in flips.items():
        written(tmp_path / name, flip, variant=name)
    figures = {name: finish(tmp_path / name, None, report=False) for name in ABLATION}
    write_ablation(tmp_path, figures)
    shown = Page((tmp_path / "report.html").read_text())
    text = " ".join(shown.text)
    for wrong in (8, 6, 4, 2):
        assert f"{100 * (24 - wrong) / 24:.1f} %" in text
    assert "+25.0" in text  # both against the base: 22 right against 16
    links = [attributes["href"] for tag, attributes in shown.tags if tag == "a"]
    assert links == [f"{name}/report.html" for name in ABLATION]

"""Markdown as a Markdown reader sees it, and the table for people on terminals of every width."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from profile_examples import full_profile
from rich.cells import cell_len
from rich.console import Console

from mosear.runtime.profiling.forms.markdown import to_markdown
from mosear.runtime.profiling.forms.rows import facts
from mosear.runtime.profiling.forms.words import inline, named, short
from mosear.runtime.profiling.forms.write import Form, render
from mosear.runtime.profiling.record import Profile

BARE: dict[str, Any] = {
    "energy": None,
    "memory": [],
    "timeline": [],
    "operators": None,
    "operators_method": "no profiler here",
    "cold_start": {},
    "warnings": [],
    "context": {},
    "spans": [],
}


def tables(text: str) -> list[list[list[str]]]:
    """Cells of all tables, as rendered."""
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            parts = tokens[place + 1].children or []
            assert all(part.type in ("text", "text_special") for part in parts), "markup in a cell"
            found[-1][-1].append("".join(part.content for part in parts))
    return found


def shown(profile: Profile, width: int, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    return render(profile, Form.human, console)


def test_markdown_tables_are_whole_and_hold_the_record_s_figures() -> None:
    profile = full_profile()
    steady, cold, cost, operators = tables(to_markdown(profile))
    for table in (steady, cold, cost, operators):
        assert len({len(row) for row in table}) == 1
    head, figures = steady[0], {row[0]: row for row in steady[1:]}
    samples = profile.samples["media_decode"]
    told = {name: float(cell) for name, cell in zip(head[1:], figures["media decode"][1:], strict=True)}
    assert told["p90"] == pytest.approx(np.percentile(samples, 90), rel=6e-4)
    assert told["mean"] == pytest.approx(np.mean(samples), rel=6e-4)
    assert told["std"] == pytest.approx(np.std(samples, ddof=1), rel=6e-4)
    assert told["count"] == 30
    assert [row[0] for row in cold[1:]] == ["imports", "opening", "graphs", "first answer"]
    assert ["peak memory, process", "812.3 MB", "VmHWM of /proc/self/status, reset before the runs"] in cost
    heaviest = max(profile.operators or [], key=lambda each: each.ms)
    assert operators[1][:3] == [heaviest.graph, str(heaviest.layer), heaviest.operator]
    assert float(operators[1][4]) == pytest.approx(heaviest.ms, rel=6e-4)


def test_markdown_says_what_was_not_measured() -> None:
    profile = dataclasses.replace(full_profile(2), **BARE)
    for metric in ("time_to_first_token", "token_decode"):
        del profile.samples[metric]
    text = to_markdown(profile)
    assert "Not measured: token decode, time to first token." in text
    assert "Energy was not measured" in text
    assert "no profiler here" in text
    assert "## Cold start\n\nNot measured." in text


def test_facts_hold_what_changed_and_what_is_known_only_later() -> None:
    told = facts(full_profile(2))
    assert told["temperatures"] == "cpu: 45, gpu: 44.5 → cpu: 51.25, gpu: 44.5"
    assert told["throttled after"] == "no"
    assert told["clocks locked"] == "no"
    assert (told["runs"], told["window"], told["scenario"]) == ("2", "3 s", "single-stream")
    assert "threads" not in told, "None: the library's own choice"
    clash = dataclasses.replace(full_profile(2), context={"runs": 7})
    assert (facts(clash)["runs"], facts(clash)["runs (machine)"]) == ("2", "7")


EVIL = "a|b\n| c | `x` **y** <img src=x onerror=alert(1)> [l](javascript:z) \\ ~~s~~ # h &amp; _e_ \x1b[31m[bold red]"


def hostile() -> Profile:
    profile = full_profile(2, name=EVIL)
    operators = [dataclasses.replace(each, operator=EVIL, graph=EVIL) for each in profile.operators or []]
    memory = [dataclasses.replace(each, method=EVIL) for each in profile.memory]
    energy = dataclasses.replace(profile.energy, rail=EVIL, rails_w={EVIL: 1.0}) if profile.energy else None
    profile.samples[EVIL] = [1.0, 2.0]
    return dataclasses.replace(
        profile,
        clip=EVIL,
        warnings=[EVIL],
        operators=operators,
        operators_method=EVIL,
        memory=memory,
        energy=energy,
        context={EVIL: {EVIL: EVIL}},
        cold_start={EVIL: [1.0]},
    )


def test_nothing_in_a_name_is_read_as_markdown() -> None:
    text = to_markdown(hostile())
    assert all(len({len(row) for row in table}) == 1 for table in tables(text))
    page = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(text)
    for mark in ("<img", "<a ", "<em>", "<code>", "<del>", "\x1b"):
        assert mark not in page
    assert set(re.findall(r"<strong>(.*?)</strong>", page)) == {"Note:"}
    assert page.count("onerror=alert(1)&gt; [l](javascript:z) \\ ~~s~~ # h &amp;amp; _e_") >= 10


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for profile in (full_profile(3), hostile(), dataclasses.replace(full_profile(1), **BARE)):
        lines = shown(profile, width).splitlines()
        assert max(cell_len(line) for line in lines) <= width
        assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_people_read_the_record_s_figures(width: int) -> None:
    profile = full_profile()
    lines = shown(profile, width).splitlines()
    head = next(line for line in lines if "p50" in line).split()
    row = next(line for line in lines if line.startswith("  end to end")).removeprefix("  end to end").split()
    told = dict(zip(head, row, strict=False))
    samples = profile.samples["end_to_end"]
    for at in (50, 90, 95, 99):
        assert float(told[f"p{at}"]) == pytest.approx(np.percentile(samples, at), rel=6e-4)
    assert float(told["mean"]) == pytest.approx(np.mean(samples), rel=6e-4)
    words = " ".join(shown(profile, width).split())
    for text in ("clocks are not locked", "MAXN_SUPER", "812.3 MB", "0.7214 J", "0.3511 J", "imports 421.8"):
        assert text in words


def test_narrow_terminals_show_the_median_first() -> None:
    text = shown(full_profile(3), 40)
    assert "p50" in text
    assert "p99" not in text


def test_people_are_told_what_was_not_measured() -> None:
    profile = dataclasses.replace(full_profile(2), **BARE)
    del profile.samples["vision"]
    text = " ".join(shown(profile, 80).split())
    assert "not measured: vision encoder" in text
    assert "Energy was not measured: no power rail could be read." in text
    assert "Memory was not measured." in text
    assert "no profiler here" in text
    nothing = dataclasses.replace(profile, samples={})
    assert "Steady state, milliseconds unless said not measured" in " ".join(shown(nothing, 80).split())


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in shown(full_profile(2), 80, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    coloured = shown(full_profile(2), 80, force_terminal=True)
    assert not re.search(r"\x1b\[(?:\d+;)*3[0-7]", coloured)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((0.0, "0"), (1.0, "1.000"), (76.977, "76.98"), (812.34, "812.3"), (12345.6, "12346"), (1234567.0, "1234567")),
        *((0.00138, "0.001380"), (0.0000123, "1.23e-05"), (-2.5, "-2.500"), (7, "7"), (None, "-")),
        (float("nan"), "not a number"),
    ],
)
def test_numbers_are_written_as_people_do(value: float | None, told: str) -> None:
    assert short(value) == told


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("window_s", 3.0, ("window", "3 s")),
        ("memory_bytes", 8_000_000_000, ("memory", "8000 MB")),
        ("clocks_locked", False, ("clocks locked", "no")),
        ("is_s", True, ("is s", "yes")),
        ("mode", None, ("mode", "not known")),
        ("cores", [1, 2.5, {"a_mhz": 3}], ("cores", "1, 2.5, (a: 3 MHz)")),
        ("empty", {}, ("empty", "none")),
        ("name", "a\nb", ("name", "a b")),
    ],
)
def test_facts_are_told_in_words(key: str, value: Any, told: tuple[str, str]) -> None:
    assert named(key, value) == told
    assert "\n" not in inline(value)

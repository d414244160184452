"""A comparison in every form: the record's figures, whole tables, names as text."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from page_layout import CHROMIUM, layout
from profile_examples import full_comparison
from rich.cells import cell_len
from rich.console import Console
from strict_page import Page, assert_alone, tables

from mosear.runtime.errors import UsageError
from mosear.runtime.profiling.compare import Comparison
from mosear.runtime.profiling.forms.write import Form, form_of, render_comparison, write_comparison

EVIL = "a|b\n\"><script>alert(1)</script><img src=x onerror='x'> `c` **d** [e](f) \x1b[31m[bold red]"


def shown(comparison: Comparison, width: int) -> str:
    return render_comparison(comparison, Form.human, Console(file=io.StringIO(), width=width, highlight=False))


def hostile() -> Comparison:
    found = full_comparison()
    side = {"name": EVIL, "path": EVIL, EVIL: EVIL}
    changed = [dataclasses.replace(each, name=EVIL) for each in found.metrics]
    return Comparison(EVIL, side, side, EVIL, {EVIL: EVIL}, changed, EVIL, {EVIL: {EVIL: 1}}, [EVIL], EVIL)


def test_json_is_the_record() -> None:
    comparison = full_comparison()
    content = json.loads(render_comparison(comparison, Form.json), parse_constant=pytest.fail)
    assert content == comparison.to_dict()


def test_json_of_a_ratio_that_is_no_number_is_strict() -> None:
    comparison = full_comparison()
    comparison.metrics[0] = dataclasses.replace(comparison.metrics[0], ratio=float("inf"))
    content = json.loads(render_comparison(comparison, Form.json), parse_constant=pytest.fail)
    assert content["metrics"][0]["ratio"] is None


def test_csv_has_a_row_a_metric() -> None:
    comparison = full_comparison()
    rows = list(csv.DictReader(io.StringIO(render_comparison(comparison, Form.csv), newline=""), strict=True))
    assert [row["metric"] for row in rows] == [each.name for each in comparison.metrics]
    for row, each in zip(rows, comparison.metrics, strict=True):
        assert (float(row["a"]), float(row["b"]), float(row["ratio"])) == (each.a, each.b, each.ratio)
        assert row["verdict"] == each.verdict
        assert row["low"] == ("" if each.low is None else str(each.low))
        assert (row["a_name"], row["b_name"]) == ("reference-int8", "reference-int4")
        assert None not in row


def test_people_read_ratio_interval_and_verdict() -> None:
    lines = shown(full_comparison(), 100).splitlines()
    row = next(line for line in lines if line.startswith("  end to end"))
    assert re.split(r"\s{2,}", row.strip()) == [
        *("end to end", "76.90", "61.52", "0.8000", "0.7813 to 0.8207", "30", "faster"),
    ]
    words = " ".join(" ".join(lines).split())
    assert "reference-int4 compared with reference-int8" in words
    assert "! clocks are not locked" in words
    assert "Fewer than 6 values, so without an interval and a verdict: label scoring." in words
    assert "with 95% confidence" in words


@pytest.mark.parametrize("width", [30, 40, 64, 80, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for comparison in (full_comparison(), hostile(), dataclasses.replace(full_comparison(), metrics=[])):
        text = shown(comparison, width)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "\x1b" not in text


def test_a_narrow_terminal_still_tells_the_verdict() -> None:
    row = next(line for line in shown(full_comparison(), 50).splitlines() if line.startswith("  end to end"))
    assert row.split() == ["end", "to", "end", "0.8000", "faster"]


def test_markdown_is_whole_and_nothing_in_a_name_is_read_as_markup() -> None:
    text = render_comparison(full_comparison(), Form.markdown)
    assert "| end to end | 76.90 | 61.52 | 0.8000 | 0.7813 to 0.8207 | 30 | faster |" in text.splitlines()
    assert "| precision | int8 | int4 |" in text.splitlines()
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(render_comparison(hostile(), Form.markdown))
    for mark in ("<img", "<script", "<a ", "<code>", "<em>", "\x1b"):
        assert mark not in page
    assert set(re.findall(r"<strong>(.*?)</strong>", page)) == {"Note:"}
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        assert len(re.findall(r"<t[hd]", row)) in (3, 7)


def test_the_page_holds_the_figures_and_needs_nothing_else() -> None:
    source = render_comparison(full_comparison(), Form.html)
    assert_alone(source)
    told = {line[0]: line[1:] for table in tables(source) for line in table}
    assert told["prefill"] == ["41.00", "45.10", "1.100", "1.080 to 1.122", "30", "slower"]
    assert told["label scoring"] == ["1.300", "1.200", "0.9231", "-", "3", "no difference seen"]
    assert "B is, compared with A: prefill slower, end to end faster, tokens a second faster." in Page(source).words


def test_dots_lie_where_their_ratios_are() -> None:
    source = render_comparison(full_comparison(), Form.html)
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', source)]
    one = float(re.findall(r'<line x1="([\d.]+)"[^>]*class="mark"', source)[0])
    ratios = [each.ratio for each in full_comparison().metrics]
    scale = (dots[3] - dots[2]) / (ratios[3] - ratios[2])
    assert [(dot - one) / scale + 1 for dot in dots] == pytest.approx(ratios, abs=0.002)


def test_hostile_text_stays_text_on_the_page() -> None:
    source = render_comparison(hostile(), Form.html)
    assert {tag for tag, _ in Page(source).tags} & {"script", "img"} == set()


def test_files_by_their_endings_and_no_trace(tmp_path: Path) -> None:
    for name in ("c.json", "c.csv", "c.md", "c.html"):
        write_comparison(full_comparison(), tmp_path / name)
        text = render_comparison(full_comparison(), form_of(tmp_path / name))
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    for refused in ("c.trace.json", "c.txt"):
        with pytest.raises(UsageError) as caught:
            write_comparison(full_comparison(), tmp_path / refused)
        assert caught.value.remedy == "give a name that ends in .json, .csv, .md or .html"
    with pytest.raises(UsageError, match="no trace"):
        render_comparison(full_comparison(), Form.trace)
    assert sorted(os.listdir(tmp_path)) == ["c.csv", "c.html", "c.json", "c.md"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium to lay the page out")
def test_page_fits_a_phone(tmp_path: Path) -> None:
    measured = layout(render_comparison(hostile(), Form.html), 320, tmp_path)
    assert measured["scroll"] <= measured["client"]
    assert measured["wide"] == []

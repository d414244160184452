"""A study's page in a real Chromium: a whole study by mouse and by keys, kept over a reload, and no word to anybody."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import runtime_media
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from study_browser import StudyBrowser, study_browser
from study_runs import page_data, two_runs, write_run

from mosear.evaluation.study.analyse import analyse
from mosear.evaluation.study.make import Study, make_study

HOSTILE = {
    "clip0": "</script><script>document.title = 'taken'</script>",
    "clip1": '<img src="x" onerror="document.title = \'taken\'"> &amp; <b>bold</b>',
    "clip2": "line\u2028separator\u2029\u202eright to left, never ended",
    "clip3": "one word of twenty thousand letters: " + "x" * 20_000,
    "clip4": "שלום, he says.\n\nA second paragraph.",
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyBrowser]:
    with study_browser(tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Six clips, four of which the page holds: one as it is, one converted, one of sound alone, one that is broken."""
    folder = tmp_path_factory.mktemp("study")
    runtime_media.write(folder / "clip0.mp4", seconds=0.5)
    runtime_media.write(folder / "clip1.mp4", seconds=0.5, codec="mpeg4")
    runtime_media.write(folder / "clip2.mp4", seconds=0.5, video=False)
    a, b = two_runs(folder, 6, root=folder)
    return make_study(a, b, folder / "study.html", organiser="Ada, room 4")


@pytest.fixture(autouse=True)
def _no_word_to_anybody(tab: StudyBrowser) -> Iterator[None]:
    tab.complaints()
    tab.addresses()
    yield
    assert tab.complaints() == []
    asked = [each for each in tab.addresses() if not each.startswith(("blob:", "data:", "about:"))]
    assert [each for each in asked if not re.fullmatch(r"file:///.*\.html", each)] == []


def address(study: Study) -> str:
    return study.page.as_uri()


def shown(tab: StudyBrowser, study: Study) -> str:
    """The item that is on the screen, found by its text."""
    left = tab.text("#left")
    return next(str(item["id"]) for item in page_data(study.page)["items"] if item["left"] == left)


def side_of(study: Study, item: str, run: str) -> str:
    left = next(clip.left for clip in study.key.clips if clip.item == item)
    return "left" if left == run else "right"


def test_a_whole_study_by_mouse(tab: StudyBrowser, study: Study, tmp_path: Path) -> None:
    tab.open(address(study))
    assert "Ada, room 4" in tab.text("#start")
    assert "sends nothing anywhere" in tab.text("#start")
    tab.click("#go")
    assert tab.visible("#start"), "without an id it does not begin"
    tab.begin("r07")
    order = []
    for number in range(6):
        assert tab.text("#place") == f"Question {number + 1} of 6"
        assert tab.focused() == "place"
        order.append(shown(tab, study))
        if number == 0:
            tab.click("#next")
            assert "Choose one of them first" in tab.text("#told")
            assert tab.text("#place") == "Question 1 of 6"
        tab.click(f"#choices input[value={side_of(study, order[-1], 'A')}]")
        if number == 2:
            tab.driver.find_element("css selector", "#comment").send_keys("too dark to see")
        tab.click("#next")
    assert "6 of 6 questions have an answer" in tab.text("#count")
    assert not tab.visible("#open")
    tab.click("#save")
    file = tab.downloaded("answers-r07.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["order"] == order
    assert content["complete"] is True
    assert set(content) == {"schema", "page", "rater", "complete", "order", "choices"}
    results = analyse(study.key_file, [file], resamples=50)
    assert results["rates"]["A"]["share"] == 1.0
    assert results["raters"][0]["judged"] == 6
    names = {clip.item: clip.name for clip in study.key.clips}
    assert results["comments"] == [{"rater": "r07", "clip": names[order[2]], "comment": "too dark to see"}]


def test_a_whole_study_by_keys(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.press(Keys.TAB, *"r08", Keys.ENTER)
    chosen = {}
    for number, (key, side) in enumerate(
        (("1", "left"), ("2", "right"), ("3", "tie"), (Keys.ARROW_LEFT, "left"), (Keys.ARROW_RIGHT, "right"))
    ):
        assert tab.text("#place") == f"Question {number + 1} of 6"
        tab.press(Keys.ENTER)
        assert "Choose one of them first" in tab.text("#told")
        tab.press(key)
        chosen[shown(tab, study)] = side
        assert tab.text("#told") == ""
        words = {"left": "Reason 1 fits better", "right": "Reason 2 fits better", "tie": "About equal"}
        assert tab.text("#chosen") == f"Chosen: {words[side]}."
        tab.press(Keys.ENTER)
    # Through the group of choices by tab and arrows, as without any key of the page's own.
    tab.js("return document.querySelector('#choices input').focus()")
    tab.press(Keys.SPACE, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    chosen[shown(tab, study)] = "tie"
    tab.press(Keys.ENTER)
    assert tab.focused() == "end-head"
    tab.js("return document.querySelector('#save').focus()")
    tab.press(Keys.ENTER)
    content = json.loads(tab.downloaded("answers-r08.json").read_text(encoding="utf-8"))
    assert {each["item"]: each["choice"] for each in content["choices"]} == chosen


def test_keys_leave_fields_and_players_alone_and_can_be_turned_off(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    tab.js("return document.querySelector('#comment').focus()")
    tab.press("1", "2", Keys.ENTER, "3", Keys.BACKSPACE, Keys.ARROW_LEFT)
    assert tab.js("return document.querySelector('#comment').value") == "12\n"
    assert tab.js("return document.querySelector('#choices :checked')") is None
    assert tab.text("#place") == "Question 1 of 6"
    tab.click("#single-keys")
    tab.js("return document.querySelector('#place').focus()")
    tab.press("1", Keys.ARROW_RIGHT)
    assert tab.js("return document.querySelector('#choices :checked')") is None
    tab.click("#single-keys")
    tab.js("return document.querySelector('#place').focus()")
    ActionChains(tab.driver).key_down(Keys.CONTROL).send_keys("1").key_up(Keys.CONTROL).perform()
    assert tab.js("return document.querySelector('#choices :checked')") is None
    tab.press("2")
    assert tab.js("return document.querySelector('#choices :checked').value") == "right"


def test_a_reload_goes_on_where_it_was(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    first = shown(tab, study)
    tab.press("1", Keys.ENTER, "2", Keys.ENTER)
    third = shown(tab, study)
    tab.driver.find_element("css selector", "#comment").send_keys("half a thought")
    tab.driver.refresh()
    assert tab.js("return document.querySelector('#rater').value") == "r1"
    assert "2 of 6" in tab.text("#known")
    assert tab.text("#go") == "Go on"
    tab.click("#go")
    assert tab.text("#place") == "Question 3 of 6"
    assert shown(tab, study) == third
    assert tab.js("return document.querySelector('#comment').value") == "half a thought"
    tab.click("#back")
    tab.click("#back")
    assert shown(tab, study) == first
    assert tab.js("return document.querySelector('#choices :checked').value") == "left"
    # Another rater on the same machine begins anew, and does not end the first one's.
    tab.driver.refresh()
    tab.begin("r2")
    assert tab.text("#place") == "Question 1 of 6"
    assert tab.js("return document.querySelector('#choices :checked')") is None
    tab.driver.refresh()
    tab.begin("r1")
    assert tab.js("return document.querySelector('#progress').value") == 2


def test_going_back_changes_a_choice(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    item = shown(tab, study)
    assert not tab.driver.find_element("css selector", "#back").is_enabled()
    tab.press("1", Keys.ENTER)
    tab.press(Keys.BACKSPACE)
    assert shown(tab, study) == item
    tab.press("3", Keys.ENTER)
    tab.click("#save-part")
    content = json.loads(tab.downloaded("answers-r1.json").read_text(encoding="utf-8"))
    entry = next(each for each in content["choices"] if each["item"] == item)
    assert (entry["choice"], entry["changes"]) == ("tie", 1)
    assert entry["seconds"] >= 0
    assert content["complete"] is False
    assert [each["choice"] for each in content["choices"]].count(None) == 5
    assert [each["seconds"] for each in content["choices"]].count(None) == 5
    assert analyse(study.key_file, [tab.downloads / "answers-r1.json"], resamples=50)["raters"][0]["judged"] == 1


def test_a_skipped_question_is_found_again(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    tab.press("1", Keys.ENTER)
    skipped = shown(tab, study)
    tab.click("#skip")
    for _ in range(4):
        assert tab.visible("#skip")
        tab.press("1", Keys.ENTER)
    assert "5 of 6 questions have an answer" in tab.text("#count")
    tab.click("#open")
    assert shown(tab, study) == skipped
    tab.press("2")
    assert not tab.visible("#skip")


def test_each_rater_sees_another_order(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    orders = set()
    for rater in ("r1", "r2", "r3", "r4", "r1"):
        tab.driver.get(address(study))
        tab.begin(rater)
        tab.click("#save-part")
        path = tab.downloaded(f"answers-{rater}.json")
        orders.add(tuple(json.loads(path.read_text(encoding="utf-8"))["order"]))
        path.unlink()
    assert {tuple(sorted(order)) for order in orders} == {tuple(clip.item for clip in study.key.clips)}
    # Of 720 orders: that two of four raters share one by chance is one case in 121, and this page's ids are fixed.
    assert len(orders) == 4


def test_clips_play(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    kinds = {clip.item: clip for clip in study.key.clips}
    seen = {}
    for _ in range(6):
        clip = kinds[shown(tab, study)]
        if clip.media == "named":
            assert clip.name in tab.text("#clip")
        else:
            script = "return document.querySelector('#clip video, #clip audio')"
            tab.until(lambda s=script: tab.js(f"{s}.readyState >= 2"), f"{clip.name} can be played")
            assert tab.js(f"{script}.duration") == pytest.approx(0.5, abs=0.1)
            seen[clip.name] = str(tab.js(f"{script}.tagName")), tab.js(f"{script}.videoWidth || 0")
            assert clip.name not in str(tab.js("return document.querySelector('#watch').outerHTML"))
        assert tab.text("#said") == "I did not expect that."
        tab.press("1", Keys.ENTER)
    assert seen == {"clip0": ("VIDEO", 64), "clip1": ("VIDEO", 64), "clip2": ("AUDIO", 0)}
    assert {clip.name for clip in study.key.clips if clip.media == "converted"} == {"clip1"}


def test_hostile_reasons_are_text(tab: StudyBrowser, tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", "first", HOSTILE, transcript=HOSTILE["clip0"])
    b = write_run(tmp_path / "b", "second", dict.fromkeys(HOSTILE, "fine"), transcript=HOSTILE["clip0"])
    study = make_study(a, b, tmp_path / "study.html", title="<i>Which</i> & why?")
    tab.open(address(study), 320, 568)
    tab.begin("<b>__proto__</b>")
    found = set()
    for _ in HOSTILE:
        found |= {tab.text("#left"), tab.text("#right")}
        assert tab.text("#said") == HOSTILE["clip0"]
        assert tab.js("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        # An override that is never ended ends with its text.
        assert tab.js("return getComputedStyle(document.querySelector('#left')).unicodeBidi") == "isolate"
        tab.press("1", Keys.ENTER)
    assert found == {"fine", *HOSTILE.values()}
    assert tab.driver.title == "<i>Which</i> & why?"
    assert tab.js("return document.querySelectorAll('main img, main b, main i').length") == 0
    tab.click("#save")
    content = json.loads(tab.downloaded("answers-_b___proto____b_.json").read_text(encoding="utf-8"))
    assert content["rater"] == "<b>__proto__</b>"


def test_a_browser_that_keeps_nothing_says_so_and_works(tab: StudyBrowser, tmp_path: Path) -> None:
    a, b = two_runs(tmp_path, 2)
    study = make_study(a, b, tmp_path / "study.html", tie=False)
    # A page from a data: address has an origin of its own without storage.
    packed = base64.b64encode(study.page.read_bytes()).decode("ascii")
    tab.open(f"data:text/html;base64,{packed}")
    tab.begin("r1")
    assert "keeps nothing" in tab.text("#kept")
    tab.press("3")
    assert tab.js("return document.querySelector('#choices :checked')") is None, "no ties here"
    tab.press("1", Keys.ENTER, "2", Keys.ENTER)
    tab.press(Keys.SHIFT)
    tab.click("#review")
    assert tab.js("return document.querySelector('#choices :checked').value") == "right"
    tab.press(Keys.ENTER)
    tab.click("#save")
    results = analyse(study.key_file, [tab.downloaded("answers-r1.json")], resamples=50)
    assert results["raters"][0]["judged"] == 2
    assert results["raters"][0]["tie"] == 0


def test_a_full_store_is_said(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    assert "kept in this browser" in tab.text("#kept")
    tab.js("return Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    tab.press("1")
    assert "keeps nothing" in tab.text("#kept")
    tab.press(Keys.ENTER, Keys.BACKSPACE)
    assert tab.js("return document.querySelector('#choices :checked').value") == "left"
    tab.click("#save-part")
    assert tab.downloaded("answers-r1.json").is_file()


@pytest.mark.parametrize(
    "kept", ["{", "null", '{"rater": "r1", "entries": {}}', '{"rater": "r1", "entries": [null, 7]}']
)
def test_damaged_progress_is_no_progress(tab: StudyBrowser, study: Study, kept: str) -> None:
    tab.open(address(study))
    tab.js("return localStorage.setItem(arguments[0], arguments[1])", f"mosear.study:{study.key.page}:rater:r1", kept)
    tab.begin("r1")
    assert tab.text("#place") == "Question 1 of 6"
    tab.press("1", Keys.ENTER)
    assert tab.text("#place") == "Question 2 of 6"


def test_answers_can_be_removed(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    for _ in range(6):
        tab.press("1", Keys.ENTER)
    tab.click("#forget")
    tab.driver.switch_to.alert.dismiss()
    assert tab.visible("#end")
    assert tab.js("return localStorage.length") == 2
    tab.click("#forget")
    tab.driver.switch_to.alert.accept()
    assert tab.visible("#start")
    assert tab.js("return localStorage.length") == 0
    tab.begin("r1")
    assert tab.text("#place") == "Question 1 of 6"
    assert tab.js("return document.querySelector('#progress').value") == 0


def test_two_tabs_of_one_rater_do_not_lose_choices(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    first = tab.driver.current_window_handle
    tab.driver.switch_to.new_window("tab")
    try:
        tab.driver.get(address(study))
        tab.begin("r1")
        tab.press("2", Keys.ENTER, "2")
    finally:
        tab.driver.close()
        tab.driver.switch_to.window(first)
    tab.until(lambda: "another tab" in tab.text("#told"), "the other tab's choices")
    assert tab.text("#place") == "Question 2 of 6"
    tab.press("1")
    tab.click("#save-part")
    content = json.loads(tab.downloaded("answers-r1.json").read_text(encoding="utf-8"))
    assert [each["choice"] for each in content["choices"][:2]] == ["right", "left"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(320, 568), (390, 844), (568, 320), (1280, 900)])
def test_it_fits_every_screen(tab: StudyBrowser, study: Study, size: tuple[int, int], scheme: str) -> None:
    tab.open(address(study), *size, prefers_color_scheme=scheme)
    fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    targets = """return [...document.querySelectorAll('button, #choices label')].filter((e) => e.offsetParent)
        .every((e) => e.getBoundingClientRect().height >= 44)"""
    assert tab.js(fits)
    assert tab.js(targets)
    tab.begin("r1")
    assert tab.js(fits)
    assert tab.js(targets)
    tops = tab.js("return ['left', 'right'].map((id) => document.getElementById(id).getBoundingClientRect().top)")
    assert (tops[0] == tops[1]) == (size[0] > 640)
    tab.press("1")
    assert tab.js(fits)
    for _ in range(6):
        tab.press("1", Keys.ENTER)
    assert tab.js(fits)
    assert tab.js(targets)
    assert tab.js(CONTRASTS) == []


# Text against the nearest background behind it, after WCAG 2.2: at least 4.5.
CONTRASTS = """
for (const id of ['start', 'question', 'end', 'part']) document.getElementById(id).hidden = false;
const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const bad = [];
for (const node of document.querySelectorAll('main *')) {
  const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
  if (!own || !node.offsetParent || node.matches('.heard, noscript, :disabled')) continue;
  let back = node;
  while (back && (rgb(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
  const two = [rgb(getComputedStyle(node).color), rgb(getComputedStyle(back ?? document.body).backgroundColor)];
  const [high, low] = two.map(light).sort((a, b) => b - a);
  if ((high + 0.05) / (low + 0.05) < 4.5) bad.push(`${node.tagName}#${node.id}: ${two}`);
}
return bad;
"""


def test_names_and_roles(tab: StudyBrowser, study: Study) -> None:
    tab.open(address(study))
    tab.begin("r1")
    tree = tab.cdp("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node["name"]["value"]) for node in tree if "name" in node and not node["ignored"]}
    for wanted in (
        ("radio", "Reason 1 fits better"),
        ("radio", "Reason 2 fits better"),
        ("radio", "About equal"),
        ("group", "Which reason fits the clip better?"),
        ("article", "Reason 1"),
        ("textbox", "Comment on this question (optional)"),
        ("progressbar", "Questions answered"),
        ("heading", "Question 1 of 6"),
        ("button", "Next"),
    ):
        assert wanted in named
    for role, name in named:
        assert name or role not in {"button", "radio", "textbox", "checkbox", "group", "Video", "Audio"}

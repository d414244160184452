"""The page in a real Chromium: what it shows is what the server sent, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from page_browser import Browser
from page_server import LABELS, PageServer, emotion, link, live, scores, status

HOSTILE = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>'


@pytest.fixture
def page(browser: Browser, server: PageServer) -> Iterator[Browser]:
    """The page, live, at a server whose script a test goes on writing; a complaint in the console fails the test."""
    browser.follow(server)
    yield browser
    assert browser.complaints() == []


def _columns(page: Browser, table: str) -> list[list[str]]:
    script = "return [...document.querySelectorAll(arguments[0])].map((r) => [...r.cells].map((c) => c.textContent))"
    return [[str(cell) for cell in row] for row in page.js(script, f"#{table} tr")]


def _percent(value: float) -> str:
    return f"{value * 100:.0f}%"


def test_shows_the_answer_that_was_sent(page: Browser, server: PageServer) -> None:
    sent = emotion(1)
    server.emit(sent)
    page.until_text("#label", "happy")
    smoothed, window = sent["live"]["smoothed_scores"], sent["scores"]
    assert page.text("#score") == "62%"
    rows = _columns(page, "scores")
    assert rows == [[label, "", _percent(smoothed[label]), _percent(window[label])] for label in LABELS]
    face, voice = sent["by_modality"]["visual"], sent["by_modality"]["audio"]
    assert _columns(page, "modalities") == [[_percent(face[each]), each, _percent(voice[each])] for each in LABELS]
    assert page.text("#face-reads") == "reads happy"
    assert page.text("#voice-reads") == "reads neutral"
    assert page.text("#conflict") == "0.31"
    assert page.text("#conflict-note") == "The face reads happy, the voice neutral."
    assert page.texts("#reliance dd") == ["34%", "45%", "21%"]
    assert page.text("#heads") == "4 of 18"
    assert page.text("#latency") == "41 ms"
    assert page.text("#dropped-all") == "5"
    assert page.text("#notice") == server.live["notice"]
    assert "reference" in page.text("#model")
    assert page.visible("#label")


def test_bars_are_as_long_as_their_scores(page: Browser, server: PageServer) -> None:
    page.emulate(prefers_reduced_motion="reduce")
    sent = emotion(1)
    server.emit(sent)
    page.until_text("#label", "happy")
    script = """return [...document.querySelectorAll(arguments[0])].map((bar) =>
        bar.getBoundingClientRect().width / bar.parentElement.getBoundingClientRect().width)"""
    for selector, wanted in (
        ("#scores i.smooth", sent["live"]["smoothed_scores"]),
        ("#scores i.window", sent["scores"]),
        ("#modalities .face i", sent["by_modality"]["visual"]),
        ("#modalities .voice i", sent["by_modality"]["audio"]),
    ):
        assert page.js(script, selector) == pytest.approx([wanted[label] for label in LABELS], abs=0.01)
    widths = page.js(
        "return [...document.querySelectorAll('#reliance-bar i')].map((b) => b.getBoundingClientRect().width)"
    )
    assert [width / sum(widths) for width in widths] == pytest.approx([0.34, 0.45, 0.21], abs=0.01)


def test_the_last_answer_of_a_burst_is_the_one_on_the_page(page: Browser, server: PageServer) -> None:
    burst = [emotion(n, smoothed_label=LABELS[n % 6], smoothed_scores=scores(LABELS[n % 6], 0.5)) for n in range(1, 60)]
    server.emit(*burst)
    page.until_text("#label", LABELS[59 % 6])
    page.until(lambda: page.text("#scores tr.top th") == LABELS[59 % 6], "the row of the label")


def test_missing_modalities_are_said_in_words(page: Browser, server: PageServer) -> None:
    changes: dict[str, Any] = {"conflict": None, "reliance": None, "reallocated_heads": []}
    face_gone = {"visual": None, "audio": scores("sad", 0.7)}
    server.emit(emotion(1, by_modality=face_gone, states=["covered"], **changes))
    page.until_text("#face-reads", "No face. The camera is covered.")
    assert [row[0] for row in _columns(page, "modalities")] == ["–"] * 6
    assert page.text("#conflict") == "–"
    assert "reads sad" in page.text("#voice-reads")
    assert page.texts("#reliance dd") == ["–"] * 3
    assert not page.visible("#reliance-bar")
    assert page.text("#heads") == "0 of 18"
    assert page.texts("#states li") == ["The camera is covered."]
    voice_gone = {"visual": scores("sad", 0.7), "audio": None}
    server.emit(emotion(2, by_modality=voice_gone, states=["no_speech", "made_up_state"], **changes))
    page.until_text("#voice-reads", "No voice. Nobody is speaking.")
    assert page.texts("#states li") == ["Nobody is speaking.", "made up state."]


def test_nothing_to_go_by(page: Browser, server: PageServer) -> None:
    nothing = {"visual": None, "audio": None}
    blank: dict[str, Any] = {
        "conflict": None,
        "reliance": None,
        "reallocated_heads": [],
        "scores": {},
        "label": "unknown",
    }
    states = ["no_video", "no_audio", "unknown"]
    server.emit(emotion(1, smoothed_label="unknown", smoothed_scores={}, by_modality=nothing, states=states, **blank))
    page.until_text("#label", "unknown")
    assert page.text("#score") == ""
    assert {cell for row in _columns(page, "scores") for cell in row[2:]} == {"–"}
    assert len(page.texts("#states li")) == 3


def test_conflict_is_a_line_with_gaps(page: Browser, server: PageServer) -> None:
    values = [0.0, 0.5, 1.0, None, 0.25, 0.25, None, 0.75]
    server.emit(*(emotion(n + 1, conflict=value) for n, value in enumerate(values)))
    page.until_text("#conflict", "0.75")
    runs = str(page.js("document.getElementById('conflict-line').getAttribute('d')")).split("M")[1:]
    heights = [[float(point.split()[1].split("h")[0]) for point in run.split("L")] for run in runs]
    assert heights == [[100.0, 50.0, 0.0], [75.0, 75.0], [25.0]]
    ends = [float(run.split("L")[-1].split()[0]) for run in runs]
    # A second is 1000 / 120 of the box; the newest answer is at its right edge.
    assert ends == pytest.approx([1000 - 5 * 1000 / 120, 1000 - 2 * 1000 / 120, 1000], abs=0.1)
    page.one("#conflict-heading").find_element("xpath", "../..").find_element("css selector", "summary").click()
    page.until(lambda: page.texts("#conflict-table tr"), "the table")
    mean = sum(value for value in values if value is not None) / 6
    assert _columns(page, "conflict-table")[0] == ["0 to 10", f"{mean:.2f}", "1.00"]


def test_latency_percentiles_and_drops(page: Browser, server: PageServer) -> None:
    # 1 to 100 ms in a mixed order: by nearest rank p50 is the 50th and p95 the 95th.
    order = [(n * 37) % 101 for n in range(1, 101)]
    server.emit(*(emotion(n, latency_ms=float(ms), dropped=2 if n in (40, 90) else 0) for n, ms in enumerate(order, 1)))
    page.until_text("#latency", f"{order[-1]} ms")
    assert page.text("#latency-p50") == "50 ms"
    assert page.text("#latency-p95") == "95 ms"
    assert page.text("#dropped-shown") == "4"
    assert str(page.js("document.getElementById('latency-drops').getAttribute('d')")).count("M") == 2
    # Those older than two minutes count no more.
    server.emit(emotion(300, latency_ms=7.0))
    page.until_text("#latency-p95", "7.0 ms")
    assert page.text("#dropped-shown") == "0"


def test_heat_map_of_the_window_and_of_the_minute(page: Browser, server: PageServer) -> None:
    # Layer 2 does not reallocate and head 9 does not exist: neither has a cell.
    server.emit(*(emotion(n, reallocated_heads=[[0, 1], [2, 2], [3, 9]]) for n in range(1, 16)))
    server.emit(*(emotion(n, reallocated_heads=[[0, 1], [3, 4], [3, 4]]) for n in range(16, 21)))
    page.until_text("#heads", "2 of 18")
    opacity = "return [...document.querySelectorAll(arguments[0])].map((cell) => +cell.getAttribute('fill-opacity'))"
    now = [0.0] * 18
    now[1] = now[16] = 1.0
    assert page.js(opacity, "#map-now .heat") == now
    page.until(lambda: page.js(opacity, "#map-minute .heat")[16] == 0.25, "5 of 20 windows")
    assert page.js(opacity, "#map-minute .heat")[1] == 1.0
    # 55 s on, the first windows have left the minute and the last ones have not.
    server.emit(emotion(75, reallocated_heads=[]))
    page.until_text("#heads", "0 of 18")
    page.until(lambda: page.js(opacity, "#map-minute .heat")[16] == 0.83, "5 of 6 windows")
    page.one("#heads-heading").find_element("xpath", "../..").find_element("css selector", "summary").click()
    page.until(lambda: _columns(page, "heads-table")[2] == ["3", "none", "4: 83%"], "the table")


def test_sources_and_sinks_with_their_condition(page: Browser, server: PageServer) -> None:
    gone = link("camera", "/dev/video0", "lost", error="no such device", reconnects=2, delivered=1200)
    sink = link("sink", "csv:out.csv", delivered=16, dropped=3)
    server.live = live(status=status(sources=[gone], sinks=[sink]))
    server.send({"type": "status", "status": server.live["status"]})
    server.emit(emotion(1))
    page.until(lambda: len(page.texts("#links li")) == 2, "two links")
    camera, outgoing = page.texts("#links li")
    for word in ("Camera", "/dev/video0", "lost", "1,200 delivered", "came back 2 times", "no such device"):
        assert word in camera
    for word in ("Sink", "csv:out.csv", "live", "16 answers taken", "3 dropped"):
        assert word in outgoing
    page.until(lambda: page.texts("#states li") == ["Camera “/dev/video0” is lost: no such device"], "said above too")


def test_hostile_text_stays_text(browser: Browser, server: PageServer) -> None:
    labels = [HOSTILE, *LABELS[1:]]
    model = {**live()["model"], "labels": labels, "name": HOSTILE}
    links = status(sources=[link(HOSTILE, HOSTILE, HOSTILE, error=HOSTILE)])
    server.live = live(model=model, notice=HOSTILE, intended_use=HOSTILE, status=links)
    browser.follow(server)
    before = browser.js("document.getElementsByTagName('*').length")
    each = scores(HOSTILE, 0.5, labels)
    both = {"visual": each, "audio": each}
    changes = {"scores": each, "by_modality": both, "reason": HOSTILE, "states": [HOSTILE]}
    server.emit(emotion(1, smoothed_label=HOSTILE, smoothed_scores=each, label=HOSTILE, **changes))
    browser.until_text("#reason", HOSTILE)
    browser.until_text("#label", HOSTILE)
    for place in ("#notice", "#scores th", "#modalities th", "#face-reads", "#links .name"):
        assert HOSTILE in browser.text(place), place
    assert browser.js("document.querySelectorAll('main script, main img:not(#picture), header img').length") == 0
    assert browser.js("document.getElementsByTagName('*').length") <= before + 2
    assert browser.js("document.title") == "mosear live"
    assert browser.js("document.documentElement.scrollWidth") <= 1280
    assert browser.complaints() == []


def test_a_changed_label_is_said_aloud_once(page: Browser, server: PageServer) -> None:
    page.js(
        """window.said = []; const node = document.getElementById('announce');
        const all = {childList: true, characterData: true, subtree: true};
        new MutationObserver(() => said.push(node.textContent)).observe(node, all); return 1"""
    )
    for n, label in enumerate(["sad", "sad", "sad", "angry", "angry"], 1):
        server.emit(emotion(n, smoothed_label=label, smoothed_scores=scores(label, 0.5 + n / 100), conflict=n / 10))
        page.until_text("#conflict", f"{n / 10:.2f}")
    assert page.js("return said") == ["Reads as sad", "Reads as angry"]
    live_regions = page.js(
        "return [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map((e) => e.id)"
    )
    assert "announce" in live_regions
    assert not {"label", "score", "scores", "conflict"} & set(live_regions)


def test_says_when_answers_stop_coming(page: Browser, server: PageServer) -> None:
    server.emit(emotion(1))
    page.until(lambda: page.texts("#states li") == ["Nothing out of the ordinary."], "in order")
    page.js("const real = performance.now.bind(performance); performance.now = () => real() + 61e3; return 1")
    server.send({"type": "status", "status": status()})
    page.until(lambda: page.texts("#states li")[0].startswith("No answer for 6"), "said so")
    server.emit(emotion(2))
    page.until(lambda: page.texts("#states li") == ["Nothing out of the ordinary."], "in order again")


def test_five_thousand_answers_leave_the_document_as_large_as_ten(page: Browser, server: PageServer) -> None:
    def send(first: int, last: int, hop: float) -> None:
        for n in range(first, last):
            heads = [[(n * 7 + each) % 4, (n * 3 + each) % 6] for each in range(n % 5)]
            answer = emotion(n, reallocated_heads=heads, conflict=(n % 100) / 100, dropped=n % 9 == 0)
            server.emit({**answer, "end": n * hop, "states": ["no_speech", "dark"]})
        server.emit({**emotion(last, conflict=0.77, states=["dark", "no_face"]), "end": last * hop})
        page.until_text("#conflict", "0.77")
        server.emit({**emotion(last + 1, conflict=0.78, states=["dark", "no_face"]), "end": (last + 1) * hop})
        page.until_text("#conflict", "0.78")

    count = "let n = 0; const walk = document.createTreeWalker(document); while (walk.nextNode()) n += 1; return n"
    page.js("document.querySelectorAll('details').forEach((each) => { each.open = true; }); return 1")
    send(1, 10, 0.01)
    before = page.js(count)
    send(20, 5020, 0.01)
    assert page.js(count) == before
    # 50 s of answers every 10 ms would be 5,000 points: the oldest are let go.
    assert str(page.js("document.getElementById('conflict-line').getAttribute('d')")).count("L") < 1200

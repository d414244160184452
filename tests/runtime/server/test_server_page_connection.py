"""The page's line to the server: token, lost and back, no live source, stopped, odd streams."""

import json

from page_browser import Browser, requests_in
from page_server import PageServer, emotion, live, serving, status

TOKEN = "correct-horse"


def _reach(browser: Browser, word: str) -> None:
    browser.until(lambda: browser.text("#connection-word").startswith(word), word)


def test_lost_and_back(browser: Browser, server: PageServer) -> None:
    browser.follow(server)
    server.emit(emotion(1, conflict=0.2), emotion(2, conflict=0.3))
    browser.until_text("#conflict", "0.30")
    server.refusing = True
    server.cut()
    _reach(browser, "Lost since ")
    since = browser.text("#connection-word")
    assert browser.visible("#banner")
    assert since.removeprefix("Lost since ") in browser.text("#banner-what")
    assert browser.text("#now-heading") == "Last read as"
    # What the server gives as its reason is said, and the time stays that of the loss.
    browser.until_text("#banner-fix", "the server is stopping; wait until it is back")
    tries = len(server.asked)
    browser.until(lambda: len(server.asked) > tries, "tried again")
    assert browser.text("#connection-word") == since
    server.refusing = False
    _reach(browser, "Live")
    assert not browser.visible("#banner")
    browser.until(lambda: server.streams, "a stream")
    server.emit(emotion(3, conflict=0.4))
    browser.until_text("#conflict", "0.40")
    assert browser.text("#now-heading") == "Reads as"
    # The curve is not drawn across what was not seen.
    assert str(browser.js("document.getElementById('conflict-line').getAttribute('d')")).count("M") == 2
    assert len(server.streams) == 1


def test_waits_longer_each_time_and_tries_at_once_when_told(browser: Browser, server: PageServer) -> None:
    browser.follow(server)
    waits = """window.waits = []; const real = window.setTimeout;
        const quick = (ms) => (ms === 10000 ? ms : ms / 50);
        window.setTimeout = (f, ms, ...rest) => { waits.push(ms); return real(f, quick(ms), ...rest); };
        return 1"""
    browser.js(waits)
    server.refusing = True
    server.cut()
    browser.until(lambda: len(_backoff(browser)) >= 9, "nine tries")
    seen = _backoff(browser)[:9]
    for n, wait in enumerate(seen):
        usual = min(30_000, 500 * 2**n)
        assert 0.75 * usual <= wait <= 1.25 * usual
    browser.js("window.setTimeout = (f, ms) => { waits.push(ms); return 0; }; return 1")
    browser.until(lambda: len(_backoff(browser)) >= len(seen) + 1, "waiting for ever")
    server.refusing = False
    browser.one("#retry").click()
    _reach(browser, "Live")


def _backoff(browser: Browser) -> list[float]:
    return [wait for wait in browser.js("return waits") if wait not in (10_000, 0) and wait >= 375]


def test_a_server_that_is_gone_and_comes_back(browser: Browser) -> None:
    with serving() as first:
        browser.follow(first)
        port = first.server_address[1]
        first.emit(emotion(500, conflict=0.2))
        browser.until_text("#conflict", "0.20")
    _reach(browser, "Lost")
    with serving(port) as second:
        _reach(browser, "Live")
        browser.until(lambda: second.streams, "a stream")
        # It counts from the beginning again; the page goes on.
        second.emit(emotion(1, conflict=0.3), emotion(2, conflict=0.4))
        browser.until_text("#conflict", "0.40")
        assert str(browser.js("document.getElementById('conflict-line').getAttribute('d')")).count("M") == 2


def test_a_stream_gone_silent_is_lost(browser: Browser, server: PageServer) -> None:
    browser.open(server.url)
    _reach(browser, "Live")
    # The page's clock for silence, a hundred times as fast.
    browser.js(
        "const real = window.setTimeout; window.setTimeout = (f, ms) => real(f, ms === 10000 ? 100 : ms); return 1"
    )
    browser.until(lambda: server.streams, "a stream")
    server.silent = True
    server.emit(emotion(1))
    _reach(browser, "Lost")


def test_token_is_asked_for_kept_in_the_tab_and_never_in_an_address(browser: Browser, server: PageServer) -> None:
    server.token = TOKEN
    browser.open(server.url)
    _reach(browser, "Token needed")
    assert browser.visible("#token-form")
    assert not browser.visible("#panels")
    assert browser.visible("#notice")
    assert browser.driver.switch_to.active_element.get_attribute("id") == "token"
    assert browser.one("#token").get_attribute("type") == "password"
    assert "/v1/events" not in [path for _, path, _ in server.asked]
    browser.one("#token").send_keys("wrong\n")
    browser.until_text("#token-fault", "That token was not accepted.")
    browser.one("#token").send_keys("zwölf €\n")
    browser.until_text("#token-fault", "letters, digits and signs")
    browser.one("#token").send_keys(TOKEN)
    browser.one("#token-form button").click()
    _reach(browser, "Live")
    browser.until(lambda: server.streams, "a stream")
    server.emit(emotion(1))
    browser.until_text("#label", "happy")
    browser.one("#why").click()
    browser.until(lambda: ("POST", "/v1/live/reason", f"Bearer {TOKEN}") in server.asked, "sent with the token")
    assert browser.js("Object.values(sessionStorage)") == [TOKEN]
    assert browser.js("localStorage.length + document.cookie.length") == 0
    assert browser.js("location.href") == server.url
    assert [url for url in requests_in(browser.drain()) if TOKEN in url or "wrong" in url] == []

    browser.driver.refresh()
    _reach(browser, "Live")
    assert not browser.visible("#token-form")
    browser.until(lambda: browser.visible("#forget"), "the button")
    browser.one("#forget").click()
    _reach(browser, "Token needed")
    assert browser.js("sessionStorage.length") == 0
    assert browser.text("#token-fault") == ""


def test_a_token_that_no_longer_holds(browser: Browser, server: PageServer) -> None:
    browser.follow(server)
    server.token = TOKEN
    server.cut()
    _reach(browser, "Token needed")
    asked = len(server.asked)
    browser.one("#token").send_keys(f"{TOKEN}\n")
    _reach(browser, "Live")
    assert asked < len(server.asked) < asked + 4


def test_no_live_source(browser: Browser, server: PageServer) -> None:
    server.live = live(status=None)
    browser.open(server.url)
    _reach(browser, "No live source")
    assert "no live source" in browser.text("#banner-what")
    assert "/v1/events" not in [path for _, path, _ in server.asked]
    assert browser.text("#now-heading") == "Reads as"
    server.live = live()
    browser.one("#retry").click()
    _reach(browser, "Live")


def test_stopped_and_running_again(browser: Browser, server: PageServer) -> None:
    browser.follow(server)
    server.emit(emotion(1))
    browser.until_text("#label", "happy")
    server.live = live(status=status(running=False))
    server.send({"type": "status", "status": server.live["status"]})
    _reach(browser, "Stopped")
    assert "has stopped" in browser.text("#banner-what")
    assert not browser.visible("#retry")
    server.live = live()
    server.send({"type": "status", "status": status()})
    _reach(browser, "Live")
    assert not browser.visible("#banner")


def test_another_model_after_a_restart(browser: Browser, server: PageServer) -> None:
    browser.follow(server)
    server.emit(emotion(1))
    browser.until_text("#label", "happy")
    model = {**live()["model"], "labels": ["calm", "tense"], "reallocating_layers": [7], "heads": 2}
    server.live = live(model=model)
    server.cut()
    browser.until(lambda: browser.texts("#scores th") == ["calm", "tense"], "the other labels")
    browser.until(lambda: server.streams, "a stream")
    each = {"calm": 0.25, "tense": 0.75}
    alone = {"visual": each, "audio": each}
    changes = {"scores": each, "by_modality": alone, "reallocated_heads": [[7, 1]]}
    server.emit(emotion(2, smoothed_label="tense", smoothed_scores=each, **changes))
    browser.until_text("#label", "tense")
    assert browser.text("#heads") == "1 of 2"


def test_events_that_come_in_pieces_or_are_none(browser: Browser, server: PageServer) -> None:
    browser.follow(server)
    browser.complaints()
    whole = json.dumps({"type": "emotion", "emotion": emotion(1, reason="prêt ☺")}, ensure_ascii=False).encode()
    cut = whole.index("☺".encode()) + 1  # in the middle of a character
    odd = [
        b": comment\n\n",
        b"event: x\nid: 3\nretry: 1\n\n",
        b"data: {half\n\n",
        b"data: null\n\n",
        b'data: {"type": 7}\n\n',
    ]
    server.send(*odd, b"data: " + whole[:cut], whole[cut:] + b"\r", b"\n\r\n")
    browser.until_text("#reason", "prêt ☺")
    lines = json.dumps({"type": "emotion", "emotion": emotion(2, reason="two lines")}, indent=1).splitlines()
    server.send(b"".join(b"data:" + line.encode() + b"\r" for line in lines) + b"\r", b": end\n")
    browser.until_text("#reason", "two lines")
    assert browser.complaints() == []
    # An event that never ends is cut off instead of filling the memory.
    server.send(b"data: ", *([b"x" * 65_536] * 20))
    _reach(browser, "Lost")
    _reach(browser, "Live")

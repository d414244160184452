"""What can be pressed on the page: why, pause, the live picture; and what it asks its server for."""

import pytest
from page_browser import Browser, requests_in
from page_server import PageServer, emotion, live

COUNT_PICTURES = """window.held = new Set();
    const {createObjectURL, revokeObjectURL} = URL;
    URL.createObjectURL = (blob) => { const url = createObjectURL(blob); held.add(url); return url; };
    URL.revokeObjectURL = (url) => { held.delete(url); revokeObjectURL(url); };
    return 1"""
HURRY = "const real = window.setTimeout; window.setTimeout = (f, ms) => real(f, ms === 500 ? 5 : ms); return 1"


@pytest.fixture
def page(browser: Browser, server: PageServer) -> Browser:
    """The page, live, at a server whose script a test goes on writing."""
    browser.follow(server)
    return browser


def test_why_waits_for_the_answer_with_a_reason(page: Browser, server: PageServer) -> None:
    server.emit(emotion(1))
    page.until_text("#label", "happy")
    page.one("#why").click()
    page.until(lambda: ("POST", "/v1/live/reason", None) in server.asked, "asked")
    server.emit(emotion(2, conflict=0.11))
    page.until_text("#conflict", "0.11")
    assert page.text("#reason-note") == "Asked. The reason comes with the next answer."
    page.one("#why").click()
    server.emit(emotion(3, reason="The mouth rises.\nThe voice is flat."))
    page.until_text("#reason", "The mouth rises.\nThe voice is flat.")
    assert page.visible("#reason")
    assert sum(each[:2] == ("POST", "/v1/live/reason") for each in server.asked) == 1
    # It stays when later answers carry none.
    server.emit(emotion(4, conflict=0.12))
    page.until_text("#conflict", "0.12")
    assert page.visible("#reason")


def test_why_says_what_the_server_says(browser: Browser, server: PageServer) -> None:
    server.can_reason = False
    browser.follow(server)
    browser.one("#why").click()
    browser.until_text("#reason-note", "this model can't give reasons; use another bundle")
    assert browser.js("document.getElementById('why').getAttribute('aria-disabled')") is None


def test_picture_is_off_until_it_is_asked_for(browser: Browser, server: PageServer) -> None:
    server.live = live(picture_allowed=True)
    browser.follow(server)
    server.emit(emotion(1))
    browser.until_text("#label", "happy")
    asked = "/v1/live/picture"
    assert asked not in [path for _, path, _ in server.asked]
    assert not browser.visible("#picture-frame")
    browser.js(COUNT_PICTURES)
    browser.one("#picture-switch").click()
    browser.until(lambda: browser.visible("#picture"), "the picture")
    assert browser.visible("#picture-frame figcaption")
    first = str(browser.js("document.getElementById('picture').src"))
    assert first.startswith("blob:")
    browser.until(lambda: browser.js("document.getElementById('picture').src") != first, "the next picture")
    # Of all pictures, the browser holds the one that is shown.
    assert browser.js("return held.size") == 1
    browser.one("#picture-switch").click()
    assert not browser.visible("#picture-frame")
    assert browser.js("document.getElementById('picture').hasAttribute('src')") is False
    assert browser.js("return held.size") == 0
    assert browser.js("sessionStorage.length + localStorage.length") == 0
    assert browser.complaints() == []


def test_picture_that_is_not_allowed_is_never_asked_for(page: Browser, server: PageServer) -> None:
    page.one("#picture-switch").click()
    assert "Not offered" in page.text("#picture-note")
    assert page.js("document.getElementById('picture-switch').getAttribute('aria-checked')") == "false"
    server.emit(emotion(1))
    page.until_text("#label", "happy")
    assert "/v1/live/picture" not in [path for _, path, _ in server.asked]


def test_pause_holds_the_display(page: Browser, server: PageServer) -> None:
    server.emit(emotion(1, conflict=0.1))
    page.until_text("#conflict", "0.10")
    page.one("#pause").click()
    server.emit(*(emotion(n, conflict=0.9) for n in range(2, 30)), emotion(30, conflict=0.9, reason="arrived"))
    page.until_text("#reason", "arrived")
    assert page.text("#conflict") == "0.10"
    page.one("#pause").click()
    page.until_text("#conflict", "0.90")
    assert str(page.js("document.getElementById('conflict-line').getAttribute('d')")).count("L") == 29


def test_a_hidden_tab_draws_nothing_and_catches_up(browser: Browser, server: PageServer) -> None:
    server.live = live(picture_allowed=True)
    browser.follow(server)
    server.emit(emotion(1, conflict=0.1))
    browser.until_text("#conflict", "0.10")
    browser.js(HURRY)
    browser.one("#picture-switch").click()
    browser.until(lambda: browser.visible("#picture"), "the picture")
    hide = """Object.defineProperty(document, 'hidden', {get: () => arguments[0], configurable: true});
        document.dispatchEvent(new Event('visibilitychange')); return 1"""
    browser.js(hide, True)
    shown = browser.js("document.getElementById('picture').src")
    asked = [path for _, path, _ in server.asked].count("/v1/live/picture")
    for n in range(2, 12):
        server.emit(emotion(n, conflict=0.9, reason=f"arrived {n}"))
        browser.until_text("#reason", f"arrived {n}")
    assert browser.text("#conflict") == "0.10"
    # At most the one that was under way when the tab was hidden, and one that had just come.
    assert [path for _, path, _ in server.asked].count("/v1/live/picture") <= asked + 2
    browser.js(hide, False)
    browser.until_text("#conflict", "0.90")
    browser.until(lambda: browser.js("document.getElementById('picture').src") != shown, "the next picture")
    assert browser.complaints() == []


def test_policy_is_in_force(page: Browser) -> None:
    # What the other tests find nothing of would be found.
    page.js(
        """const script = document.createElement('script'); script.textContent = 'document.title = "taken"';
        document.body.append(script); document.body.insertAdjacentHTML('beforeend', '<i style="color: red"></i>');
        return 1"""
    )
    assert page.js("document.title") == "mosear live"
    page.until(lambda: sum("Content Security Policy" in each for each in page.complaints()) == 2, "two violations")


def test_asks_only_its_own_server(browser: Browser, server: PageServer) -> None:
    server.live = live(picture_allowed=True)
    browser.follow(server)
    server.emit(emotion(1))
    browser.one("#picture-switch").click()
    browser.until(lambda: browser.visible("#picture"), "the picture")
    asked = [url for url in requests_in(browser.drain()) if not url.startswith(("about:", "chrome"))]
    assert len(asked) > 10
    assert [url for url in asked if not url.removeprefix("blob:").startswith(server.url)] == []
    assert browser.complaints() == []

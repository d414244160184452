"""A headless Chromium for the page's tests, and what it saw: console, violations, requests."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from page_server import PageServer
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

DEADLINE_S = 15


class Browser:
    """One tab. ``get`` forgets what was seen before."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page in a fresh state: no storage, no emulation, an empty log, 1280 × 900."""
        self.driver.get("about:blank")
        self.emulate()
        self.size(1280, 900)
        self.drain()
        self.driver.get(url)
        self.js("sessionStorage.clear()")
        self.driver.get(url)

    def follow(self, server: PageServer) -> None:
        """Load the page of a server and wait until it follows its events."""
        self.open(server.url)
        self.complaints()
        self.until(lambda: self.text("#connection-word") == "Live" and server.streams, "live")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script if "return" in script else f"return {script}", *arguments)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """All text of an element, as it stands in the document."""
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector)).strip()

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())"
        return list(self.js(script, selector))

    def visible(self, selector: str) -> bool:
        return self.one(selector).is_displayed()

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition, up to a deadline."""
        return WebDriverWait(self.driver, DEADLINE_S, poll_frequency=0.05).until(lambda _: condition(), what)

    def until_text(self, selector: str, text: str) -> None:
        self.until(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def size(self, width: int, height: int) -> None:
        """The layout viewport in CSS pixels; a window can't be made narrow enough for a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", **size)

    def emulate(self, media: str = "", **features: str) -> None:
        """Media features, as ``prefers_color_scheme="dark"``; none resets."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=named)

    def drain(self) -> list[dict[str, Any]]:
        """What happened since the last call: the DevTools messages."""
        return [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]

    def complaints(self) -> list[str]:
        """What the console said as warning or error, violations of the policy included, since the last call."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]


def requests_in(messages: list[dict[str, Any]]) -> list[str]:
    """The addresses that were asked for."""
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, or a skip that says which program is missing."""
    paths = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths["chromium"])
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(paths["chromedriver"])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()

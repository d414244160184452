"""A headless Chromium with a folder for downloads, for the tests of a study's page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

DEADLINE_S = 15


class StudyBrowser:
    """One tab and what it saw."""

    def __init__(self, driver: webdriver.Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, url: str, width: int = 1280, height: int = 900, **features: str) -> None:
        """Load a page with nothing kept of earlier tests, in a viewport of that size and with those media features."""
        self.driver.get("about:blank")
        self.size(width, height)
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", media="", features=named)
        for path in self.downloads.iterdir():
            path.unlink()
        self.driver.get(url)
        if url.startswith("file:"):
            self.js("localStorage.clear()")
            self.driver.get(url)

    def size(self, width: int, height: int) -> None:
        """The layout viewport in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", **size)

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script if "return" in script else f"return {script}", *arguments)

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def visible(self, selector: str) -> bool:
        return self.driver.find_element("css selector", selector).is_displayed()

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def focused(self) -> str:
        return str(self.js("return document.activeElement.id"))

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition, up to a deadline."""
        return WebDriverWait(self.driver, DEADLINE_S, poll_frequency=0.05).until(lambda _: condition(), what)

    def begin(self, rater: str) -> None:
        """Type a rater's id and go."""
        field = self.driver.find_element("css selector", "#rater")
        field.clear()
        field.send_keys(rater)
        self.click("#go")

    def downloaded(self, name: str) -> Path:
        """The file of that name, once it is there."""
        path = self.downloads / name
        self.until(path.is_file, name)
        return path

    def complaints(self) -> list[str]:
        """What the console said since the last call, violations of the policy included."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def addresses(self) -> list[str]:
        """What was asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [each for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in asked]


@contextmanager
def study_browser(downloads: Path) -> Iterator[StudyBrowser]:
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
        browser = StudyBrowser(driver, downloads)
        browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        yield browser
    finally:
        driver.quit()

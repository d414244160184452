"""A browser for the tests of the page, and the page at a server whose script they write."""

from collections.abc import Iterator

import pytest
from page_browser import Browser, chromium
from page_server import PageServer, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[PageServer]:
    with serving() as running:
        yield running

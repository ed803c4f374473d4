"""A browser without a window, where the machine has one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by selenium; tests that need it skip without it."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver = shutil.which("chromedriver")
    if CHROMIUM is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver here (Debian: apt install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1440,900"):
        options.add_argument(argument)
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield started
    started.quit()


# On a busy machine a page is loaded before it is filled, laid out and drawn.
_DRAWN = """
const done = arguments[0];
const look = () => by("status").textContent && document.querySelector("main").clientWidth
  ? requestAnimationFrame(() => requestAnimationFrame(done)) : requestAnimationFrame(look);
look();
"""


@pytest.fixture
def opened(browser: Any) -> Any:
    """Open a page from its file, and forget what earlier pages said."""

    def _open(page: Path) -> Any:
        browser.set_window_size(1440, 900)
        browser.get(page.as_uri())
        browser.execute_async_script(_DRAWN)
        return browser

    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    return _open

"""The report page in Chromium: seconds until 10,000 clips are seen, blank rows while it scrolls, and pictures of it.

    python -m benchmarks.report_page
    python -m benchmarks.report_page --pages report.html --pictures pictures

Needs selenium and chromium with its chromedriver. The page is that of a demo, whose clips are repeated under other
names, with as much embedded sound as `report` allows. Frames are what the browser put on the screen while a wheel
turned; a blank row is a stretch of the list, as high as a row, that shows nothing.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sonogloss.page import page_html
from sonogloss.pipelines.run_demo import demo

SOUND_MB = 32.0  # what `report` puts into a page unless it is told otherwise
ROW = 72  # pixels
# Runs before the page's own scripts: the moment after the frame in which the first rows are shown.
SEEN = """(function wait() {
  if (!document.querySelector(".row")) requestAnimationFrame(wait);
  else requestAnimationFrame(() => setTimeout(() => { window.seen = performance.now(); }));
})()"""


def multiply(page: Path, clips: int, target: Path) -> None:
    """A page with so many clips, made of those that a page has."""
    text = page.read_text(encoding="utf-8")
    content, sounds = (
        json.loads(found[1])
        for name in ("data", "sounds")
        if (found := re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL))
    )
    known, embedded, left = content["clips"], {}, SOUND_MB * 1e6
    content["clips"] = []
    content["map"] = np.random.default_rng(0).random((clips, 2)).round(4).tolist()
    for number in range(clips):
        own = known[number % len(known)]
        sound = sounds.get(own["id"], "")
        clip = {**own, "id": f"{number:032x}", "name": f"{number:05d}-{own['name']}", "sound": left > 0 and bool(sound)}
        if clip["sound"]:
            embedded[clip["id"]] = sound
            left -= len(sound) * 3 / 4
        content["clips"].append(clip)
    target.write_text(page_html(content, embedded, title="many clips"), encoding="utf-8")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: Any, page: Path, *, width: int = 1440, dark: bool = False) -> None:
    """Open a page as a screen of this width shows it."""
    height, scheme = (900, "dark" if dark else "light")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    wanted = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
    driver.get(page.resolve().as_uri())


def paint(driver: Any, page: Path, repeats: int) -> Iterator[str]:
    """Seconds from the navigation to the first paint and to the first rows on the screen."""
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SEEN})
    moments = []
    for _ in range(repeats):
        show(driver, page)
        found = driver.execute_async_script(
            "const done = arguments[0], look = () => window.seen ? done([performance.getEntriesByName("
            "'first-contentful-paint')[0].startTime, window.seen]) : setTimeout(look, 20); look()"
        )
        moments.append([value / 1000 for value in found])
    for name, column in zip(("first paint", "first rows on the screen"), zip(*moments, strict=True), strict=True):
        yield f"| {name} | {statistics.median(column):.2f} s | {min(column):.2f} to {max(column):.2f} s |"


def scroll(driver: Any, page: Path, turns: int) -> Iterator[str]:
    """Turn a wheel through the list, in small and in large steps, and look at every frame."""
    show(driver, page)
    box = driver.execute_script(
        "const at = list.getBoundingClientRect(); return [at.left, at.top, at.right, at.bottom]"
    )
    blank, frames, far = 0, 0, 0.0
    driver.get_log("performance")
    driver.execute_cdp_cmd("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
    for turn in range(turns):
        wheel = {"type": "mouseWheel", "x": box[0] + 100, "y": box[1] + 100, "deltaX": 0}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {**wheel, "deltaY": (120, 900, 20_000)[turn % 3]})
        for frame in screencast(driver):
            frames += 1
            blank += longest_blank(frame, box) >= ROW
        far = driver.execute_script("return list.scrollTop")
    driver.execute_cdp_cmd("Page.stopScreencast", {})
    yield f"| frames with a blank row, of {frames} while {far / ROW:,.0f} rows went by | {blank} | |"


def screencast(driver: Any) -> Iterator[bytes]:
    """The frames that the browser has shown since the last time."""
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Page.screencastFrame":
            driver.execute_cdp_cmd("Page.screencastFrameAck", {"sessionId": message["params"]["sessionId"]})
            yield base64.b64decode(message["params"]["data"])


def longest_blank(frame: bytes, box: list[float]) -> int:
    """How many lines of pixels in a row show nothing inside the box of the list."""
    from PIL import Image

    left, top, right, bottom = (round(value) for value in box)
    pixels = np.asarray(Image.open(io.BytesIO(frame)).convert("L"), np.int16)[top:bottom, left + 2 : right - 2]
    empty = (np.ptp(pixels, axis=1) < 8).tolist()
    longest = run = 0
    for line in empty:
        run = run + 1 if line else 0
        longest = max(longest, run)
    return longest


def take_pictures(driver: Any, pages: list[Path], folder: Path) -> None:
    """Every part of every page, light and dark, wide and narrow."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in pages:
        for width in (1440, 390):
            for dark in (False, True):
                show(driver, page, width=width, dark=dark)
                for part in ("clips", "detail", "summary", "failures"):
                    if part == "detail":
                        driver.execute_script("by('list').querySelectorAll('.row')[1]?.click()")
                    else:
                        driver.execute_script(f"by('tab-{part}').click()")
                    name = f"{page.stem}-{width}-{'dark' if dark else 'light'}-{part}.png"
                    (folder / name).write_bytes(driver.get_screenshot_as_png())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--pages", type=Path, nargs="+", default=[], help="take pictures of these, too")
    parser.add_argument("--pictures", type=Path, help="where pictures go (default: none are taken)")
    parser.add_argument("--short", action="store_true", help="two repeats, few turns of the wheel")
    options = parser.parse_args()
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if lacking := programs + [name for name in ("selenium", "PIL") if find_spec(name) is None]:
        print(f"{' and '.join(lacking)} not installed: nothing to measure")
        return
    with tempfile.TemporaryDirectory(prefix="report-page-") as name, chromium() as driver:
        page, made = Path(name) / "many.html", Path(name) / "demo"
        demo(output=made, scenes=24, captions=1000)
        multiply(made / "report.html", options.clips, page)
        if options.pictures is not None:
            take_pictures(driver, [*options.pages, page], options.pictures)
        print(f"{options.clips:,} clips, {page.stat().st_size / 1e6:.1f} MB")
        print("\n| what | median | spread |\n|---|---|---|")
        for line in paint(driver, page, 2 if options.short else 7):
            print(line, flush=True)
        for line in scroll(driver, page, 9 if options.short else 90):
            print(line, flush=True)


if __name__ == "__main__":
    main()

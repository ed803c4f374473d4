"""The page as a person meets it: opened from a file, filtered, sorted, played, without a request or a complaint."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sonogloss.page import page_html

MARKUP = '</script><script>document.title = "taken"</script><img src=x onerror="document.title=1"> {data} [bold]'


def opus(seconds: float = 1.0) -> str:
    target = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(round(24000 * seconds)) / 9)
    soundfile.write(target, samples, 24000, format="OGG", subtype="OPUS")
    return base64.b64encode(target.getvalue()).decode()


def clip(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{number:032x}",
        "name": f"{number:05d}.wav",
        "member": None,
        "start": 0.0,
        "end": 1.0 + number % 3,
        "duration": 1.0 + number % 3,
        "rate": 32000,
        "channels": 1,
        "flags": ["SHORT"] if number % 5 == 0 else [],
        "caption": f"sound {number} of many",
        "score": number / 20000,
        "contexts": [[f"context {number}", 0.5, "source a" if number % 2 else "source b"]],
        "labels": [],
        "peaks": base64.b64encode(bytes(range(0, 192, 2))).decode(),
        **changes,
    }


def data(clips: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "title": "results",
        "subtitle": "",
        "runs": [{"name": "results", "rows": len(clips), "hours": 1.0, "record": {"counts": {"dead_letters": 1}}}],
        "notes": ["A note."],
        "clips": clips,
        "flags": {"SHORT": 2},
        "informative": ["RESAMPLED"],
        "labels": [],
        "sources": ["source a", "source b"],
        "metrics": [],
        "failures": [
            {
                "code": "EMPTY",
                "count": 2,
                "examples": [{"uri": MARKUP, "member": None, "stage": "read", "message": "x"}],
            }
        ],
        "map": [[number / len(clips), 0.5] for number in range(len(clips))],
        **changes,
    }


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Path]:
    def _page(content: dict[str, Any], sounds: dict[str, str] | None = None, *, linked: bool = False) -> Path:
        path = tmp_path / "page.html"
        path.write_text(page_html(content, sounds or {}, title=MARKUP, linked=linked), encoding="utf-8")
        return path

    return _page


def texts(driver: Any, selector: str) -> list[str]:
    return [found.text for found in driver.find_elements("css selector", selector)]


def captions(driver: Any) -> list[str]:
    """Of the rows in the document, by their place."""
    return driver.execute_script(
        "return [...document.querySelectorAll('.row')].sort((a, b) => parseInt(a.style.top) - parseInt(b.style.top))"
        ".map(row => row.querySelector('.caption').textContent)"
    )


def keys(driver: Any, *names: str) -> None:
    for name in names:
        driver.find_element("tag name", "body").send_keys(name)


def assert_quiet(driver: Any) -> None:
    """Nothing complained, and nothing was asked of a network or of another file."""
    assert [entry["message"] for entry in driver.get_log("browser")] == []
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in sent if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in urls if url.startswith("file:")]) <= 1


def set_value(driver: Any, selector: str, value: str) -> None:
    driver.execute_script(
        "const at = document.querySelector(arguments[0]); at.value = arguments[1];"
        "at.dispatchEvent(new Event('input', {bubbles: true}))",
        selector,
        value,
    )


def test_text_from_data_is_shown_and_never_run(opened: Any, page: Callable[..., Path]) -> None:
    hostile = clip(
        0, caption=MARKUP, name=MARKUP, member=MARKUP, contexts=[[MARKUP, 0.1, MARKUP]], labels=[[MARKUP, 0.1]],
        references=[MARKUP], flags=[MARKUP], metrics={MARKUP: 0.5}, others=[{"caption": "x y", "score": 0.1}],
    )  # fmt: skip
    content = data([hostile], title=MARKUP, subtitle=MARKUP, labels=[MARKUP], sources=[MARKUP], flags={MARKUP: 1},
                   notes=[MARKUP], metrics=[{"metric": MARKUP, "values": [[0.5, None, None]], "n": 1}])  # fmt: skip
    content["runs"].append({"name": MARKUP, "rows": 1, "hours": 0.5, "record": {MARKUP: MARKUP}})
    driver = opened(page(content))
    assert driver.title == MARKUP
    assert driver.find_element("id", "title").text == MARKUP
    assert MARKUP in texts(driver, ".row .caption")
    assert driver.find_elements("css selector", "img") == []
    for tab in ("tab-failures", "tab-summary", "tab-clips"):
        driver.find_element("id", tab).click()
        assert MARKUP in driver.find_element("css selector", "main:not([hidden])").text
    assert len(driver.find_elements("css selector", "script")) == 6
    assert_quiet(driver)


def test_filter_sort_and_keyboard(opened: Any, page: Callable[..., Path]) -> None:
    driver = opened(page(data([clip(number) for number in range(30)])))
    assert driver.find_element("id", "status").text == "30 clips"
    set_value(driver, "#search", "sound context 7")
    assert captions(driver) == ["sound 7 of many", "sound 17 of many", "sound 27 of many"]
    set_value(driver, "#source", "source b")
    assert captions(driver) == []
    driver.find_element("css selector", "button[type=reset]").click()
    set_value(driver, "#flag", "SHORT")
    assert len(captions(driver)) == 6
    set_value(driver, "#low", "0.0005")
    set_value(driver, "#long", "2")
    assert captions(driver) == ["sound 10 of many", "sound 15 of many", "sound 25 of many"]
    set_value(driver, "#sort", "CLAP score")
    driver.find_element("id", "direction").click()
    assert captions(driver)[0] == "sound 25 of many"
    keys(driver, "j", "j", "k")
    assert driver.find_element("css selector", ".row[aria-selected=true] .caption").text == "sound 15 of many"
    assert texts(driver, ".detail .caption") == ["sound 15 of many"]
    keys(driver, "/")
    assert driver.switch_to.active_element.get_attribute("id") == "search"
    assert_quiet(driver)


def test_a_clip_plays(opened: Any, page: Callable[..., Path]) -> None:
    clips = [clip(0, sound=True), clip(1)]
    driver = opened(page(data(clips), {clips[0]["id"]: opus()}))
    keys(driver, " ")
    played = driver.execute_async_script(
        "const done = arguments[0], audio = player.audio;"
        "if (audio.ended) done(audio.currentTime); else audio.addEventListener('ended', () => done(audio.currentTime))"
    )
    assert played == pytest.approx(1.0, abs=0.1)
    keys(driver, "j")
    assert "The sound is not in this page." in driver.find_element("id", "detail").text
    assert_quiet(driver)


def test_a_linked_recording_plays_from_the_start_of_the_clip(
    opened: Any, page: Callable[..., Path], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a b.wav", 0.1 * np.sin(np.arange(64000) / 9), 32000)
    linked = clip(0, link="a%20b.wav", start=1.0, end=1.5, duration=2.0)
    driver = opened(page(data([linked]), linked=True))
    keys(driver, " ")
    stopped = driver.execute_async_script(
        "const done = arguments[0]; player.audio.addEventListener('pause', () => done(player.audio.currentTime))"
    )
    assert 1.5 <= stopped <= 2.0


def test_ten_thousand_clips_are_a_few_rows_in_the_document(opened: Any, page: Callable[..., Path]) -> None:
    driver = opened(page(data([clip(number) for number in range(10_000)])))
    for share in (0.0, 0.37, 1.0):
        seen = driver.execute_async_script(
            "const done = arguments[1]; list.scrollTop = arguments[0] * list.scrollHeight;"
            "requestAnimationFrame(() => requestAnimationFrame(() => {"
            " const box = list.getBoundingClientRect();"
            " const rows = [...document.querySelectorAll('.row')].map(row => row.getBoundingClientRect());"
            " const covered = rows.reduce((sum, at) =>"
            "  sum + Math.max(0, Math.min(at.bottom, box.bottom) - Math.max(at.top, box.top)), 0);"
            " done([covered / box.height, rows.length]) }))",
            share,
        )
        assert seen[0] == pytest.approx(1, abs=0.01)
        assert seen[1] < 60
    keys(driver, "\ue010")  # End
    assert texts(driver, ".detail .caption") == ["sound 9999 of many"]
    assert_quiet(driver)


def test_rows_stay_in_sight_when_the_browser_scrolls_before_the_page_knows(
    opened: Any, page: Callable[..., Path]
) -> None:
    driver = opened(page(data([clip(number) for number in range(10_000)])))
    covered = driver.execute_async_script(
        "const done = arguments[0];"
        "window.addEventListener('scroll', (event) => event.stopImmediatePropagation(), true);"  # the page never knows
        "list.scrollTop = 400000;"
        "requestAnimationFrame(() => requestAnimationFrame(() => {"
        " const box = list.getBoundingClientRect();"
        " done([...document.querySelectorAll('.row')].map((row) => row.getBoundingClientRect()).reduce((sum, at) =>"
        "  sum + Math.max(0, Math.min(at.bottom, box.bottom) - Math.max(at.top, box.top)), 0) / box.height) }))"
    )
    assert driver.execute_script("return [list.scrollTop, drawn.has(0)]") == [400_000, True]
    assert covered == pytest.approx(1, abs=0.01)


def test_two_runs_stand_side_by_side(opened: Any, page: Callable[..., Path]) -> None:
    one = clip(0, caption="a dog barks loudly", metrics={"cider_d": 0.5})
    others = [{"caption": "a dog howls", "score": 0.25, "metrics": {"cider_d": 0.75}}, None]
    one["others"] = [*others, {"caption": "a dog barks twice", "score": 0.125, "metrics": {"cider_d": 0.875}}]
    two = clip(1, others=[None, None, None])
    values = [[0.5, 0.25, 0.625], [0.75, None, None], None, [0.875, None, None]]
    content = data([one, two], metrics=[{"metric": "cider_d", "values": values, "n": 1}])
    content["runs"] += [{"name": name, "rows": 1, "hours": 0.5, "record": {}} for name in "bcd"]
    driver = opened(page(content))
    assert texts(driver, ".row .other") == ["a dog howls"]
    assert texts(driver, ".detail mark") == ["barks", "loudly", "howls", "twice"]
    assert texts(driver, ".detail .caption + .quiet")[1:] == ["b", "d"]
    assert "0.250 / 0.125" in driver.find_element("id", "detail").text
    assert "0.875" in driver.find_element("id", "detail").text
    assert "0.500" in driver.find_element("id", "detail").text
    assert "0.750" in driver.find_element("id", "detail").text
    driver.find_element("id", "tab-summary").click()
    summary = driver.find_element("id", "summary").text
    assert "0.750" in summary
    assert "0.500 0.250 to 0.625" in summary


def test_a_small_window_opens_the_clip_over_the_list(opened: Any, page: Callable[..., Path]) -> None:
    driver = opened(page(data([clip(number) for number in range(30)])))
    driver.set_window_size(500, 844)
    assert not driver.find_element("id", "detail").is_displayed()
    driver.find_element("css selector", "#row-2").click()
    assert driver.find_element("id", "detail").is_displayed()
    driver.find_element("id", "close").click()
    assert not driver.find_element("id", "detail").is_displayed()
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")

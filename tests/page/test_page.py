"""The pieces of the page: its file, its map, its sounds."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.page import clip_sounds, embedding_map, page_html
from tests.archives import put, tar, wav


def block(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_whatever_data_holds_stays_in_its_block(value: Any) -> None:
    page = page_html({"value": value}, {"id": "sound"}, title="</title><script>")
    assert block(page, "data") == {"value": value}
    assert block(page, "sounds") == {"id": "sound"}
    assert page.count("<script") == page.count("</script>") == 6
    assert page.count("</title>") == 1


def test_the_policy_lets_in_these_scripts_alone() -> None:
    page = page_html({}, {}, title="a")
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "unsafe-inline" not in policy
    assert "file:" not in policy
    assert policy.count("sha256-") == 5
    assert "default-src &#x27;none&#x27;" in policy
    assert "file:" in page_html({}, {}, title="a", linked=True)
    assert not re.search(r"""(src|href)=["'](?!\$)""", page.partition('<script type="application/json"')[0])


def test_numbers_that_are_none_are_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        page_html({"score": float("nan")}, {}, title="a")


@given(st.integers(2, 30), st.integers(2, 6), st.integers(0, 9))
def test_the_map_shows_the_two_directions_of_most_variance(count: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings = (rng.standard_normal((count, dim)) * np.linspace(3, 0.1, dim)).astype(np.float32)
    places = np.array(embedding_map(embeddings))
    assert places.shape == (count, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    _, _, directions = np.linalg.svd(embeddings - embeddings.mean(axis=0), full_matrices=False)
    expected = (embeddings - embeddings.mean(axis=0)) @ directions[0]
    if count > 4:
        assert abs(np.corrcoef(places[:, 0], expected)[0, 1]) > 0.99


def test_equal_embeddings_have_a_map() -> None:
    assert embedding_map(np.ones((3, 4), np.float32)) == [[0.0, 0.0]] * 3


def row(uri: str, member: str | None, start: float, end: float) -> dict[str, Any]:
    return {"clip_id": f"{uri}{member}{start}", "uri": uri, "member": member, "start_s": start, "end_s": end}


def test_clips_are_read_again_wherever_they_lie(tmp_path: Path) -> None:
    samples = np.zeros((5 * 8000, 2))
    samples[8000:16000, 0] = 0.5 * np.sin(np.arange(8000) / 2)
    samples[:, 1] = 0.25 * np.sin(np.arange(5 * 8000) / 2)
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    archive = put(tmp_path, "b.tar", tar({"x.wav": wav(1, 8000), "y.wav": wav(2, 4000)}))
    rows = [
        row(str(tmp_path / "a.wav"), "#channel=1", 1.0, 2.0),
        row(str(tmp_path / "a.wav"), "#channel=2", 0.0, 5.0),
        row(archive, "x.wav", 0.0, 1.0),
        row(archive, "gone.wav", 0.0, 1.0),
        row(archive, "y.wav", 0.0, 0.5),
        row(str(tmp_path / "gone.wav"), None, 0.0, 1.0),
    ]
    found = {sound.clip_id: sound for sound in clip_sounds(rows)}
    assert list(found) == [rows[number]["clip_id"] for number in (0, 1, 2, 4)]
    assert [len(sound.samples) / 24000 for sound in found.values()] == [1, 5, 1, 0.5]
    first, second = list(found.values())[:2]
    assert np.abs(first.samples).max() == pytest.approx(0.5, abs=0.02)
    assert np.abs(second.samples).max() == pytest.approx(0.25, abs=0.02)
    peaks = base64.b64decode(second.peaks)
    assert len(peaks) == 96
    assert max(peaks) == pytest.approx(64, abs=6)
    played, rate = soundfile.read(io.BytesIO(base64.b64decode(second.opus())))
    assert rate in (24000, 48000)
    assert len(played) / rate == pytest.approx(5, abs=0.05)

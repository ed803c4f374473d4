"""The length that a header announces."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from sonogloss.audio.probe import Form, probe
from sonogloss.errors import ClipError


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None)])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_length_is_known_without_decoding(kind: str, subtype: str | None, channels: int) -> None:
    target = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal((44100 * 3, channels))
    soundfile.write(target, samples, 44100, format=kind, subtype=subtype)
    target.seek(0)
    [form] = probe(target)
    assert form.channels == channels
    assert form.duration_s == pytest.approx(3.0, abs=0.1)


def test_what_is_no_sound_is_refused_and_what_is_empty_has_no_length() -> None:
    with pytest.raises(ClipError):
        list(probe(io.BytesIO(b"a text that is called wav")))
    target = io.BytesIO()
    soundfile.write(target, np.zeros(0), 8000, format="WAV")
    assert list(probe(io.BytesIO(target.getvalue()))) == []


def test_a_size_that_a_crash_left_wrong_is_not_believed() -> None:
    target = io.BytesIO()
    soundfile.write(target, np.zeros(8000), 8000, format="WAV")
    data = bytearray(target.getvalue())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert all(form == Form(duration_s=1.0, channels=1) for form in probe(io.BytesIO(bytes(data))))

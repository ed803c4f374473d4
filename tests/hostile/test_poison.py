"""One clip that a model fails on, and one file that kills its decoder, cost themselves only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sonogloss.audio.decoder_pool import DecoderPool
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.clap import Clap
from sonogloss.pipelines.command_line import main
from sonogloss.pipelines.running.decoding_notes import NOTES_FOLDER
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.records import FloatArray
from sonogloss.sources import source_key
from sonogloss.transforms import read_audio
from tests.archives import put, wav
from tests.audio.hostile_decoders import decode_clips_or_obey

CLIPS = 150


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(CLIPS):
        put(tmp_path, f"audio/{number:05d}.wav", wav(number))
    return tmp_path / "audio"


@pytest.fixture(autouse=True)
def obedient(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderPool]:
    pool = DecoderPool(decode_clips_or_obey)
    monkeypatch.setattr(read_audio, "clip_decoders", lambda: pool)
    yield pool
    pool.close()


def classify(clips: Path, clap: Path) -> pd.DataFrame:
    """The dead letters of a job in which all others get labels."""
    output, labels = clips.parent / "tags", clips.parent / "labels.txt"
    labels.write_text("dog\nrain\n")
    argv = ["classify", "--audio", clips, "--labels", labels, "--output", output, "--clap", clap, "--json"]
    assert main([str(word) for word in argv]) == 0
    rows, dead = pd.read_parquet(output / "labels"), pd.read_parquet(output / "dead_letters")
    assert len(rows) == rows["uri"].nunique() == CLIPS - len(dead)
    assert sorted(path.name for path in output.iterdir()) == ["dead_letters", "labels", "run.json"]
    return dead


def test_a_clip_that_the_model_fails_on(
    clips: Path, tiny_clap_dir: Path, tiny_clap: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(clips, "00070.wav", wav(0)[:44] + np.full(400, 20_000, "<i2").tobytes())
    embed: Any = type(tiny_clap).embed_audio

    def fails(self: Clap, waveforms: Sequence[FloatArray]) -> FloatArray:
        if any(waveform.mean() > 0.5 for waveform in waveforms):
            raise RuntimeError("CUDA error: an illegal instruction was encountered")
        return np.asarray(embed(self, waveforms))

    monkeypatch.setattr(type(tiny_clap), "embed_audio", fails)
    dead = classify(clips, tiny_clap_dir)
    assert [(Path(row.uri).name, row.code, row.stage) for row in dead.itertuples()] == [
        ("00070.wav", "MODEL_FAILED", "embed_audio")
    ]
    assert "illegal instruction" in dead["message"][0]


def test_a_file_that_kills_its_decoder(clips: Path, tiny_clap_dir: Path, obedient: DecoderPool) -> None:
    put(clips, "00070.wav", b"deed segfault")
    dead = classify(clips, tiny_clap_dir)
    assert [(Path(row.uri).name, row.code) for row in dead.itertuples()] == [("00070.wav", "CRASHED")]
    assert obedient.processes_started == 3  # the first, its second try, and one for the rest


def test_a_file_that_two_workers_died_of_is_not_tried_again(
    clips: Path, tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after two runs that the kernel ended for lack of memory, while they decoded this file."""
    notes = clips.parent / "tags" / NOTES_FOLDER
    sources, _ = list_audio([str(clips)])
    monkeypatch.setattr("sonogloss.audio.decoding_journal._machine", lambda: {"boot": None, "out_of_memory": None})
    for _ in range(2):
        journal = DecodingJournal(str(notes))
        journal.begin(source_key(sources[70]))
        journal._file.close()  # what the kernel does
    dead = classify(clips, tiny_clap_dir)
    assert [(Path(row.uri).name, row.code) for row in dead.itertuples()] == [("00070.wav", "CRASHED")]
    assert "2 workers died" in dead["message"][0]

"""A captioner without a job gives the captions of the job; what is no sound is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import sonogloss
from sonogloss.errors import FingerprintMismatchError, FormatError, InputError, MissingInputError, OptionError
from sonogloss.pipelines.load_captioner import AudioCaptioner

from .conftest import Run


@pytest.fixture(scope="module")
def opened(store: Path, captioner: Path) -> AudioCaptioner:
    return sonogloss.load_captioner(captioner, datastore=store, device="cpu")


def test_captions_are_those_of_the_job(
    run: Run, opened: AudioCaptioner, recordings: Path, store: Path, captioner: Path, tmp_path: Path
) -> None:
    common = ["--datastore", store, "--captioner", captioner, "--output", tmp_path, "--device", "cpu"]
    assert run("caption", "--audio", recordings / "0.wav", recordings / "3.wav", *common).code == 0
    rows = [row for path in tmp_path.glob("captions/*.parquet") for row in pq.read_table(path).to_pylist()]
    expected = {(Path(row["uri"]).name, row["start_s"]): row for row in rows}
    lists = opened.caption([recordings / "0.wav", str(recordings / "3.wav")])
    assert sum(map(len, lists)) == len(expected)
    for row in (row for part in lists for row in part):
        there = expected[Path(row.clip.uri).name, row.clip.start_s]
        assert (row.clip.clip_id, row.caption, row.clap_score) == (
            there["clip_id"],
            there["caption"],
            pytest.approx(there["clap_score"], abs=1e-6),
        )
        assert [context.text for context in row.contexts] == [context["text"] for context in there["contexts"]]


def test_a_path_its_bytes_and_its_samples_are_captioned_alike(opened: AudioCaptioner, recordings: Path) -> None:
    path = recordings / "0.wav"
    floats, rate = soundfile.read(path, dtype="float32")
    whole, _ = soundfile.read(path, dtype="int16")
    assert floats.ndim == 1
    captions = [
        [(row.caption, row.clap_score) for row in opened.caption(*arguments)]
        for arguments in ((path,), (path.read_bytes(),), (floats, rate), (whole, rate))
    ]
    assert captions[0] == captions[1] == captions[2] == captions[3]


@pytest.mark.parametrize(
    ("audio", "rate", "kind", "words"),
    [
        (np.zeros(100, np.float32), None, OptionError, "sample_rate"),
        (np.zeros((2, 100), np.float32), 32000, OptionError, "(2, 100)"),
        (np.zeros(0, np.float32), 32000, OptionError, "empty"),
        (np.full(100, np.nan, np.float32), 32000, OptionError, "NaN"),
        (np.full(100, 3000.0), 32000, OptionError, "3000"),
        (np.zeros(100, complex), 32000, OptionError, "complex"),
        (np.zeros(100, np.float32), 0, OptionError, "0"),
        ("nowhere.wav", None, MissingInputError, "nowhere.wav"),
        (b"no sound at all", None, FormatError, "bytes"),
        (b"", None, FormatError, "bytes"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(
    opened: AudioCaptioner, audio: Any, rate: int | None, kind: type[InputError], words: str
) -> None:
    with pytest.raises(kind) as error:
        opened.caption(audio, rate)
    assert words in str(error.value)


def test_a_list_gives_a_list_for_each_and_nothing_gives_nothing(opened: AudioCaptioner, recordings: Path) -> None:
    assert opened.caption([]) == []
    [rows] = opened.caption([recordings / "0.wav"])
    assert rows[0].caption


def test_parts_that_do_not_belong_together_are_refused(store: Path, captioner: Path) -> None:
    with pytest.raises(FingerprintMismatchError, match="fixes its CLAP"):
        sonogloss.load_captioner(captioner, datastore=None, contexts=0, projection=False, clap="pocket")
    with pytest.raises(OptionError, match="--datastore"):
        sonogloss.load_captioner(captioner)
    with pytest.raises(OptionError, match="did you mean"):
        sonogloss.load_captioner(captioner, datastore=store, precision="float31")


def test_models_and_stores_open_by_themselves(store: Path, tiny_clap_dir: Path) -> None:
    clap = sonogloss.load_clap(str(tiny_clap_dir))
    datastore = sonogloss.Datastore.open(str(store))
    vectors = clap.embed_text(["a dog barks twice", "rain falls on a roof"])
    assert [row[0].text for row in datastore.search(vectors, 1)] == ["a dog barks twice", "rain falls on a roof"]
    projected = datastore.project(vectors, temperature=0.01, renormalise=True)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, atol=1e-5)

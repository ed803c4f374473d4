"""Whole jobs over audio as people have it: in every container, with odd names, damaged headers, pipes and links."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.archives import ARCHIVES, put

from .conftest import CAPTIONS, Run

RATE = 16000


def sound(seconds: float, container: str = "WAV", *, seed: int = 0, channels: int = 1) -> bytes:
    """Noise of a few tones: no codec loses it."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 200 + 37 * seed
    samples = 0.2 * np.sin(2 * np.pi * pitch * time) + 0.1 * np.sin(2 * np.pi * 3.1 * pitch * time)
    target = io.BytesIO()
    soundfile.write(target, np.repeat(samples[:, None], channels, axis=1), RATE, format=container)
    return target.getvalue()


@pytest.fixture
def labels(tmp_path: Path) -> str:
    return put(tmp_path, "labels.txt", "\n".join(CAPTIONS).encode())


def rows(output: Path, kind: str) -> pd.DataFrame:
    return pd.read_parquet(output / kind)


def test_the_same_clips_in_every_container_give_the_same_captions(
    run: Run, store: Path, captioner: Path, tiny_clap_dir: Path, tmp_path: Path
) -> None:
    members = {f"{number}.wav": sound(1 + number % 2 * 11, seed=number) for number in range(5)}
    places: dict[str, list[str]] = {"loose": [put(tmp_path / "loose", name, data) for name, data in members.items()]}
    for name, pack in ARCHIVES.items():
        places[name] = [put(tmp_path / "packed", name, pack(members))]
    listing = "uri,start,end\n" + "".join(f"{path},,\n" for path in places["loose"])
    places["listing"] = [put(tmp_path, "list.csv", listing.encode())]
    found: dict[str, Any] = {}
    for name, audio in places.items():
        output = tmp_path / "results" / name
        outcome = run(
            "caption", "--audio", *audio, "--datastore", store, "--captioner", captioner, "--clap", tiny_clap_dir,
            "--output", output, "--json",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        captions = rows(output, "captions")
        named = captions["member"].where(captions["member"].notna(), captions["uri"].map(os.path.basename))
        captions["name"] = named.map(os.path.basename)
        columns = ["name", "start_s", "end_s", "duration_s", "caption", "clap_score", "audio_sha256"]
        found[name] = captions.sort_values(["name", "start_s"])[columns].to_dict("records")
        assert len(found[name]) == 7
    for name in places:
        assert found[name] == found["loose"], name


def test_odd_places_and_names(run: Run, tiny_clap_dir: Path, labels: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    good = ["plain.wav", "take [1].wav", "rec::1.wav", "12:30:45.wav", "new\nline.wav", "[bold]x[/red].wav", "a*b.wav"]
    for name in good:
        put(folder, name, sound(0.6))
    put(folder, "night [2020]/a.wav", sound(0.6))
    put(tmp_path / "disk", "linked.wav", sound(0.6))
    os.symlink(tmp_path / "disk", folder / "train")
    os.symlink(".", folder / "loop")
    os.symlink("nowhere.wav", folder / "dangling.wav")
    os.mkfifo(folder / "live.wav")
    for name in good:
        put(folder, f"._{name}", b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(400))
    with open(os.fsencode(folder) + b"/caf\xe9.wav", "wb") as file:
        file.write(sound(0.6))
    outcome = run(
        "classify", "--audio", folder, "--labels", labels, "--clap", tiny_clap_dir, "--output", tmp_path / "out",
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.report["counts"]["labels"] == len(good) + 3
    assert outcome.report["counts"]["dead_letters"] == 0
    assert outcome.report["counts"]["skipped"] == len(good) + 3  # AppleDouble twins, the loop, the link, the pipe
    names = [os.path.relpath(uri, folder) for uri in rows(tmp_path / "out", "labels")["uri"]]
    assert sorted(names) == sorted([*good, "night [2020]/a.wav", "train/linked.wav", "caf\\xe9.wav"])
    assert run("verify", tmp_path / "out").code == 0


def test_sizes_joins_and_phases(run: Run, tiny_clap_dir: Path, labels: str, tmp_path: Path) -> None:
    """A file is as long as its sound, or says that it is not whole."""
    folder = tmp_path / "audio"
    whole = sound(5)
    at = whole.index(b"data") + 4
    cancelling = np.sin(np.arange(5 * RATE) / 6)[:, None] * [0.5, -0.5]
    nearly = np.sin(np.arange(5 * RATE) / 6)[:, None] * [0.5, -0.499]
    files = {
        "chained.ogg": sound(6, "OGG") + sound(6, "OGG", seed=1),
        "joined.mp3": sound(6, "MP3") + b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + sound(6, "MP3", seed=1),
        "size_zero.wav": whole[:4] + bytes(4) + whole[8:at] + bytes(4) + whole[at + 4 :],
        "size_small.wav": whole[:at] + struct.pack("<I", 2 * RATE) + whole[at + 4 :],
        "total_zero.flac": _without_total(sound(5, "FLAC")),
    }
    for name, data in files.items():
        put(folder, name, data)
    for name, samples in (("antiphase.wav", cancelling), ("antiphase_near.wav", nearly)):
        soundfile.write(folder / name, samples, RATE)
    outcome = run(
        "classify", "--audio", folder, "--labels", labels, "--clap", tiny_clap_dir, "--output", tmp_path / "out",
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = rows(tmp_path / "out", "labels")
    found["name"] = found["uri"].map(os.path.basename)
    assert found.groupby("name").size().to_dict() == dict.fromkeys(files, 1) | {
        "chained.ogg": 2, "joined.mp3": 2, "antiphase.wav": 1, "antiphase_near.wav": 1,
    }  # fmt: skip
    seconds = found.groupby("name")["duration_s"].first()
    flags = found.groupby("name")["flags"].first().map(set)
    assert seconds["chained.ogg"] == pytest.approx(12, abs=0.1)
    assert seconds["joined.mp3"] == pytest.approx(12, abs=0.2)
    assert seconds["size_zero.wav"] == seconds["size_small.wav"] == seconds["total_zero.flac"] == 5
    assert "TRUNCATED" in flags["size_zero.wav"]
    assert "TRUNCATED" in flags["size_small.wav"]
    assert "TRUNCATED" not in flags["total_zero.flac"]
    for name in ("antiphase.wav", "antiphase_near.wav"):
        assert "ANTIPHASE" in flags[name]
        assert "SILENT" not in flags[name]


def _without_total(flac: bytes) -> bytes:
    """A FLAC whose header does not say how many samples follow, as an encoder writes to a pipe."""
    at = flac.index(b"fLaC") + 8 + 13  # the last 4 bits of this byte and the next four are the number of samples
    return flac[:at] + bytes([flac[at] & 0xF0]) + bytes(4) + flac[at + 5 :]

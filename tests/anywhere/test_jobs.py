"""Whole jobs over object stores: the rows of a local run, few requests, and no clip lost to a store that throttles."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sonogloss import files
from sonogloss.pipelines.command_line import main
from tests.anywhere.conftest import Store
from tests.archives import wav

CLIPS = 12
LINES = ["a dog barks twice", "rain falls on a roof", "birds sing far away", "a siren wails", "water drips"]


def call(*argv: object) -> int:
    return main([str(word) for word in argv])


def put_recordings(root: str) -> None:
    for number in range(CLIPS):
        files.write_bytes(files.join(root, "audio", f"{number:02d}.wav"), wav(number, frames=24_000))


def rows_of(results: str) -> list[dict[str, object]]:
    """Rows without what names the place, sorted."""
    names = files.list_dir(files.join(results, "captions"), ".parquet")
    table = pa.concat_tables([files.read_table(name) for name in names]).drop_columns(["clip_id"])
    found = [{**row, "uri": files.base_name(row["uri"])} for row in table.to_pylist()]
    return sorted(found, key=lambda row: str(row["uri"]))


@pytest.fixture(scope="module")
def datastore(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    (folder / "dump.txt").write_text("\n".join(LINES))
    assert call("build-datastore", "--captions", folder / "dump.txt", "--output", folder / "store") == 0
    return str(folder / "store")


@pytest.fixture(scope="module")
def local_rows(tmp_path_factory: pytest.TempPathFactory, datastore: str) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("local")
    put_recordings(str(folder))
    assert caption(str(folder), datastore) == 0
    return rows_of(str(folder / "results"))


def caption(root: str, datastore: str, *options: str) -> int:
    audio, output = files.join(root, "audio"), files.join(root, "results")
    return call("caption", "--audio", audio, "--datastore", datastore, "--output", output, *options)


STORES = ["gs", "s3"]


@pytest.mark.parametrize("name", STORES)
def test_rows_are_those_of_a_local_run_for_one_request_a_clip(
    name: str, request: pytest.FixtureRequest, datastore: str, local_rows: list[dict[str, object]]
) -> None:
    store: Store = request.getfixturevalue(name)
    assert store.proxy is not None
    put_recordings(store.root)
    store.proxy.requests.clear()
    assert caption(store.root, datastore) == 0
    requests = [line for line in store.proxy.requests if "prefix=" not in line]  # listings
    about_audio = [line for line in requests if "/audio/" in line]
    assert Counter(line.partition("/audio/")[2][:6] for line in about_audio) == Counter(
        {f"{number:02d}.wav": 1 for number in range(CLIPS)}
    )
    assert not [line for line in requests if line.startswith("GET") and "part-" in line]  # nothing is read back
    uploads = [line for line in requests if line.startswith(("POST", "PUT"))]
    assert len(uploads) <= 2 + 4  # two part files; the lease, its renewals and the manifest
    assert rows_of(files.join(store.root, "results")) == local_rows
    assert call("verify", files.join(store.root, "results")) == 0
    assert caption(store.root, datastore) == 0  # nothing is left to do


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gs", "s3"])
def test_a_store_that_throttles_costs_no_clip(
    name: str, request: pytest.FixtureRequest, datastore: str, local_rows: list[dict[str, object]]
) -> None:
    store: Store = request.getfixturevalue(name)
    assert store.proxy is not None
    put_recordings(store.root)
    chance = np.random.default_rng(0)
    store.proxy.fault = lambda method, path: "503" if chance.random() < 0.1 else None
    assert caption(store.root, datastore) == 0
    store.proxy.fault = lambda method, path: None
    assert rows_of(files.join(store.root, "results")) == local_rows
    run = files.read_json(files.join(store.root, "results", "run.json"))
    assert run["counts"] == {"inputs": CLIPS, "captions": CLIPS, "dead_letters": 0, "skipped": 0}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gs", "s3"])
def test_an_outage_ends_the_job_in_words_and_the_same_command_goes_on(
    name: str,
    request: pytest.FixtureRequest,
    datastore: str,
    local_rows: list[dict[str, object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store: Store = request.getfixturevalue(name)
    assert store.proxy is not None
    put_recordings(store.root)
    store.proxy.fault = lambda method, path: "503" if "07.wav" in path and method == "GET" else None
    assert caption(store.root, datastore) == 1
    said = capsys.readouterr().err
    assert "07.wav' cannot be reached" in said
    assert "Traceback" not in said
    store.proxy.fault = lambda method, path: None
    assert caption(store.root, datastore) == 0
    assert rows_of(files.join(store.root, "results")) == local_rows


@pytest.mark.slow
def test_what_is_missing_or_refused_is_a_dead_letter(gs: Store, datastore: str, tmp_path: Path) -> None:
    put_recordings(gs.root)
    listing = tmp_path / "listing.jsonl"
    listing.write_text("".join(f'{{"uri": "{gs.root}/audio/{name}.wav"}}\n' for name in ("00", "01", "gone")))
    assert gs.proxy is not None
    gs.proxy.fault = lambda method, path: "403" if "/01.wav" in path.replace("%2F", "/") else None
    output = tmp_path / "results"
    assert call("caption", "--audio", listing, "--datastore", datastore, "--output", output) == 1
    run = files.read_json(str(output / "run.json"))
    assert run["counts"] == {"inputs": 3, "captions": 1, "dead_letters": 2, "skipped": 0}
    assert run["dead_letter_codes"] == {"READ_ERROR": 2}

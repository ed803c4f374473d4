"""Whole jobs over object stores: the rows of a local run, few requests, and no clip lost to a store that throttles."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sonogloss import files
from sonogloss.pipelines.command_line import main
from sonogloss.sources.places import look
from tests.anywhere.conftest import Store
from tests.archives import wav

CLIPS = 12
Rows = list[dict[str, Any]]
LINES = ["a dog barks twice", "rain falls on a roof", "birds sing far away", "a siren wails", "water drips"]


def call(*argv: object) -> int:
    return main([str(word) for word in argv])


def put_recordings(root: str) -> None:
    for number in range(CLIPS):
        files.write_bytes(files.join(root, "audio", f"{number:02d}.wav"), wav(number, frames=24_000))


def rows_of(results: str) -> Rows:
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
def local_rows(tmp_path_factory: pytest.TempPathFactory, datastore: str) -> Rows:
    folder = tmp_path_factory.mktemp("local")
    put_recordings(str(folder))
    assert caption(str(folder), datastore) == 0
    return rows_of(str(folder / "results"))


def caption(root: str, datastore: str, *options: str) -> int:
    audio, output = files.join(root, "audio"), files.join(root, "results")
    return call("caption", "--audio", audio, "--datastore", datastore, "--output", output, *options)


@pytest.fixture(params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> Store:
    """A bucket of each kind with the recordings."""
    store: Store = request.getfixturevalue(request.param)
    put_recordings(store.root)
    assert store.proxy is not None
    store.proxy.requests.clear()
    return store


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["here", "workers"])
def test_a_clip_costs_one_request_and_a_part_another(
    bucket: Store, datastore: str, local_rows: Rows, workers: list[str]
) -> None:
    """The proxy counts them whatever process they come from."""
    assert bucket.proxy is not None
    assert caption(bucket.root, datastore, *workers) == 0
    sounds = [line for line in bucket.proxy.requests if ".wav" in line]
    assert Counter(line.partition("/audio/")[2][:6] for line in sounds) == Counter(
        {f"{number:02d}.wav": 1 for number in range(CLIPS)}
    )
    parts = bucket.proxy.of("part-")
    assert [line.partition(" ")[0] in ("POST", "PUT") for line in parts] == [True, True]  # nothing is read back
    listings = [line for line in bucket.proxy.requests if "prefix=audio/&" in line]
    assert len(listings) <= 3  # is it a folder, what is in it
    assert rows_of(files.join(bucket.root, "results")) == local_rows


def test_a_listing_with_bytes_and_versions_costs_no_look(bucket: Store, datastore: str, local_rows: Rows) -> None:
    """Each recording is fetched once and nothing else is asked; a listing by prefix finds it done."""
    assert bucket.proxy is not None
    found = [look(path) for path in files.list_dir(files.join(bucket.root, "audio"))]
    rows = [
        {"uri": each.uri, "bytes": each.bytes, "version": str(each.version).partition("-")[2]} for each in found if each
    ]
    listing, output = files.join(bucket.root, "told.parquet"), files.join(bucket.root, "results")
    files.write_table(listing, pa.Table.from_pylist(rows))
    bucket.proxy.requests.clear()
    assert call("caption", "--audio", listing, "--datastore", datastore, "--output", output) == 0
    sounds = [line for line in bucket.proxy.requests if ".wav" in line]
    assert len(sounds) == CLIPS
    assert all(is_download(*line.split(" ", 1)) for line in sounds)
    assert rows_of(output) == local_rows
    before = files.read_json(files.join(output, "run.json"))
    assert caption(bucket.root, datastore) == 0  # nothing is left to do
    assert files.read_json(files.join(output, "run.json")) == before


def test_every_command_gives_on_a_store_what_it_gives_here(bucket: Store, tmp_path: Path) -> None:
    put_recordings(str(tmp_path))
    for root in (bucket.root, str(tmp_path)):
        put_texts(root)
        whole_walk(root)
    assert tables_of(bucket.root) == tables_of(str(tmp_path))
    assert bucket.proxy is not None
    for number in range(CLIPS, CLIPS + 2):
        files.write_bytes(files.join(bucket.root, "audio", f"{number:02d}.wav"), wav(number, frames=24_000))
    bucket.proxy.requests.clear()
    assert caption(bucket.root, files.join(bucket.root, "store")) == 0  # two are new
    assert len([line for line in bucket.proxy.of(".wav") if line.startswith("GET")]) == 2
    assert call("verify", files.join(bucket.root, "results")) == 0


def put_texts(root: str) -> None:
    files.write_bytes(files.join(root, "dump.txt"), "\n".join(LINES).encode())
    files.write_bytes(files.join(root, "labels.txt"), b"a dog\nrain\na siren\n")
    truth = [{"file_name": f"{number:02d}.wav", "references": [LINES[number % 5]]} for number in range(CLIPS)]
    files.write_bytes(files.join(root, "references.jsonl"), "\n".join(map(json.dumps, truth)).encode())


def whole_walk(root: str) -> None:
    def at(name: str) -> str:
        return files.join(root, name)

    assert call("build-datastore", "--captions", at("dump.txt"), "--output", at("store")) == 0
    assert caption(root, at("store")) == 0
    assert (
        call("evaluate", "--results", at("results"), "--references", at("references.jsonl"), "--output", at("m")) == 0
    )
    assert call("classify", "--audio", at("audio"), "--labels", at("labels.txt"), "--output", at("tags")) == 0
    for name in ("store", "results", "tags"):
        assert call("verify", at(name)) == 0
    assert caption(root, at("store")) == 0  # nothing is left to do


def tables_of(root: str) -> dict[str, Rows]:
    """All tables below a folder, by folder, without what names the place."""
    found: dict[str, Rows] = {}
    for name in files.list_below(root):
        if not name.endswith(".parquet"):
            continue
        for row in files.read_table(files.join(root, name)).to_pylist():
            row.pop("clip_id", None)
            row |= {"uri": files.base_name(row["uri"])} if "uri" in row else {}
            found.setdefault(name.rpartition("/")[0], []).append(row)
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["here", "workers"])
def test_a_store_that_throttles_costs_no_clip(
    bucket: Store, datastore: str, local_rows: Rows, workers: list[str]
) -> None:
    """A tenth of the requests is refused, and as many are slow, or break before or in the middle of their answer."""
    assert bucket.proxy is not None
    chance = np.random.default_rng(0)
    faults = ["503", "503", "503", "slow", "cut", "half"] + [None] * 24
    before: deque[str | None] = deque(maxlen=3)

    def fault(method: str, path: str) -> str | None:
        drawn = faults[chance.integers(len(faults))]
        before.append(None if len(before) == 3 and all(before) else drawn)  # a call is tried four times
        return before[-1]

    bucket.proxy.fault = fault
    assert caption(bucket.root, datastore, *workers) == 0
    bucket.proxy.fault = lambda method, path: None
    assert rows_of(files.join(bucket.root, "results")) == local_rows
    run = files.read_json(files.join(bucket.root, "results", "run.json"))
    assert run["counts"] == {"inputs": CLIPS, "captions": CLIPS, "dead_letters": 0, "skipped": 0}


def test_an_outage_ends_the_job_in_words_and_the_same_command_goes_on(
    bucket: Store, datastore: str, local_rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    store = bucket
    assert store.proxy is not None
    store.proxy.fault = lambda method, path: "503" if "07.wav" in path and method == "GET" else None
    assert caption(store.root, datastore) == 1
    said = capsys.readouterr().err
    assert "07.wav' cannot be reached" in said
    assert "Traceback" not in said
    store.proxy.fault = lambda method, path: None
    assert caption(store.root, datastore) == 0
    assert rows_of(files.join(store.root, "results")) == local_rows


@pytest.mark.parametrize("command", ["caption", "classify"])
def test_what_is_missing_or_refused_is_a_dead_letter_and_what_was_refused_is_taken_up_again(
    bucket: Store, datastore: str, tmp_path: Path, command: str
) -> None:
    listing, proxy = files.join(bucket.root, "listing.jsonl"), bucket.proxy
    lines = [f'{{"uri": "{bucket.root}/audio/{name}.wav"}}\n' for name in ("00", "01", "gone")]
    files.write_bytes(listing, "".join(lines).encode())
    assert proxy is not None
    proxy.fault = lambda method, path: "403" if "01.wav" in path and is_download(method, path) else None
    output = files.join(bucket.root, "out")
    models = ["--datastore", datastore] if command == "caption" else ["--labels", "pocket"]
    job = [command, "--audio", listing, *models, "--output", output, "--max-dead-letters", "1"]
    rows = "captions" if command == "caption" else "labels"
    assert call(*job) == 0
    run = files.read_json(files.join(output, "run.json"))
    assert run["counts"] == {"inputs": 3, rows: 1, "dead_letters": 2, "skipped": 0}
    assert run["dead_letter_codes"] == {"READ_ERROR": 2}
    proxy.fault = lambda method, path: None
    assert call(*job) == 0
    assert files.read_json(files.join(output, "run.json")) == run
    proxy.requests.clear()
    assert call(*job, "--retry-dead-letters") == 0
    run = files.read_json(files.join(output, "run.json"))
    assert run["counts"] == {"inputs": 3, rows: 2, "dead_letters": 1, "skipped": 0}
    sounds = [line for line in proxy.of(".wav") if is_download(*line.split(" ", 1))]
    assert len(sounds) == 1
    assert "01.wav" in sounds[0]
    assert call("verify", output) == 0


def is_download(method: str, path: str) -> bool:
    """Of content, not of what a store says about an object."""
    return method == "GET" and ("alt=media" in path or "/storage/" not in path) and "prefix=" not in path

"""Caption dumps that mean harm: each is one sentence or one dead letter, and costs little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from sonogloss.dumps import parquet_rows
from sonogloss.errors import InputError
from tests.archives import tar

from .dump_reading import Read, read


def hostile(folder: Path) -> dict[str, bytes]:
    """Small ones of each kind, by name."""
    rng = np.random.default_rng(0)
    lines = b"".join(b'{"text": "caption %d %d"}\n' % (n, n * 7919 % 10007) for n in range(5000))
    pq.write_table(pa.table({"other": ["a"]}), folder / "column")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), folder / "rows")
    once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array(["x" * 3_000_000]))
    pq.write_table(pa.table({"text": once}), folder / "once")
    packed = zstandard.ZstdCompressor().compress(lines)
    return {
        "junk.txt": rng.bytes(100_000),
        "junk.jsonl": rng.bytes(100_000),
        "junk.json": rng.bytes(100_000),
        "junk.csv": rng.bytes(100_000),
        "junk.parquet": rng.bytes(100_000),
        "junk.tar": rng.bytes(100_000),
        "junk.jsonl.gz": rng.bytes(100_000),
        "line.txt": b"x" * (3 << 20),
        "latin.txt": "caf\u00e9\n".encode("latin-1") * 100,
        "cut.jsonl.gz": gzip.compress(lines)[:-3000],
        "cut.jsonl.zst": packed[:-3000],
        "cut.parquet": (folder / "column").read_bytes()[:-9],
        "cut.tar": tar({"a.txt": b"rain", "b.txt": b"wind" * 2000})[:6000],
        "column.parquet": (folder / "column").read_bytes(),
        "rows.parquet": (folder / "rows").read_bytes(),
        "once.parquet": (folder / "once").read_bytes(),
        "empty.csv": b"",
        "heading.csv": b"text,n\n",
        "empty.json": b"",
        "array.json": b"[]",
        "deep.json": b"[" * 100_000,
        "deep.jsonl": b'{"text":' * 100_000,
        "digits.jsonl": b'{"text": ' + b"9" * 10_000 + b"}\n",
        "quotes.csv": b"id,text\n" + b'1,"open\n' * 3000,
        "keys.jsonl": b"".join(b'{"text": "a", "k%d": 1}\n' % n for n in range(3000)),
        "nulls.csv": b"text\n" + b"\x00" * 5000,
    }


def outcome(path: Path) -> Read | str:
    """What is read, or the sentence that refuses the dump."""
    try:
        return read(path)
    except InputError as error:
        return str(error)


def test_a_hostile_dump_is_one_sentence_or_counted(tmp_path: Path) -> None:
    (tmp_path / "dumps").mkdir()
    content = hostile(tmp_path)
    for name, data in content.items():
        path = tmp_path / "dumps" / name
        path.write_bytes(data)
        found = outcome(path)
        if isinstance(found, str):
            assert name in found
            assert "\n" not in found
            continue
        assert all(letter.message.count("\n") == 0 for letter in found.dead)
        if name not in ("rows.parquet", "empty.csv", "heading.csv", "array.json", "keys.jsonl"):
            assert found.counts["malformed"] > 0, name
        if name.startswith("cut"):
            assert found.counts["broken"] == 1, name
            assert found.texts, name
        if name == "keys.jsonl":
            assert len(found.columns) == 256
            assert len(found.left_out) == 256
        if name == "once.parquet":
            assert found.counts["malformed"] == 1000


def test_what_unpacks_to_far_more_is_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonogloss.dumps import streams
    from sonogloss.sources import SourceLimits

    monkeypatch.setattr(streams, "LIMITS", SourceLimits(ratio_from_bytes=1 << 20))
    monkeypatch.setattr(parquet_rows, "LIMITS", SourceLimits(ratio_from_bytes=1 << 20))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"rain\n" + bytes(30 << 20)))
    (tmp_path / "b.txt.zst").write_bytes(zstandard.ZstdCompressor().compress(b"rain\n" + bytes(30 << 20)))
    pq.write_table(
        pa.table({"text": ["rain" * 100_000] * 30}), tmp_path / "c.parquet", compression="zstd", use_dictionary=False
    )
    for name in ("a.txt.gz", "b.txt.zst", "c.parquet"):
        found = read(tmp_path / name)
        assert found.counts["broken"] == 1
        assert "ratio over the limit" in found.dead[-1].message
        assert len(found.texts) <= 1


_READ = """
import json, resource, sys
from sonogloss.pipelines.running.caption_dumps import list_dumps
from sonogloss.transforms.read_captions import ReadCount, read_captions
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(dump,) = list_dumps([sys.argv[1]]).files
(count,) = (item for item in read_captions(dump) if isinstance(item, ReadCount))
print(json.dumps([count.read, count.malformed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def large(name: str) -> Iterator[bytes]:
    """A dump with one line of 100 MB, or with one quote among five million lines that never closes."""
    if name == "quote.csv":
        yield b"n,text\n"
        for n in range(5_000_000):
            yield (b'%d,"rain %d\n' if n == 10 else b"%d,rain %d\n") % (n, n)
        return
    begin, end = b"", b"\nwind\n"
    if name == "line.csv":
        begin = b"text\n"
    elif name == "line.jsonl":
        begin, end = b'{"text": "', b'"}\n{"text": "wind"}\n'
    yield begin
    yield from (b"x" * 1_000_000 for _ in range(100))
    yield end


@pytest.mark.slow
@pytest.mark.parametrize("name", ["line.txt", "line.csv", "line.jsonl", "line.txt.gz", "quote.csv"])
def test_a_large_hostile_dump_costs_one_dead_letter_and_little_memory(tmp_path: Path, name: str) -> None:
    with gzip.open(tmp_path / name, "wb", 1) if name.endswith(".gz") else (tmp_path / name).open("wb") as file:
        file.writelines(large(name))
    done = subprocess.run([sys.executable, "-c", _READ, tmp_path / name], check=True, capture_output=True)
    read, malformed, kib = json.loads(done.stdout)
    assert (read, malformed) == ((4_999_999, 1) if name == "quote.csv" else (1, 1))
    assert kib < 64 << 10

"""The caption dumps of a job: which files, which columns, which sources; what people's dumps are made of."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.dumps import parquet_rows
from sonogloss.errors import FormatError, MissingInputError, OptionError
from sonogloss.pipelines.running.caption_dumps import CaptionDumps, list_dumps
from sonogloss.transforms import caption_formats

from .dump_reading import Read, read

SENTENCES = [
    f"{what} {how}" for what in ("rain", "a dog", "thunder") for how in ("falls", "barks", "is heard far away")
]


# -- what the dumps of others hold ------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "a \\udfff\\ud83d b"])
def test_half_an_emoji_is_a_dead_letter_in_text_and_replaced_elsewhere(tmp_path: Path, half: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        f'{{"text": "bad {half} emoji"}}\n{{"text": "fine", "x": "{half}"}}\n{{"text": "\\ud83d\\ude00"}}\n'
    )
    found = read(path)
    assert (found.texts, found.bad) == (["fine", "\U0001f600"], [1])


@pytest.mark.parametrize("open_at", [0, 100, 299])
def test_an_open_quote_in_a_csv_costs_one_line(tmp_path: Path, open_at: int) -> None:
    rows = [f"{n},caption number {n} of many" for n in range(300)]
    rows[open_at] = f'{open_at},"unfinished quote and then a man says hello'
    (tmp_path / "a.csv").write_text("\n".join(["id,text", *rows]) + "\n")
    found = read(tmp_path / "a.csv")
    assert (len(found.texts), found.bad) == (299, [open_at + 2])
    assert max(map(len, found.texts)) < 40


def test_sound_and_vectors_in_a_dump_are_left_out_and_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound = [{"bytes": rng.bytes(20_000), "path": f"{n}.wav", "sampling_rate": 16000} for n in range(9)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string()), ("sampling_rate", pa.int64())])
    columns = {
        "audio": pa.array(sound, kind),
        "embedding": pa.array(rng.random((9, 512)).tolist()),
        "mel": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(9 * 256)), 256),
        "png": pa.array([rng.bytes(3000)] * 9),
        "base64": pa.array(["x" * 40_000 + str(n) for n in range(9)]),
        "tags": pa.array([["wet", "loud"]] * 9),
        "seconds": pa.array(range(9)),
        "text": SENTENCES,
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found.texts == SENTENCES
    assert found.columns == {"tags", "seconds"}
    assert found.left_out == {"audio", "embedding", "mel", "png", "base64"}
    rows = [{"text": text, "audio": {"array": [0.1] * 999}, "n": 1} for text in SENTENCES]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(tmp_path / "a.jsonl")
    assert (found.texts, found.columns, found.left_out) == (SENTENCES, {"n"}, {"audio"})


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be with a mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl", "json"])
def test_every_encoding_and_end_of_line_gives_the_same_captions(
    tmp_path: Path, encoding: str, end: str, ending: str
) -> None:
    expected = [*SENTENCES, "caf\u00e9 noise"]
    rows = {
        "txt": expected,
        "csv": ["text,n", *(f'"{text}",{n}' for n, text in enumerate(expected))],
        "jsonl": [json.dumps({"text": text}, ensure_ascii=False) for text in expected],
        "json": ["[", ",\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in expected), "]"],
    }[ending]
    path = tmp_path / f"a.{ending}"
    path.write_bytes(ENCODINGS[encoding](end.join([*rows, ""])))
    found = read(path)
    assert (found.texts, found.dead) == (expected, [])


def test_utf32_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("rain".encode("utf-32"))
    with pytest.raises(FormatError, match="UTF-32"):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_nothing_becomes_the_word_nan(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"text": [1.5, float("nan"), None, float("inf")]}), path)
        assert read(path).texts == ["1.5"]
    else:
        values: list[Any] = [float("nan"), "rain", True, 7, None, "N/A", float("-inf"), False]
        rows = [json.dumps({"text": value}) for value in values]
        path.write_text("\n".join(rows) if ending == "jsonl" else f"[{','.join(rows)}]")
        assert read(path).texts == ["rain", "7", "N/A"]
        assert read(path).bad == [1, 3, 5, 7, 8]


def test_what_lies_beside_dumps_is_left_out_and_counted(tmp_path: Path) -> None:
    companions = [
        "README.md", "readme.txt", "LICENSE", "LICENSE.txt", "sha256sums.txt", "a.txt.md5", "checksums.json",
        "_SUCCESS",
        "dataset_info.json", "notes.docx",
    ]  # fmt: skip
    for name in [*companions, ".DS_Store", "._a.txt", ".part-0.crc", "Thumbs.db"]:
        (tmp_path / name).write_bytes(b"\x00\x05x\n")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("rain falls\n")
    for pattern in (tmp_path, tmp_path / "**" / "*"):
        dumps = list_dumps([str(pattern)])
        assert [Path(file.uri).name for file in dumps.files] == ["a.txt"]
        assert dumps.skipped["NOT_CAPTIONS"] == len(companions)
        assert dumps.skipped["NOT_A_FILE"] == 1
        assert dumps.skipped["SYSTEM_FILE"] + dumps.skipped["HIDDEN"] == 4
    assert read(tmp_path / "deep", tmp_path / "LICENSE.txt").counts["malformed"] == 1  # what is named itself is read
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "README.md").write_text("x")
    with pytest.raises(FormatError, match=r"README\.md"):
        list_dumps([str(tmp_path / "only")])
    with pytest.raises(FormatError, match="named pipe"):
        list_dumps([str(tmp_path / "pipe.txt")])


CLOTHO = [
    {"file_name": f"{n}.wav", **{f"caption_{c}": f"{text} {c}" for c in range(1, 6)}} for n, text in enumerate("ab")
]
LAYOUTS = {
    "clotho": (CLOTHO, [f"{text} {c}" for text in "ab" for c in range(1, 6)]),
    "audiocaps": ([{"audiocap_id": 1, "youtube_id": "=x", "start_time": 0, "caption": "rain"}], ["rain"]),
    "musiccaps": ([{"ytid": "x", "start_s": 0, "end_s": 9, "aspect_list": "['a']", "caption": "a song"}], ["a song"]),
    "wavcaps": ([{"id": "1", "caption": "rain", "audio": "p", "duration": 3.1}], ["rain"]),
    "bbc": ([{"location": "1.wav", "description": "Rain, heavy", "secs": "9", "category": "W"}], ["Rain, heavy"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_are_known(tmp_path: Path, layout: str) -> None:
    rows, expected = LAYOUTS[layout]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps({"num_captions_per_audio": 1, "data": rows}, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    header = ",".join(rows[0])
    cells = [",".join(f'"{value}"' for value in row.values()) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join([header, *cells]))
    for ending in ("jsonl", "json", "parquet", "csv"):
        assert read(tmp_path / f"a.{ending}").texts == expected
        assert read(tmp_path / f"a.{ending}", layout=layout).texts == expected
        with pytest.raises(FormatError, match="--text-column 'text'"):
            read(tmp_path / f"a.{ending}", layout="none")
    with pytest.raises(FormatError, match=f"--layout {'bbc' if layout != 'bbc' else 'clotho'}"):
        read(tmp_path / "a.csv", layout="bbc" if layout != "bbc" else "clotho")


def test_a_column_called_text_goes_before_any_layout(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("youtube_id,caption,text\n1,a,b\n")
    assert read(tmp_path / "a.csv").texts == ["b"]


# -- columns, sources, licenses ---------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path: Path) -> Path:
    (tmp_path / "bbc.csv").write_text("description,caption,n\nd1,c1,1\n")
    (tmp_path / "one.jsonl").write_text('{"caption": "c2", "long": ["l1", "l2"]}\n')
    (tmp_path / "plain.txt").write_text("p1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text_columns", "expected"),
    [
        (["caption"], ["c1", "c2", "p1"]),
        (["caption", "long"], ["c1", "c2", "l1", "l2", "p1"]),
        (["caption", "bbc.csv=description"], ["d1", "c2", "p1"]),
        (["caption", "b*.csv=description", "bbc.csv=caption"], ["d1", "c1", "c2", "p1"]),
        (["caption", "mine=long"], ["c1", "l1", "l2", "p1"]),
    ],
)
def test_columns_for_all_and_for_some(several: Path, text_columns: list[str], expected: list[str]) -> None:
    captions = [several / "bbc.csv", f"mine={several / 'one.jsonl'}", several / "plain.txt"]
    assert read(*captions, text_columns=text_columns).texts == expected


@pytest.mark.parametrize(
    ("text_columns", "words"),
    [(["nowhere"], "nowhere"), (["caption", "bbc.csv=nowhere"], "nowhere"), (["bcc.csv=caption"], "bcc.csv=caption")],
)
def test_columns_that_are_not_there(several: Path, text_columns: list[str], words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(several / "bbc.csv", text_columns=text_columns)
    assert "description, caption, n" in str(caught.value)


def test_sources_have_names_and_licenses(several: Path) -> None:
    captions = [f"sounds={several}/*.csv", str(several / "one.jsonl"), f"mine={several}/plain.txt"]
    dumps = list_dumps(captions, text_columns=["caption"], licenses=["sounds=CC BY 4.0", "mine=https://x/?a=b", "MIT"])
    assert [(Path(file.uri).name, file.source) for file in dumps.files] == [
        ("bbc.csv", "sounds"), ("one.jsonl", "one.jsonl"), ("plain.txt", "mine"),
    ]  # fmt: skip
    assert dumps.licenses == {"sounds": "CC BY 4.0", "one.jsonl": "MIT", "mine": "https://x/?a=b"}
    assert Read(dumps.files).sources == {"sounds": 1, "one.jsonl": 1, "mine": 1}
    assert {file.source for file in list_dumps(captions[1:], source="all", text_columns=["caption"]).files} == {
        "all",
        "mine",
    }


def test_what_exists_under_a_name_with_an_equals_sign_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "year=2020").mkdir()
    (tmp_path / "year=2020" / "a.txt").write_text("rain\n")
    monkeypatch.chdir(tmp_path)
    assert read("year=2020").sources == {"a.txt": 1}
    assert read("year=2020/*.txt").sources == {"a.txt": 1}
    assert read(f"mine={tmp_path}/year=2020").sources == {"mine": 1}
    with pytest.raises(MissingInputError, match="2021"):
        read("year=2021/*.txt")


@pytest.mark.parametrize(("licenses", "words"), [(["nobody=MIT"], "nobody"), (["MIT", "CC0"], "several times")])
def test_licenses_that_fit_nothing(several: Path, licenses: list[str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        list_dumps([str(several / "plain.txt")], licenses=licenses)


def test_a_file_of_two_names_is_refused(several: Path) -> None:
    with pytest.raises(OptionError, match="Name each file once"):
        list_dumps([f"a={several}/plain.txt", f"b={several}/*.txt"])


def test_dumps_behind_urls_and_odd_names(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/dumps-test/a.txt", b"rain\n")
    memory.pipe_file("/dumps-test/README.md", b"x")
    assert read("memory://dumps-test").texts == ["rain"]
    for name in ("a::b.txt", "night [2020].txt", b"caf\xe9.txt".decode("utf-8", "surrogateescape")):
        (tmp_path / name).write_text("wind\n\udce9\n", "utf-8", "surrogateescape")
        found = read(tmp_path / name)
        assert (found.texts, found.bad) == (["wind"], [2])
        assert [source.encode() for source in found.sources]


# -- parts ------------------------------------------------------------------------------------------------------------


def parts(dumps: CaptionDumps) -> tuple[int, Read]:
    files = dumps.in_parts()
    return len(files), Read(files)


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(st.sampled_from(["rain", "", "caf\u00e9", "a dog barks", "bad \ud83d"]), min_size=1, max_size=30),
    size=st.integers(1, 60),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_parts_of_a_file_give_what_the_whole_gives(
    texts: list[str], size: int, end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    (folder / "a.txt").write_bytes(end.join(texts).encode("utf-8", "surrogatepass"))
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text, "n": n}) + end for n, text in enumerate(texts)))
    table = pa.table({"text": [None if "\ud83d" in text else text for text in texts]})
    pq.write_table(table, folder / "a.parquet", row_group_size=3)
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        dumps = list_dumps([str(folder / name)])
        whole = Read(dumps.files)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(caption_formats, "PART_BYTES", size)
            patch.setattr(parquet_rows, "PART_BYTES", size)
            count, found = parts(dumps)
        assert (found.texts, found.bad, found.counts) == (whole.texts, whole.bad, whole.counts)
        assert count > 1 or (folder / name).stat().st_size <= size or name == "a.parquet"


@pytest.mark.parametrize("name", ["a.txt.gz", "a.csv", "a.json", "a.jsonl"])
def test_what_cannot_be_cut_stays_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"a.csv": 'text\n"rain\nfalls"\n', "a.txt.gz": "rain\nwind\n"}.get(name, '[{"text": "rain"}]').encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    monkeypatch.setattr(caption_formats, "PART_BYTES", 4)
    assert [file.part for file in list_dumps([str(tmp_path / name)]).in_parts()] == [None]
    (tmp_path / "b.txt").write_bytes("rain falls\n".encode("utf-16"))
    assert [file.part for file in list_dumps([str(tmp_path / "b.txt")]).in_parts()] == [None]

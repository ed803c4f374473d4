import gzip
import hashlib
import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss import files
from sonogloss.errors import FormatError, MissingInputError, ModelFormatError, OptionError, OutputError


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place on the disk, and one that only fsspec knows."""
    if request.param == "local":
        return str(tmp_path)
    fsspec.filesystem("memory").store.clear()
    return "memory:///bucket/folder"


def test_a_file_is_written_with_its_folders_and_read_again(root: str) -> None:
    path = files.join(root, "a", "b.bin")
    files.write_bytes(path, b"content")
    assert files.read_bytes(path) == b"content"
    assert files.exists(path)
    assert files.is_dir(files.join(root, "a"))
    assert files.size(path) == 7
    assert files.digest(path) == hashlib.sha256(b"content").hexdigest()
    assert files.file_entry(root, "a/b.bin") == {"path": "a/b.bin", "bytes": 7, "sha256": files.digest(path)}
    assert files.list_dir(files.join(root, "a"), ".bin") == [path]
    files.remove(path)
    assert not files.exists(path)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_bytes(str(path), b"old")

    def fail() -> None:
        with files.atomic_write(str(path)) as handle:
            handle.write(b"half of the new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/below"):
        files.write_bytes(str(tmp_path / "file" / "below"), b"")
    with pytest.raises(OutputError, match=r"Cannot write '.*file/below': "):
        files.check_writable(str(tmp_path / "file" / "below"))
    files.check_writable(str(tmp_path / "fresh"))
    assert os.listdir(tmp_path / "fresh") == []


def test_globs_folders_and_files_are_expanded_once_and_sorted(root: str) -> None:
    for name in ("b.wav", "a.wav", "sub/deep/c.wav", "d.txt"):
        files.write_bytes(files.join(root, name), b"x")

    def names(*patterns: str) -> list[str]:
        return [path.removeprefix(root).lstrip("/") for path in files.expand(patterns, option="--audio")]

    assert names(files.join(root, "*.wav")) == ["a.wav", "b.wav"]
    assert names(files.join(root, "**/*.wav"), files.join(root, "a.wav")) == ["a.wav", "b.wav", "sub/deep/c.wav"]
    assert names(root) == ["a.wav", "b.wav", "d.txt", "sub/deep/c.wav"]
    assert names(files.join(root, "d.txt")) == ["d.txt"]


def test_what_matches_nothing_is_named_with_its_option(tmp_path: Path) -> None:
    for pattern, words in (("*.wav", "matches no file"), ("missing.wav", "does not exist"), ("", "holds no file")):
        with pytest.raises(MissingInputError, match=words) as caught:
            files.expand([str(tmp_path / pattern)], option="--audio")
        assert "--audio" in str(caught.value)


def test_a_protocol_nobody_knows_is_a_mistake_in_words() -> None:
    for path in ("nosuch://bucket/a.wav", "nosuch://bucket/*.wav"):
        with pytest.raises(OptionError, match="nosuch"):
            files.expand([path], option="--audio")
    with pytest.raises(OptionError, match="nosuch"):
        files.read_bytes("nosuch://bucket/a.wav")


def test_brackets_in_a_real_name_are_not_a_glob(tmp_path: Path) -> None:
    path = tmp_path / "take [1].wav"
    path.write_bytes(b"x")
    assert files.expand([str(path)], option="--audio") == [str(path)]


def test_a_file_has_one_name_whichever_way_it_is_written(tmp_path: Path) -> None:
    files.write_bytes(str(tmp_path / "sub" / "a.wav"), b"x")
    ways = [f"{tmp_path}/sub/../sub/a.wav", f"{tmp_path}/./sub/*.wav", f"file://{tmp_path}/sub", f"{tmp_path}//sub/"]
    assert files.expand(ways, option="--audio") == [str(tmp_path / "sub" / "a.wav")]


def test_json_that_is_none_is_an_error_of_the_callers_kind(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("{broken")
    with pytest.raises(FormatError, match="not valid JSON"):
        files.read_json(str(path))
    with pytest.raises(ModelFormatError):
        files.read_json(str(path), error=ModelFormatError)
    files.write_json(str(path), {"b": 1, "a": "é"})
    assert files.read_json(str(path)) == {"b": 1, "a": "é"}
    assert path.read_text() == '{\n  "b": 1,\n  "a": "é"\n}\n'


def test_compressed_files_are_unpacked_by_their_name(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt.gz"
    path.write_bytes(gzip.compress(b"a dog barks\n"))
    with files.open_read(str(path), compression="infer") as handle:
        assert handle.read() == b"a dog barks\n"


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "score": [0.5, 0.25]})
    for name in ("one", "two"):
        files.write_table(str(tmp_path / name), table)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert files.read_table(str(tmp_path / "one"), columns=["text"]).to_pydict() == {"text": ["a", "b"]}


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4))
def test_joining_keeps_the_protocol(parts: list[str]) -> None:
    assert files.join("gs://bucket/", *parts) == "gs://bucket/" + "/".join(parts)
    assert files.join("/data", *parts) == "/data/" + "/".join(parts)
    assert files.base_name(files.join("gs://bucket", *parts)) == parts[-1]

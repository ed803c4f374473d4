import errno
import gzip
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss import files, whole_files
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


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(st.binary(max_size=9), max_size=5), after=st.integers(0, 5), old=st.none() | st.binary(max_size=9)
)
def test_readers_see_the_old_file_or_the_new_one_whatever_fails(
    tmp_path: Path, chunks: list[bytes], after: int, old: bytes | None
) -> None:
    """Writing stops after some of the chunks; the file is never in between, and nothing else is left."""
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    path = folder / "file"
    folder.mkdir()
    if old is not None:
        path.write_bytes(old)

    def write() -> None:
        with files.atomic_write(str(path)) as handle:
            for number, chunk in enumerate(chunks):
                if number == after:
                    raise KeyboardInterrupt
                handle.write(chunk)
                assert (path.read_bytes() if path.exists() else None) == old

    if after < len(chunks):
        with pytest.raises(KeyboardInterrupt):
            write()
        assert (path.read_bytes() if path.exists() else None) == old
        assert os.listdir(folder) == ([] if old is None else ["file"])
    else:
        write()
        assert path.read_bytes() == b"".join(chunks)
        assert os.listdir(folder) == ["file"]


@pytest.mark.parametrize("fails", ["write", "flush", "os.fsync", "os.replace"])
def test_a_disk_that_fails_while_writing_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    files.write_bytes(str(path), b"old")
    if fails.startswith("os."):
        monkeypatch.setattr(os, fails.removeprefix("os."), full)
    else:
        opened = LocalFileSystem.open

        class Full:
            def __init__(self, handle: Any) -> None:
                self.handle = handle

            def __getattr__(self, name: str) -> Any:
                return full if name == fails else getattr(self.handle, name)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                self.handle.close()

        monkeypatch.setattr(LocalFileSystem, "open", lambda self, *a, **k: Full(opened(self, *a, **k)))
    with pytest.raises(OutputError, match=r"file': No space left on device\. Name a place"):
        files.write_bytes(str(path), b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with files.atomic_write(path) as one, files.atomic_write(path) as other:
        one.write(b"1" * 9)
        other.write(b"2" * 9)
        one.write(b"1")
    assert (tmp_path / "file").read_bytes() == b"1" * 10  # the one that ends last stays, whole
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


NAMES = ["a.wav", "b.WAV", "b.wav", "c.flac", "sub/a.wav", "sub/deep/d.wav", "sub/deep/e.txt", "other/.hidden.wav"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["a.wav", "b.wav"]),
        ("?.WAV", ["b.WAV"]),
        ("[ab].wav", ["a.wav", "b.wav"]),
        ("*/*.wav", ["other/.hidden.wav", "sub/a.wav"]),
        ("**/*.wav", ["a.wav", "b.wav", "other/.hidden.wav", "sub/a.wav", "sub/deep/d.wav"]),
        ("sub/**", ["sub/a.wav", "sub/deep/d.wav", "sub/deep/e.txt"]),
        ("sub/*", ["sub/a.wav"]),
        ("sub", ["sub/a.wav", "sub/deep/d.wav", "sub/deep/e.txt"]),
        ("", sorted(NAMES)),
    ],
)
def test_globs_mean_the_same_on_a_disk_and_in_a_bucket(root: str, pattern: str, expected: list[str]) -> None:
    for name in NAMES:
        files.write_bytes(files.join(root, name), b"x")
    found = files.expand([files.join(root, pattern) if pattern else root], option="--audio")
    assert [path.removeprefix(root).lstrip("/") for path in found] == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_files_named_one_by_one_come_once_and_sorted(tmp_path: Path, chosen: list[str]) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = files.expand([str(tmp_path / name) for name in chosen], option="--audio")
    assert found == sorted({str(tmp_path / name) for name in chosen})


def test_the_files_of_one_folder_are_listed_sorted_and_those_below_are_not(root: str) -> None:
    for name in NAMES:
        files.write_bytes(files.join(root, "f", name), b"x")
    names = [files.base_name(path) for path in files.list_dir(files.join(root, "f"), ".wav")]
    assert names == ["a.wav", "b.wav"]
    assert files.list_dir(files.join(root, "none")) == []
    assert files.list_dir(files.join(root, "f", "a.wav")) == []


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


@settings(deadline=None)
@given(content=st.binary(max_size=200), chunk=st.integers(1, 40))
def test_a_digest_does_not_depend_on_how_the_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "digested"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_CHUNK", chunk)
        assert files.digest(str(path)) == hashlib.sha256(content).hexdigest()


def test_local_paths_are_told_from_others(tmp_path: Path) -> None:
    assert files.local_path(str(tmp_path)) == str(tmp_path)
    assert files.local_path(f"file://{tmp_path}") == str(tmp_path)
    assert files.local_path("memory:///bucket") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
)
def test_json_comes_back_as_it_was_written(value: Any) -> None:
    files.write_json("memory:///value.json", value)
    assert files.read_json("memory:///value.json") == value


def test_json_keeps_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    value = {"path": os.fsdecode(b"caf\xe9.txt"), "text": "\u96e8 \U0001f436"}
    files.write_json(str(tmp_path / "a.json"), value)
    assert files.read_json(str(tmp_path / "a.json")) == value
    assert "\u96e8 \U0001f436" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("behind", ["missing.zip", "folder", "text.zip"])
def test_a_chain_of_urls_over_no_archive_is_a_sentence(tmp_path: Path, behind: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(OptionError, match="cannot be opened"):
        files.exists(f"zip://out::{tmp_path / behind}")


def test_a_process_that_ends_begins_no_file_in_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_files, "_ending", False)
    whole_files.begin_no_more()
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(files.write_bytes, str(tmp_path / "part"), b"rows")
        assert writing.exception() is not None
    assert list(tmp_path.iterdir()) == []
    files.write_bytes(str(tmp_path / "lease"), b"mine")
    assert [path.name for path in tmp_path.iterdir()] == ["lease"]

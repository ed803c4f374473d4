from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.clap import torch_file
from sonogloss.clap.pickle_data import Storage, StoredTensor, Unknown, read_pickle
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.errors import MissingInputError, ModelFormatError


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.witness}",)


def tensors() -> OrderedDict[str, torch.Tensor]:
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]
    whole = torch.arange(24.0).reshape(4, 6)
    found: OrderedDict[str, torch.Tensor] = OrderedDict()
    for kind in kinds:
        found[str(kind)] = whole.to(kind)
    found["bool"] = whole > 3
    found["transposed"] = whole.t()
    found["part"] = whole[1:3, ::2]
    found["scalar"] = torch.tensor(3.5)
    found["empty"] = torch.empty(0, 4)
    found["parameter"] = torch.nn.Parameter(torch.ones(2))
    return found


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_tensor_is_read_as_it_was_saved(tmp_path: Path, protocol: int) -> None:
    torch.save({"state_dict": tensors()}, tmp_path / "file.pt", pickle_protocol=protocol)
    with open_torch_file(str(tmp_path / "file.pt")) as file:
        found = {name: file.read(stored) for name, stored in file.content["state_dict"].items()}
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert found[name].is_contiguous()


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_that_a_pickle_names_is_run(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "executed"
    content = {
        "weight": torch.ones(2),
        "attack": Attack(witness),
        "inside": [{"deep": (Attack(witness), 7)}],
        "args": argparse.Namespace(lr=1e-4),
        "best": np.float64(0.9),
        "path": tmp_path,
    }
    torch.save(content, tmp_path / "file.pt", pickle_protocol=protocol)
    with open_torch_file(str(tmp_path / "file.pt")) as file:
        found = file.content
        assert torch.equal(file.read(found["weight"]), torch.ones(2))
    assert not witness.exists()
    assert {type(found[name]) for name in ("attack", "args", "best", "path")} == {Unknown}
    assert found["inside"][0]["deep"][1] == 7
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert witness.exists()  # unpickling would have run it


def test_names_are_not_imported(tmp_path: Path) -> None:
    assert isinstance(read_pickle(b"\x80\x02cno_such_module\nthing\n)R."), Unknown)
    assert isinstance(read_pickle(b"(I1\nios\nsystem\n."), Unknown)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(value=plain, protocol=st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol=protocol)) == value


@given(value=st.binary() | st.binary(min_size=300), protocol=st.sampled_from([3, 4, 5]))
def test_bytes_come_back(value: bytes, protocol: int) -> None:
    """Before protocol 3 they were calls."""
    assert read_pickle(pickle.dumps(value, protocol=protocol)) == value


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_pickle_is_an_error_and_nothing_else(data: Any) -> None:
    content = bytearray(pickle.dumps({"a": [1, "two", (3.0, None)], "b": {4: b"five"}}))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        read_pickle(bytes(content))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.save({"a": torch.ones(4), "b": torch.zeros(2, 2)}, tmp_path / "file.pt")
    return tmp_path / "file.pt"


def rewrite(path: Path, **changes: bytes | None) -> None:
    """Write the archive again with members changed or left out; a name is its last part."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            changed = changes.get(name.rpartition("/")[2].replace(".", "_"), content)
            if changed is not None:
                archive.writestr(name, changed)


def read_all(path: Path) -> None:
    with open_torch_file(str(path)) as file:
        for stored in file.content.values():
            assert isinstance(stored, StoredTensor)
            file.read(stored)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_pkl": None}, "no data.pkl"),
        ({"data_pkl": b"not a pickle"}, "data.pkl cannot be read"),
        ({"data_pkl": b"\x80\x02"}, "data.pkl cannot be read"),
        ({"byteorder": b"big"}, "big-endian"),
        ({"0": None}, "data/0 is missing"),
        ({"0": b"\0" * 12}, "storage '0' is not 4 numbers"),
    ],
)
def test_a_malformed_archive_is_described(saved: Path, changes: dict[str, bytes | None], words: str) -> None:
    rewrite(saved, **changes)
    with pytest.raises(ModelFormatError, match=words) as caught:
        read_all(saved)
    assert str(saved) in caught.value.what


def test_a_compressed_archive_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFormatError, match="is compressed"):
        read_all(saved)


def test_a_tensor_larger_than_its_storage_is_refused(saved: Path) -> None:
    """A stride of nothing would make a few bytes as many numbers as one likes."""
    with zipfile.ZipFile(saved) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    assert pickled.count(b"K\x04\x85") == 1  # the shape of `a`
    rewrite(saved, data_pkl=pickled.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"))
    with pytest.raises(ModelFormatError, match="holds less than its tensor"):
        read_all(saved)


def test_a_damaged_storage_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    place = content.index(torch.ones(4).numpy().tobytes())
    content[place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ModelFormatError, match="damaged"):
        read_all(saved)


def test_what_is_no_file_of_torch(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="not a file"), open_torch_file(str(tmp_path / "none.pt")):
        pass
    with pytest.raises(MissingInputError, match="not a file"), open_torch_file(str(tmp_path)):
        pass
    for content in (b"", b"RIFF", pickle.dumps({})):
        (tmp_path / "file.pt").write_bytes(content)
        with pytest.raises(ModelFormatError, match=r"torch 1\.6"), open_torch_file(str(tmp_path / "file.pt")):
            pass
    torch.save({"a": torch.ones(1)}, tmp_path / "file.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelFormatError, match="saved again"), open_torch_file(str(tmp_path / "file.pt")):
        pass


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_format_error_or_reads(saved: Path, data: Any) -> None:
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = saved.with_name("damaged.pt")
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with contextlib.suppress(ModelFormatError), open_torch_file(str(damaged)) as file:
        for stored in file.content.values() if isinstance(file.content, dict) else ():
            if isinstance(stored, StoredTensor):
                file.read(stored)


@pytest.mark.parametrize(
    ("size", "offset", "shape", "stride"),
    [
        (4, 1, (4,), (1,)),  # ends one number behind the storage
        (4, 1 << 40, (1,), (1,)),
        (4, 0, (2, 2), (3, 1)),
        (4, 0, (2,), (1 << 62,)),
        (4, 0, (0, 1 << 80), (1, 1)),
        (4, 0, (1,), (1 << 80,)),
        (4, 0, (1 << 40, 1 << 40), (0, 0)),
        (1 << 61, 0, (1,), (1,)),
        (0, 0, (0, 1 << 80), (1, 1)),
    ],
)
def test_a_tensor_never_leaves_its_storage(
    saved: Path, size: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    stored = StoredTensor(Storage("0", torch.float32, size), offset, shape, stride)
    with open_torch_file(str(saved)) as file, pytest.raises(ModelFormatError):
        file.read(stored)


class _Reference:
    """A storage, as torch.save refers to it."""


class _Rebuilt:
    """A tensor, as torch.save writes it: a call with these arguments."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(value, _Reference) else None


def pickled(*arguments: Any) -> bytes:
    target = io.BytesIO()
    _Pickler(target, 2).dump(_Rebuilt(*arguments))
    return target.getvalue()


def test_a_tensor_is_rebuilt_from_its_reference() -> None:
    content = pickled(_Reference(), 1, (3,), (1,), False, OrderedDict())
    assert read_pickle(content) == StoredTensor(Storage("0", torch.float32, 4), 1, (3,), (1,))


@pytest.mark.parametrize(
    "arguments",
    [
        (_Reference(), -1, (3,), (1,)),
        (_Reference(), 0, (-3,), (1,)),
        (_Reference(), 0, (3,), (-1,)),
        (_Reference(), 0, (3,), (1, 1)),
        (_Reference(), 0.5, (3,), (1,)),
        (_Reference(), 0, ("3",), (1,)),
        ("no storage", 0, (3,), (1,)),
    ],
)
def test_a_malformed_tensor_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="malformed"):
        read_pickle(pickled(*arguments, False, OrderedDict()))


def test_an_encrypted_member_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:  # the flags of every entry of the central directory
        content[at + 8] |= 1
    saved.write_bytes(content)
    with pytest.raises(ModelFormatError, match="damaged"):
        read_all(saved)


def test_a_pickle_larger_than_any_checkpoint_needs_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_file, "_LARGEST_PICKLE", 20)
    with pytest.raises(ModelFormatError, match="more than the 20"):
        read_all(saved)


def test_a_shared_storage_serves_several_tensors(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"whole": whole, "column": whole[:, 1], "row": whole[2]}, tmp_path / "file.pt")
    with open_torch_file(str(tmp_path / "file.pt")) as file:
        stored = file.content
        assert {tensor.storage.key for tensor in stored.values()} == {"0"}
        assert torch.equal(file.read(stored["column"]), whole[:, 1])
        assert torch.equal(file.read(stored["row"]), whole[2])

"""The file of a checkpoint is safetensors, whole, and reads the same from anywhere."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.errors import ModelFormatError, OutputError
from sonogloss.training.state import read_tensors, write_tensors

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES)), max_size=6),
    note=st.text(max_size=20),
)
def test_tensors_come_back_as_they_were(tmp_path: Path, shapes: list[tuple[list[int], torch.dtype]], note: str) -> None:
    tensors = {f"t/{i}": (100 * torch.randn(shape)).to(dtype) for i, (shape, dtype) in enumerate(shapes)}
    path = str(tmp_path / "c.safetensors")
    write_tensors(path, tensors, {"note": note})
    found, metadata = read_tensors(path)
    assert metadata == {"note": note}
    by_library = safetensors.torch.load_file(path)
    assert found.keys() == by_library.keys() == tensors.keys()
    for name, tensor in tensors.items():
        for read in (found[name], by_library[name]):
            assert read.dtype == tensor.dtype
            assert torch.equal(read, tensor)


def test_slices_and_transposed_tensors_are_written_by_value(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {"rows": whole[1:3], "columns": whole[:, ::2], "turned": whole.T, "scalar": torch.tensor(7.0)}
    write_tensors(str(tmp_path / "c"), tensors, {})
    found, _ = read_tensors(str(tmp_path / "c"))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_file_elsewhere_reads_the_same(tmp_path: Path) -> None:
    tensors, metadata = {"w": torch.randn(3, 2)}, {"run": "a", "progress": "{}"}
    write_tensors("memory://learning/c.safetensors", tensors, metadata)
    found, facts = read_tensors("memory://learning/c.safetensors")
    assert torch.equal(found["w"], tensors["w"])
    assert facts == metadata
    fsspec.filesystem("memory").rm("/learning", recursive=True)


@pytest.mark.parametrize("content", [b"", b"\x00" * 20, b"{}", b"\x05\x00\x00\x00\x00\x00\x00\x00{...}"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="not a checkpoint"):
        read_tensors(str(path))


def test_a_failed_write_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    write_tensors(str(path), {"w": torch.ones(2)}, {})
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sonogloss.files.os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_tensors(str(path), {"w": torch.zeros(2)}, {})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonogloss.errors import ModelFormatError
from sonogloss.prompts.soft import Mapper, fill_slots, load_mapper, save_mapper


def test_a_saved_mapper_says_the_same(tmp_path: Path) -> None:
    mapper, x = Mapper(8, 6, hidden=16, slots=2), torch.randn(3, 8)
    save_mapper(mapper, str(tmp_path / "mapper.safetensors"))
    again = load_mapper(str(tmp_path / "mapper.safetensors"), slots=2)
    assert (again.dim, again.width, again.hidden, again.slots) == (8, 6, 16, 2)
    assert torch.equal(again(x), mapper(x))
    assert again(x).shape == (3, 2, 6)


def test_the_formula() -> None:
    mapper, x = Mapper(4, 3, hidden=5), torch.randn(2, 4)
    hidden = (x @ mapper.linear1.weight.T + mapper.linear1.bias).clamp(min=0)
    torch.testing.assert_close(mapper(x)[:, 0], hidden @ mapper.linear2.weight.T + mapper.linear2.bias)


def test_soft_vectors_take_their_own_slots() -> None:
    words = torch.zeros(2, 4, 3)
    slots = torch.tensor([[False, True, True, False], [True, False, False, True]])
    soft = torch.arange(12.0).view(2, 2, 3)
    filled = fill_slots(words, slots, soft)
    assert torch.equal(filled[0, 1:3], soft[0])
    assert torch.equal(filled[1, [0, 3]], soft[1])
    assert filled[~slots].abs().sum() == 0


def test_what_is_not_a_mapper_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mapper.safetensors"
    path.write_bytes(b"not a mapper")
    with pytest.raises(ModelFormatError, match="not a safetensors file"):
        load_mapper(str(path))
    save_mapper(torch.nn.Linear(2, 2), str(path))  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(ModelFormatError, match="where a mapper has"):
        load_mapper(str(path))
    save_mapper(Mapper(4, 5), str(path))
    with pytest.raises(ModelFormatError, match="multiple of 2"):
        load_mapper(str(path), slots=2)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from sonogloss.decoding.sequences import fill_slots
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.mapper import AnyMapper, Mapper, TanhMapper, TransformerMapper, load_mapper, save_mapper

KINDS: list[AnyMapper] = [
    Mapper(8, 6, hidden=16, slots=2),
    TanhMapper(8, 6, slots=3),
    TransformerMapper(8, 6, slots=4, layers=2, heads=3),
]

_GOLDEN_NAMES = {  # the released mappers' parameters, as ours call them
    "model.0.": "linear1.",
    "model.2.": "linear2.",
    "prefix_const": "constants",
    "transformer.layers.": "layers.",
    "attn.to_queries.": "queries.",
    "attn.to_keys_values.": "keys_values.",
    "attn.project.": "joined.",
    "mlp.fc1.": "linear1.",
    "mlp.fc2.": "linear2.",
}


@pytest.mark.parametrize("mapper", KINDS, ids=lambda mapper: mapper.kind)
def test_a_saved_mapper_says_the_same(tmp_path: Path, mapper: AnyMapper) -> None:
    x = torch.randn(3, 8)
    save_mapper(mapper, str(tmp_path / "mapper.safetensors"))
    again = load_mapper(str(tmp_path / "mapper.safetensors"), slots=mapper.slots)
    assert (type(again), again.dim, again.width, again.slots) == (type(mapper), 8, 6, mapper.slots)
    assert torch.equal(again(x), mapper(x))
    assert again(x).shape == (3, mapper.slots, 6)
    save_mapper(again, str(tmp_path / "again.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "mapper.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_the_golden_mappers(shared_data: Path, kind: str) -> None:
    directory = shared_data / "golden" / "softhard"
    if not directory.is_dir():
        pytest.skip("the golden soft-hard cases are not beside this repository")
    mapper = TanhMapper(32, 48) if kind == "mlp" else TransformerMapper(32, 48, layers=2)
    weights = {}
    for name, tensor in safetensors.torch.load_file(directory / f"mapper_{kind}.safetensors").items():
        for theirs, ours in _GOLDEN_NAMES.items():
            name = name.replace(theirs, ours)
        weights[name] = tensor
    mapper.load_state_dict(weights)
    with np.load(directory / "mapper_io.npz", allow_pickle=False) as arrays:
        found = mapper(torch.from_numpy(arrays["x"])).detach().numpy()
        np.testing.assert_allclose(found, arrays[kind], rtol=0, atol=5e-6)


def test_the_sizes_of_the_released_mappers() -> None:
    """Methods and papers give these counts: a check that no layer is wider than theirs."""
    count = lambda mapper: sum(parameter.numel() for parameter in mapper.parameters())  # noqa: E731
    with torch.device("meta"):
        assert round(count(Mapper(1024, 4096)) / 1e6, 1) == 10.5
        assert round(count(TanhMapper(1024, 768)) / 1e6, 1) == 33.4
        assert 45e6 < count(TransformerMapper(1024, 768)) < 47e6


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


def test_a_file_that_names_no_kind_is_drcaps(tmp_path: Path) -> None:
    path, mapper = tmp_path / "mapper.safetensors", Mapper(4, 6, slots=2)
    safetensors.torch.save_file(mapper.state_dict(), path, metadata={"format": "pt"})
    assert isinstance(load_mapper(str(path), slots=2), Mapper)
    safetensors.torch.save_file(mapper.state_dict(), path)
    assert isinstance(load_mapper(str(path), slots=2), Mapper)


def test_what_is_not_a_mapper_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mapper.safetensors"
    path.write_bytes(b"not a mapper")
    with pytest.raises(ModelFormatError, match="not a safetensors file"):
        load_mapper(str(path))
    safetensors.torch.save_file(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ModelFormatError, match="what a mapper has"):
        load_mapper(str(path))
    safetensors.torch.save_file(Mapper(4, 5).state_dict(), path)
    with pytest.raises(ModelFormatError, match="multiple of 2"):
        load_mapper(str(path), slots=2)
    safetensors.torch.save_file(Mapper(4, 5).state_dict(), path, metadata={"mapper": '{"kind": "fourier"}'})
    with pytest.raises(ModelFormatError, match="does not know the kind 'fourier'"):
        load_mapper(str(path))
    save_mapper(Mapper(4, 5, slots=2), str(path))
    with pytest.raises(ModelFormatError, match="gives 2 vectors, not 1"):
        load_mapper(str(path))
    save_mapper(KINDS[2], str(path))
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, metadata={"mapper": '{"kind": "transformer"}'})
    with pytest.raises(ModelFormatError, match="what a mapper has"):
        load_mapper(str(path), slots=4)


def test_heads_that_do_not_share_the_width_are_refused() -> None:
    with pytest.raises(OptionError, match="5 heads"):
        TransformerMapper(8, 6, heads=5)

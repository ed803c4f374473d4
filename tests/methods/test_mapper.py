from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.decoding.sequences import fill_slots
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.mapper import (
    AnyMapper,
    Mapper,
    TanhMapper,
    TransformerMapper,
    load_mapper,
    make_mapper,
    save_mapper,
)
from sonogloss.methods.plan import MapperSettings

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


@pytest.mark.parametrize("kind", [Mapper, TanhMapper, TransformerMapper])
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dim=st.integers(1, 9), heads=st.integers(1, 3), slots=st.integers(1, 5), layers=st.integers(1, 3))
def test_sizes_are_read_from_the_weights(
    tmp_path: Path, kind: type[AnyMapper], dim: int, heads: int, slots: int, layers: int
) -> None:
    sizes: dict[str, int] = {"slots": slots}
    if kind is Mapper:
        sizes["hidden"] = layers + 3
    if kind is TransformerMapper:
        sizes |= {"layers": layers, "heads": heads}
    mapper, x = kind(dim, 4 * heads, **sizes), torch.randn(2, dim)
    save_mapper(mapper, str(tmp_path / "mapper.safetensors"))
    again = load_mapper(str(tmp_path / "mapper.safetensors"), slots=slots)
    assert torch.equal(again(x), mapper(x))
    if isinstance(again, TransformerMapper):
        assert (again.heads, len(again.layers)) == (heads, layers)


@pytest.mark.parametrize("mapper", KINDS, ids=lambda mapper: mapper.kind)
def test_weights_stored_as_half_are_computed_with_in_float32(tmp_path: Path, mapper: AnyMapper) -> None:
    save_mapper(mapper, str(tmp_path / "half"), dtype=torch.float16)
    save_mapper(mapper, str(tmp_path / "whole"))
    assert (tmp_path / "half").stat().st_size < (tmp_path / "whole").stat().st_size
    again, x = load_mapper(str(tmp_path / "half"), slots=mapper.slots), torch.randn(3, 8)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    torch.testing.assert_close(again(x), mapper(x), rtol=0, atol=1e-2)
    assert not again.training


def test_a_new_mapper_is_of_the_kind_and_the_sizes_of_its_settings() -> None:
    relu = make_mapper(MapperSettings(kind="relu", hidden=7), dim=8, width=6, slots=2)
    assert isinstance(relu, Mapper)
    assert (relu.hidden, relu.dim, relu.width, relu.slots) == (7, 8, 6, 2)
    mlp = make_mapper(MapperSettings(kind="mlp", hidden=7), dim=8, width=6, slots=2)
    assert isinstance(mlp, TanhMapper)
    assert mlp.linear1.out_features == 6  # slots * width / 2, whatever `hidden` is
    transformer = make_mapper(MapperSettings(kind="transformer", layers=3, heads=2), dim=8, width=6, slots=2)
    assert isinstance(transformer, TransformerMapper)
    assert (len(transformer.layers), transformer.heads) == (3, 2)
    assert make_mapper(MapperSettings(kind="relu"), dim=8, width=6, slots=0) is None


def test_the_transformer_lets_every_vector_see_the_embedding_and_one_another() -> None:
    """Attention by hand for one head and one layer: values weighted by the softmax of scaled products."""
    torch.manual_seed(1)
    mapper = TransformerMapper(3, 4, slots=2, layers=1, heads=1)
    x = torch.randn(1, 3)
    tokens = torch.cat([mapper.linear(x).view(1, 2, 4), mapper.constants[None]], dim=1)
    layer = mapper.layers[0]
    normed = layer.norm1(tokens)
    q, (k, v) = layer.queries(normed), layer.keys_values(normed).chunk(2, dim=-1)
    attended = torch.softmax(q @ k.transpose(1, 2) / 4**0.5, dim=-1) @ v
    tokens = tokens + layer.joined(attended)
    tokens = tokens + layer.linear2(torch.relu(layer.linear1(layer.norm2(tokens))))
    torch.testing.assert_close(mapper(x), tokens[:, 2:])

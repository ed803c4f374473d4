"""The soft prompt: a CLAP embedding as vectors that a language model reads in place of words.

Three kinds of mapper make them, each a module from embeddings [n, dim] to soft prompts [n, slots, width]:

=============== ==================================================================================
`relu`          :class:`Mapper`: two layers and a ReLU, one vector (DRCap, arXiv 2410.09472)
`mlp`           :class:`TanhMapper`: two layers and a tanh, ten vectors (arXiv 2406.06295)
`transformer`   :class:`TransformerMapper`: ten vectors that look at the embedding and at one another (the same)
=============== ==================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from sonogloss import files
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.plan import MapperSettings

_REMEDY = "Restore the file or train the captioner again."


class Mapper(nn.Module):
    """DRCap's mapper: Linear d -> hidden, ReLU, Linear hidden -> slots x width.

    Args:
        dim: width d of the CLAP embeddings.
        width: width of the language model's input vectors.
        hidden: width in between; 2048 in the released system.
        slots: how many vectors stand for one embedding; 1 in the released system.
    """

    kind = "relu"

    def __init__(self, dim: int, width: int, *, hidden: int = 2048, slots: int = 1) -> None:
        super().__init__()
        self.dim, self.width, self.hidden, self.slots = dim, width, hidden, slots
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, slots * width)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [n, dim] as soft prompts [n, slots, width]."""
        mapped: Tensor = self.linear2(torch.relu(self.linear1(embeddings)))
        return mapped.unflatten(-1, (self.slots, self.width))


class TanhMapper(nn.Module):
    """ClipCap's perceptron, the default of soft and hard prompts: d -> slots x width / 2, tanh, -> slots x width.

    Args:
        dim: width d of the CLAP embeddings.
        width: width of the language model's input vectors.
        slots: how many vectors stand for one embedding.
    """

    kind = "mlp"

    def __init__(self, dim: int, width: int, *, slots: int = 10) -> None:
        super().__init__()
        self.dim, self.width, self.slots = dim, width, slots
        self.linear1 = nn.Linear(dim, slots * width // 2)
        self.linear2 = nn.Linear(slots * width // 2, slots * width)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [n, dim] as soft prompts [n, slots, width]."""
        mapped: Tensor = self.linear2(torch.tanh(self.linear1(embeddings)))
        return mapped.unflatten(-1, (self.slots, self.width))


class TransformerMapper(nn.Module):
    """ClipCap's transformer: the embedding as `slots` vectors, behind them as many learned ones, which are kept.

    Args:
        dim: width d of the CLAP embeddings.
        width: width of the language model's input vectors; a multiple of `heads`.
        slots: how many vectors stand for one embedding.
        layers: pre-norm layers.
        heads: of the attention in each.

    Raises:
        OptionError: the heads do not share the width evenly.
    """

    kind = "transformer"

    def __init__(self, dim: int, width: int, *, slots: int = 10, layers: int = 8, heads: int = 8) -> None:
        super().__init__()
        if width % heads:
            raise OptionError(
                f"A mapper of {heads} heads cannot share vectors of width {width}.", "Choose a divisor of the width."
            )
        self.dim, self.width, self.slots, self.heads = dim, width, slots, heads
        self.linear = nn.Linear(dim, slots * width)
        self.constants = nn.Parameter(torch.randn(slots, width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [n, dim] as soft prompts [n, slots, width]."""
        seen = self.linear(embeddings).unflatten(-1, (self.slots, self.width))
        x = torch.cat([seen, self.constants.expand_as(seen)], dim=1)
        for layer in self.layers:
            x = layer(x)
        return x[:, self.slots :]


class _Layer(nn.Module):
    """Attention and a perceptron of twice the width, each behind its norm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.joined = nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.queries(y), *self.keys_values(y).chunk(2, dim=-1))
        )
        attended = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.joined(attended.transpose(1, 2).flatten(2))
        mapped: Tensor = self.linear2(torch.relu(self.linear1(self.norm2(x))))
        return x + mapped


AnyMapper = Mapper | TanhMapper | TransformerMapper


def make_mapper(settings: MapperSettings, *, dim: int, width: int, slots: int) -> AnyMapper | None:
    """A new mapper with random weights; None where there are no slots to fill."""
    if slots == 0:
        return None
    if settings.kind == "relu":
        return Mapper(dim, width, hidden=settings.hidden, slots=slots)
    if settings.kind == "mlp":
        return TanhMapper(dim, width, slots=slots)
    return TransformerMapper(dim, width, slots=slots, layers=settings.layers, heads=settings.heads)


def save_mapper(mapper: AnyMapper, path: str, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights as safetensors, with the kind and what the weights do not show in the file's metadata."""
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in mapper.state_dict().items()}
    facts = {"kind": mapper.kind, "slots": mapper.slots}
    if isinstance(mapper, TransformerMapper):
        facts["heads"] = mapper.heads
    # One entry: safetensors writes several in an order that changes, and with it the file's digest.
    files.write_bytes(path, safetensors.torch.save(weights, metadata={"mapper": json.dumps(facts)}))


def load_mapper(path: str, *, slots: int = 1) -> AnyMapper:
    """Read a mapper in float32; its widths are those of the weights.

    Args:
        path: a file of :func:`save_mapper`; one that does not name its kind is of kind `relu`.
        slots: how many vectors it must give.

    Raises:
        ModelFormatError: the file is not a mapper, or gives another number of vectors.
    """
    content = files.read_bytes(path)
    try:
        weights = safetensors.torch.load(content)
    except SafetensorError as problem:
        raise ModelFormatError(f"{path!r} is not a safetensors file ({problem}).", _REMEDY) from problem
    try:
        facts = _metadata(content)
        mapper = _like(weights, facts.get("kind", "relu"), int(facts.get("slots", slots)), facts)
        if mapper.slots == slots:
            mapper.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, OptionError) as problem:
        raise ModelFormatError(f"{path!r} does not hold what a mapper has ({problem}).", _REMEDY) from problem
    if mapper.slots != slots:
        raise ModelFormatError(f"{path!r} gives {mapper.slots} vectors, not {slots} for {slots} audio slots.", _REMEDY)
    return mapper.eval()


def _metadata(content: bytes) -> Mapping[str, Any]:
    """What :func:`save_mapper` wrote beside the weights. A safetensors header is JSON behind its own length."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    facts: Mapping[str, Any] = json.loads(header.get("__metadata__", {}).get("mapper", "{}"))
    return facts


def _like(weights: Mapping[str, Tensor], kind: str, slots: int, facts: Mapping[str, Any]) -> AnyMapper:
    """A mapper of the sizes of these weights."""
    if kind == "transformer":
        width = weights["constants"].shape[1]
        layers = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        dim = weights["linear.weight"].shape[1]
        return TransformerMapper(dim, width, slots=slots, layers=layers, heads=facts["heads"])
    outputs, hidden = weights["linear2.weight"].shape
    dim = weights["linear1.weight"].shape[1]
    if outputs % slots:
        raise ValueError(f"{outputs} outputs are not a multiple of {slots} audio slots")
    if kind == "mlp":
        return TanhMapper(dim, outputs // slots, slots=slots)
    if kind == "relu":
        return Mapper(dim, outputs // slots, hidden=hidden, slots=slots)
    raise ValueError(f"this release does not know the kind {kind!r}")

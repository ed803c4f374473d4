"""The soft prompt: a CLAP embedding as vectors that a language model reads in place of words."""

from __future__ import annotations

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sonogloss import files
from sonogloss.errors import ModelFormatError


class Mapper(nn.Module):
    """DRCap's mapper: Linear d -> hidden, ReLU, Linear hidden -> slots x width.

    Args:
        dim: width d of the CLAP embeddings.
        width: width of the language model's input vectors.
        hidden: width in between; 2048 in the released system.
        slots: how many vectors stand for one embedding; 1 in the released system.
    """

    def __init__(self, dim: int, width: int, *, hidden: int = 2048, slots: int = 1) -> None:
        super().__init__()
        self.dim, self.width, self.hidden, self.slots = dim, width, hidden, slots
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, slots * width)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [n, dim] as soft prompts [n, slots, width]."""
        mapped: Tensor = self.linear2(torch.relu(self.linear1(embeddings)))
        return mapped.unflatten(-1, (self.slots, self.width))


def fill_slots(words: Tensor, slots: Tensor, soft: Tensor) -> Tensor:
    """Put soft prompts where a sequence has its audio slots.

    Args:
        words: word embeddings [b, t, width], whatever they are at the slots.
        slots: [b, t], true at the slots, of which every row has the same number.
        soft: [b, slots, width].

    Returns:
        Input vectors [b, t, width] of the language model, of the words' kind.
    """
    # The places come row by row and in each row from left to right, which is the order of the vectors.
    return words.index_put(slots.nonzero(as_tuple=True), soft.flatten(0, 1).to(words.dtype))


def save_mapper(mapper: Mapper, path: str, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights as safetensors."""
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in mapper.state_dict().items()}
    files.write_bytes(path, safetensors.torch.save(weights, metadata={"format": "pt"}))


def load_mapper(path: str, *, slots: int = 1) -> Mapper:
    """Read a mapper in float32; its widths are those of the weights.

    Raises:
        ModelFormatError: the file is not a mapper, or its output does not divide into `slots` vectors.
    """
    remedy = "Restore the file or train the captioner again."
    try:
        weights = safetensors.torch.load(files.read_bytes(path))
    except SafetensorError as problem:
        raise ModelFormatError(f"{path!r} is not a safetensors file ({problem}).", remedy) from problem
    wanted = {"linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"}
    if set(weights) != wanted:
        raise ModelFormatError(f"{path!r} holds {sorted(weights)} where a mapper has {sorted(wanted)}.", remedy)
    hidden, dim = weights["linear1.weight"].shape
    outputs = weights["linear2.weight"].shape[0]
    if outputs % slots:
        raise ModelFormatError(f"{path!r} gives {outputs} numbers, not a multiple of {slots} audio slots.", remedy)
    mapper = Mapper(dim, outputs // slots, hidden=hidden, slots=slots)
    mapper.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return mapper.eval()

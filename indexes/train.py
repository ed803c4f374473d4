"""Choose, train and fill the index of a store whose shards are written; :mod:`.recall` measures it.

Training reads rows at equal distances, so the same store gives the same index. The rows that recall is measured with
are not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np

from sonogloss import files
from sonogloss.errors import OptionError
from sonogloss.indexes.approximate import FACTORY, IVF_PQ, IVF_RABITQ, Approximate
from sonogloss.indexes.clusters import ROWS_A_CENTER, cluster_centers
from sonogloss.indexes.kinds import AUTO, KINDS
from sonogloss.indexes.layout import INDEX, TRAINED, ShardEntry, shard_from_json, to_json
from sonogloss.indexes.shard import open_vectors
from sonogloss.indexes.shard_writer import file_entry
from sonogloss.indexes.vectors import read_vectors
from sonogloss.records import FloatArray, IntArray

GIB = 1 << 30
ROTATION_ROWS = 16_384
"""Rows that a rotation is trained on. More find nothing more; with fewer, FAISS leaves out BLAS and takes longer."""
_QUERIES = 500
_FEWEST_TRAINED = 50_000
_FEWEST_ROWS = 1000
_BLOCK = 65_536


@dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """What a user asks of the index.

    Attributes:
        name: a kind, `auto`, or a string of `faiss.index_factory`.
        memory: bytes that vectors and index may take in memory while they are searched; `auto` chooses by it.
        recall: the share of the ten nearest that must be found.
    """

    name: str = AUTO
    memory: float = 8 * GIB
    recall: float = 0.95


def check_request(request: IndexRequest, dim: int) -> None:
    """Refuse an index that cannot be made.

    Raises:
        OptionError: it is neither a kind nor a string that FAISS knows for this width.
    """
    if request.name in (AUTO, *KINDS):
        return
    try:
        faiss.index_factory(dim, request.name, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise OptionError(
            f"Unknown index {request.name!r}: FAISS cannot make it for a width of {dim}.",
            f"Choose one of {', '.join((AUTO, *KINDS))}, or give a string of faiss.index_factory.",
        ) from error


def choose(request: IndexRequest, *, count: int, dim: int, itemsize: int) -> tuple[str, str]:
    """The kind and FAISS's name of the index for a store of this size.

    `auto` is exact while all vectors fit the memory; then the quantized kind that finds most and fits. Fewer than a
    thousand captions are searched exactly, unless FAISS's name is given.
    """
    name = request.name
    if name == AUTO:
        smaller: list[Approximate] = [IVF_RABITQ, IVF_PQ]
        fitting = [kind.kind for kind in smaller if kind.bytes_per_vector(dim) * count <= request.memory]
        name = "flat" if count * dim * itemsize <= request.memory else (fitting or [IVF_PQ.kind])[0]
    kind = KINDS.get(name)
    if kind is None:
        return FACTORY.kind, name
    if count < _FEWEST_ROWS:
        return "flat", "Flat"
    trained_on = count - len(held_out(count))
    return name, kind.factory(trained_on, dim) if isinstance(kind, Approximate) else "Flat"


class Rows:
    """Vectors of all shards by row; shards elsewhere than on this machine are read whole, one at a time."""

    def __init__(self, directory: str, shards: Sequence[ShardEntry], dtype: str) -> None:
        self._directory, self._dtype = directory, dtype
        self.shards = sorted(shards, key=lambda shard: shard.number)
        self.starts = np.cumsum([0, *(shard.count for shard in self.shards)])
        self.count = int(self.starts[-1])

    def open(self, shard: ShardEntry) -> FloatArray:
        """The vectors of a shard, memory-mapped where they lie on this machine."""
        local = files.local_path(self._directory)
        if local is not None:
            return open_vectors(local, shard, self._dtype)
        return read_vectors(files.join(self._directory, shard.vectors.path))

    def take(self, rows: IntArray) -> FloatArray:
        """float32 [rows, dim]; rows ascend."""
        found = []
        for start, shard in zip(self.starts, self.shards, strict=False):
            inside = rows[(rows >= start) & (rows < start + shard.count)]
            if len(inside):
                found.append(self.open(shard)[inside - start].astype(np.float32))
        return np.concatenate(found)


def spread(count: int, wanted: int) -> IntArray:
    """Row numbers at equal distances, at most `wanted`."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def held_out(count: int) -> IntArray:
    """The rows that recall is measured with."""
    return spread(count, min(_QUERIES, count // 4 + 1))


def train(
    directory: str, shards: Sequence[Mapping[str, Any]], request: IndexRequest, *, dtype: str, device: str = "cpu"
) -> dict[str, Any] | None:
    """Choose and train the index of a store; None when it is exact and needs no file.

    On a GPU the centers of inverted lists are found there, and all else on the processor.

    Returns:
        `kind`, `factory` and `file`, the entry of the trained index without rows.

    Raises:
        OptionError: FAISS cannot train it on these rows.
    """
    rows = Rows(directory, [shard_from_json(shard) for shard in shards if shard["count"]], dtype)
    if not rows.count:
        return None
    dim = rows.shards[0].dim
    kind, factory = choose(request, count=rows.count, dim=dim, itemsize=np.dtype(dtype).itemsize)
    if kind == "flat":
        return None
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    for step in _steps_before(index):
        if isinstance(step, faiss.OPQMatrix):
            step.max_train_points = ROTATION_ROWS
    asked = held_out(rows.count)
    chosen = spread(rows.count, max(_FEWEST_TRAINED, ROWS_A_CENTER * list_count(index)))
    chosen = np.setdiff1d(chosen, asked) if len(chosen) > 2 * len(asked) else chosen
    sample = rows.take(chosen)
    try:
        if device != "cpu":
            _find_lists(index, sample, device)
        index.train(sample)
    except RuntimeError as error:
        raise OptionError(
            f"The index {factory!r} cannot be trained on {len(chosen):,} captions.", "Use --index flat."
        ) from error
    _write(index, files.join(directory, TRAINED))
    return {"kind": kind, "factory": factory, "file": vars(file_entry(directory, TRAINED))}


def _find_lists(index: Any, sample: FloatArray, device: str) -> None:
    """Give inverted lists their centers, if they are looked up exactly; FAISS then trains what is left."""
    for step in _steps_before(index):
        if not step.is_trained:
            step.train(sample)
        sample = step.apply(sample)
    if list_count(index):
        quantizer = faiss.downcast_index(faiss.extract_index_ivf(index).quantizer)
        if isinstance(quantizer, faiss.IndexFlat):
            quantizer.add(cluster_centers(sample, list_count(index), device=device))


def add_index(
    shard: Mapping[str, Any], trained: Mapping[str, Any] | None, *, directory: str, dtype: str
) -> dict[str, Any]:
    """Fill the trained index with the rows of a shard; returns the shard's entry with that file, where there is one."""
    entry = shard_from_json(shard)
    if trained is None or not entry.count:
        return dict(shard)
    index = read_index(files.join(directory, trained["file"]["path"]))
    vectors = Rows(directory, [entry], dtype).open(entry)
    for start in range(0, len(vectors), _BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK], dtype=np.float32))
    name = f"shards/{entry.number:05d}/{INDEX}"
    _write(index, files.join(directory, name))
    kept = tuple(file for file in entry.files if file.path != name)
    return to_json(replace(entry, files=(*kept, file_entry(directory, name))))


def _steps_before(index: Any) -> list[Any]:
    """What an index does to vectors before it compares them."""
    chain = getattr(index, "chain", None)
    return [faiss.downcast_VectorTransform(chain.at(number)) for number in range(chain.size())] if chain else []


def list_count(index: Any) -> int:
    """How many inverted lists an index has; 0 when it has none."""
    try:
        return int(faiss.extract_index_ivf(index).nlist)
    except RuntimeError:
        return 0


def read_index(path: str) -> Any:
    """The index in a file, which may lie anywhere."""
    with files.open_read(path) as handle:
        return faiss.read_index(faiss.PyCallbackIOReader(handle.read))  # type: ignore[attr-defined]  # not in the stubs


def _write(index: Any, path: str) -> None:
    with files.atomic_write(path) as handle:
        faiss.write_index(index, faiss.PyCallbackIOWriter(handle.write))  # type: ignore[attr-defined]  # not in the stubs

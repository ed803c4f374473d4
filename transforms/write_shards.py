"""write_shards: units on disk -> the shards of the datastore, a unit at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from sonogloss import files
from sonogloss.indexes import ShardWriter
from sonogloss.indexes.vectors import read_vectors
from sonogloss.transforms.embed_text import Unit

_TYPES = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}


def write_units(
    shard: tuple[int, Iterable[Unit]],
    columns: Mapping[str, str],
    *,
    output: str,
    vectors: str = "float32",
    first: int = 0,
) -> dict[str, Any]:
    """Write one shard.

    Args:
        shard: its number and its units in any order, each once.
        columns: the source files' further columns and their types, equal for all shards.
        output: the datastore's directory.
        vectors: what vectors are stored as.
        first: the number of the first shard.

    Returns:
        The entry for the manifest.
    """
    number, found = shard
    units = sorted(found, key=lambda unit: unit.number)
    rows = sum(unit.count for unit in units)
    with ShardWriter(output, first + number, rows=rows, dim=units[0].dim, dtype=vectors) as writer:
        for unit in units:
            captions = files.read_table(files.join(output, f"{unit.name}.parquet"))
            writer.add(typed(captions, columns), read_vectors(files.join(output, f"{unit.name}.npy")))
    return writer.entry()


def typed(captions: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """The captions of a unit with the further columns, null where a file lacks one, in place of their JSON."""
    extra = [json.loads(text) if text else {} for text in captions.column("extra").to_pylist()]
    convert = {"int": int, "float": float, "str": str}
    table = captions.drop_columns(["extra"])
    for name, kind in columns.items():
        values = [one.get(name) for one in extra]
        cells = [None if value is None else convert[kind](value) for value in values]
        table = table.append_column(name, pa.array(cells, _TYPES[kind]))
    return table


class WriteShards(beam.PTransform[PCollection[Unit], PCollection[dict[str, Any]]]):
    """Units -> entries of the shards that hold them.

    Args:
        columns: the further columns and their types, one mapping as a side input.
        output: the datastore's directory.
        vectors: what vectors are stored as.
        first: the number of the first shard.
    """

    def __init__(self, columns: AsSingleton, *, output: str, vectors: str, first: int = 0) -> None:
        super().__init__()
        self._columns = columns
        self._arguments: dict[str, Any] = {"output": output, "vectors": vectors, "first": first}

    def expand(self, pcoll: PCollection[Unit]) -> PCollection[dict[str, Any]]:
        return (
            pcoll
            | "KeyByShard" >> beam.Map(lambda unit: (unit.shard, unit)).with_output_types(tuple[int, Any])
            | "GatherShard" >> beam.GroupByKey()
            | "Write" >> beam.Map(write_units, self._columns, **self._arguments)
        )

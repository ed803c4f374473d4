"""score_captions: parts of captions with their references -> what the whole corpus counts, then scores.

Workers share nothing but files. Two passes: :func:`write_counts` counts n-grams of a part, :func:`merge_counts` adds
the parts up, a range of digests at a time, and :func:`write_scores` scores a part with these. The result does not
depend on who scores what.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial, reduce
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.errors import InputError
from sonogloss.metrics.bootstrap import share_draws
from sonogloss.metrics.cider_d import DocumentFrequencies, document_frequencies, frequent, merge_frequencies
from sonogloss.metrics.diversity import CaptionStatistics, merge_statistics
from sonogloss.metrics.evaluate import (
    CorpusSum,
    clip_texts,
    clip_values,
    needs_captions,
    needs_frequencies,
    score_clips,
    sum_clips,
)
from sonogloss.metrics.metric import ClipTexts, Need, Scorer
from sonogloss.metrics.ngrams import Integers, cut_ranges
from sonogloss.metrics.novelty import known_trigrams, novel_trigrams
from sonogloss.metrics.scorers import find_scorers
from sonogloss.metrics.sums import Numbers
from sonogloss.transforms.join_references import JoinPlan
from sonogloss.transforms.key_buckets import ROWS_A_PART, Cut, read_part
from sonogloss.transforms.progress_file import note

_ROWS_AT_ONCE = 4096
FREQUENCIES, CAPTIONS = "frequencies", "captions"  # what is counted in the whole corpus, as score_clips calls it
_PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """What is computed of the rows that were joined in a folder.

    Attributes:
        folder: where they lie, and where everything is written.
        buckets: that they lie in.
        cuts: which of them are in each part.
        metrics: names.
        not_available: why others that were asked for cannot be computed, by name.
        tokenizer: how captions are cut into words.
        needs: what programs and models of others have to say.
        sentence_model, fluency_model: such models.
        datastore: that captions rest on.
        resamples, seed: of the intervals.
    """

    folder: str
    buckets: int
    cuts: tuple[Cut, ...]
    metrics: tuple[str, ...]
    not_available: Mapping[str, str]
    tokenizer: str
    needs: frozenset[Need] = frozenset()
    sentence_model: str | None = None
    fluency_model: str | None = None
    datastore: str | None = None
    resamples: int = 0
    seed: int = 0

    @property
    def parts(self) -> range:
        """The number of each part."""
        return range(len(self.cuts))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each part."""
        return tuple(cut.size for cut in self.cuts)

    def write(self) -> None:
        """Write it into its folder, for whoever works there."""
        files.write_json(files.join(self.folder, _PLAN), {**asdict(self), "needs": sorted(self.needs)})

    @classmethod
    def read(cls, folder: str) -> ScoringPlan:
        """The one of a folder."""
        return _read_plan(folder)

    @property
    def counts(self) -> tuple[str, ...]:
        """What has to be counted in the whole corpus first."""
        needed = {FREQUENCIES: needs_frequencies(self.metrics), CAPTIONS: needs_captions(self.metrics)}
        return tuple(kind for kind, wanted in needed.items() if wanted)

    def path(self, kind: str, part: int | None = None) -> str:
        """Of a file: of a part, or of the whole corpus."""
        return files.join(self.folder, kind if part is None else f"{kind}-{part:05d}")


@lru_cache(maxsize=1)
def _read_plan(folder: str) -> ScoringPlan:
    content = files.read_json(files.join(folder, _PLAN))
    cuts = tuple(Cut(**cut) for cut in content["cuts"])
    return ScoringPlan(
        **content | {"cuts": cuts, "metrics": tuple(content["metrics"]), "needs": frozenset(content["needs"])}
    )


def write_counts(part: int, plan: JoinPlan, progress: str | None = None) -> int:
    """Count what the metrics need of a part."""
    scoring = ScoringPlan.read(plan.folder)
    found: dict[str, list[Any]] = {kind: [] for kind in scoring.counts}
    for _, texts in _blocks(part, scoring) if found else ():
        if FREQUENCIES in found:
            clips = Counter(tuple(clip.reference_words) for clip in texts)
            found[FREQUENCIES].append(document_frequencies(list(clips), list(clips.values())))
        if CAPTIONS in found:
            words = [clip.reference_words for clip in texts]
            found[CAPTIONS].append(CaptionStatistics.of([clip.words for clip in texts], words))
    for kind, pieces in found.items():
        _write_arrays(scoring.path(kind, part), _in_ranges(_MERGE[kind](pieces)))
    note(progress, done=0, units=1)
    return part


def merge_counts(join: JoinPlan) -> range:
    """Add the counts of all parts up, a range of digests at a time; the parts that can be scored now."""
    plan = ScoringPlan.read(join.folder)
    for kind in plan.counts:
        pieces = [_read_ranges(kind, plan.path(kind, part)) for part in plan.parts]
        merged = (_MERGE[kind](ranged) for ranged in zip(*pieces, strict=True))
        # An n-gram of one clip weighs as much as one that no clip has.
        _write_arrays(plan.path(kind), merged if kind == CAPTIONS else (frequent(each) for each in merged))
    return plan.parts


def score_part(part: int, plan: ScoringPlan) -> Iterator[tuple[pa.Table, dict[str, Numbers]]]:
    """Blocks of a part, and by metric what each clip adds to the corpus, [clips, numbers]."""
    scorers, _ = load_scorers(plan.needs, plan.sentence_model, plan.fluency_model, plan.datastore, plan.tokenizer)
    corpus = read_counts(plan)
    for rows, texts in _blocks(part, plan):
        yield (
            rows,
            score_clips(
                texts,
                metrics=plan.metrics,
                clap_scores=np.asarray(rows["clap_score"].to_numpy(), np.float64),
                scorers=scorers,
                **corpus,
            ),
        )


def write_scores(part: int, plan: JoinPlan, progress: str | None = None) -> int:
    """Score a part: the values of its clips, and what they add to the corpus."""
    scoring = ScoringPlan.read(plan.folder)
    blocks, draws = _draws(scoring.sizes, scoring.resamples, scoring.seed)
    values, sums = [], []
    for number, (rows, numbers) in enumerate(score_part(part, scoring)):
        drawn = draws[:, blocks[part] + number]
        sums.append(sum_clips(numbers, drawn, (scoring.seed, part, number)))
        columns = {name: pa.array(own, from_pandas=True) for name, own in clip_values(numbers).items()}
        values.append(pa.table({"key": rows["key"], "clip_id": rows["clip_id"], **columns}))
        note(progress, done=rows.num_rows)
    files.write_table(scoring.path("values", part), pa.concat_tables(values))
    content = io.BytesIO()
    merged = _merged(sums)
    np.savez(
        content, **{f"{name} {field}": array for name, own in merged.items() for field, array in vars(own).items()}
    )
    files.write_bytes(scoring.path("sums", part), content.getvalue())
    note(progress, done=0, units=1)
    return part


def read_sums(plan: ScoringPlan) -> dict[str, CorpusSum]:
    """What all parts add to the corpus, by metric."""
    return _merged([_read_sums(plan.path("sums", part)) for part in plan.parts])


def read_values(plan: ScoringPlan) -> Iterator[pa.Table]:
    """The values of the clips, part by part: `key`, `clip_id`, and a column a metric."""
    for part in plan.parts:
        yield files.read_table(plan.path("values", part))


def read_counts(plan: ScoringPlan) -> dict[str, Any]:
    """Document frequencies and statistics of all captions, as far as the metrics need them."""
    return {"frequencies": DocumentFrequencies()} | {kind: _read_whole(kind, plan) for kind in plan.counts}


def _blocks(part: int, plan: ScoringPlan) -> Iterator[tuple[pa.Table, list[ClipTexts]]]:
    rows = read_part(plan.folder, plan.buckets, plan.cuts[part])
    for start in range(0, rows.num_rows, _ROWS_AT_ONCE):
        block = rows.slice(start, _ROWS_AT_ONCE)
        yield block, clip_texts(block["caption"].to_pylist(), block["references"].to_pylist(), plan.tokenizer)


@lru_cache(maxsize=1)
def _draws(sizes: tuple[int, ...], resamples: int, seed: int) -> tuple[list[int], Integers]:
    """The number of the first block of each part, and how many clips of each block each resampled corpus has."""
    first: list[int] = []
    blocks: list[int] = []
    for size in sizes:
        first.append(len(blocks))
        blocks += [min(_ROWS_AT_ONCE, size - start) for start in range(0, size, _ROWS_AT_ONCE)]
    return first, share_draws(blocks, resamples, seed)


@lru_cache(maxsize=1)
def load_scorers(
    needs: frozenset[Need], sentence_model: str | None, fluency_model: str | None, datastore: str | None, tokenizer: str
) -> tuple[Mapping[Need, Scorer], Mapping[Need, InputError]]:
    """As :func:`~sonogloss.metrics.scorers.find_scorers`, and what a datastore says; all load once a process."""
    found, lacking = find_scorers(needs, sentence_model=sentence_model, fluency_model=fluency_model)
    if datastore is not None and "datastore" in needs:
        found["datastore"] = partial(novel_trigrams, known=known_trigrams(_captions(datastore), tokenizer))
    return found, lacking


def _captions(datastore: str) -> Iterator[list[str]]:
    from sonogloss.indexes import Datastore  # few evaluations need one

    store = Datastore.open(datastore)
    for start in range(0, store.count, ROWS_A_PART):
        yield store.texts(np.arange(start, min(store.count, start + ROWS_A_PART)))


def _merged(sums: Sequence[Mapping[str, CorpusSum]]) -> dict[str, CorpusSum]:
    """In order, so that rounding is the same wherever the parts were scored."""
    return {name: reduce(CorpusSum.merge, [each[name] for each in sums]) for name in sums[0]}


def _read_sums(path: str) -> dict[str, CorpusSum]:
    with np.load(io.BytesIO(files.read_bytes(path))) as content:
        names = dict.fromkeys(entry.rpartition(" ")[0] for entry in content)
        return {
            name: CorpusSum(
                total=content[f"{name} total"],
                clips=int(content[f"{name} clips"]),
                resampled=content[f"{name} resampled"],
                rows=content[f"{name} rows"],
            )
            for name in names
        }


def _arrays(counts: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(counts).items() if isinstance(value, np.ndarray)}


def _in_ranges(counts: Any) -> Iterator[Any]:
    """Counts cut at the same digests everywhere."""
    arrays = _arrays(counts)
    for cut in cut_ranges(next(iter(arrays.values()))):
        yield replace(counts, **{name: array[cut] for name, array in arrays.items()})


def _write_arrays(path: str, ranges: Iterable[Any]) -> None:
    """Counts, one Arrow batch for each range of digests."""
    with files.atomic_write(path) as handle:
        batches = (pa.record_batch(_arrays(counts)) for counts in ranges)
        first = next(batches)
        with pa.ipc.new_file(handle, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)


def _read_ranges(kind: str, path: str) -> Iterator[Any]:
    """The counts of a part, range by range."""
    with files.open_read(path) as handle, pa.ipc.open_file(handle) as reader:
        for number in range(reader.num_record_batches):
            yield _of_arrays(kind, pa.Table.from_batches([reader.get_batch(number)]))


def _read_whole(kind: str, plan: ScoringPlan) -> Any:
    with files.open_read(plan.path(kind)) as handle, pa.ipc.open_file(handle) as reader:
        return _of_arrays(kind, reader.read_all(), sum(plan.sizes))


def _of_arrays(kind: str, table: pa.Table, clips: int = 0) -> Any:
    arrays = {name: table[name].to_numpy() for name in table.column_names}
    return CaptionStatistics(**arrays) if kind == CAPTIONS else DocumentFrequencies(clips=clips, **arrays)


_MERGE: dict[str, Callable[[Sequence[Any]], Any]] = {FREQUENCIES: merge_frequencies, CAPTIONS: merge_statistics}

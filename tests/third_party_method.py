"""A captioning method as another package would bring it: written to a folder, installed by its metadata alone."""

from __future__ import annotations

from pathlib import Path

METHOD = """
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.plan import MapperSettings, MethodTraining, TrainingPlan, own_training
from sonogloss.methods.registry import Method
from toy.settings import EchoSettings, ToyPrompt


def own(*, captions, clap, parameters):
    return TrainingPlan(
        training=own_training(captions, parameters),
        settings=EchoSettings(),
        prompt=ToyPrompt(),
        mapper=MapperSettings(kind="mlp"),
        projection=None,
        decode=DecodeSettings(max_new_tokens=5),
    )


METHOD = Method(
    name="toy",
    captioner="toy.captioner:ToyCaptioner",
    prompt=ToyPrompt,
    decode=DecodeSettings(num_beams=2, max_new_tokens=6),
    contexts=1,
    training=MethodTraining(settings=EchoSettings, examples="toy.examples:make_examples", presets={"own": own}),
    card="# A toy\\n",
)
"""

SETTINGS = """
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class ToyPrompt:
    lead: str = field(default="I hear", metadata={"help": "the words before a caption"})
    audio_slots: ClassVar[int] = 1
    label_count: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True)
class EchoSettings:
    echoes: int = field(default=1, metadata={"help": "how often an answer is repeated", "metavar": "TIMES"})
    contexts: ClassVar[int] = 1

    def mining(self, seed):
        return None
"""

CAPTIONER = """
from sonogloss.methods import Captioner


class ToyCaptioner(Captioner):
    method = "toy"

    def caption(self, embeddings, contexts, *, beams=None):
        self.check_embeddings(embeddings, len(contexts))
        return [f"{self.prompt.lead} {', '.join(row)} " + "again " * (beams or 0) for row in contexts]
"""

EXAMPLES = """
import numpy as np

from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example, tokenize
from sonogloss.training.batches import Examples


class EchoExamples:
    slots, left_out, fingerprint = 1, 0, "echo"

    def __init__(self, plan, data):
        self.dim, self.vocabulary = data.captions.dim, len(data.tokenizer)
        self._plan, self._data = plan, data

    def at(self, step):
        rows = np.arange(self._plan.training.batch_size) % self._data.captions.count
        texts = [" ".join([text] * self._plan.settings.echoes) for text in self._data.captions.texts(rows)]
        answers = tokenize(texts, self._data.tokenizer)
        sequences = [Example(ids=[AUDIO_SLOT, *ids], labels=[IGNORED, *ids]) for ids in answers]
        return Examples(sequences=sequences, embeddings=self._data.captions.vectors(rows))

    def held_out(self):
        return []


def make_examples(plan, data):
    return EchoExamples(plan, data)
"""


def install(folder: Path, *, entry: str = "toy = toy.method:METHOD") -> Path:
    """Write the package and its metadata; a folder on `sys.path` is then as good as an installation."""
    package, metadata = folder / "toy", folder / "toy-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    for name, source in (("method", METHOD), ("settings", SETTINGS), ("captioner", CAPTIONER), ("examples", EXAMPLES)):
        (package / f"{name}.py").write_text(source.lstrip())
    (package / "__init__.py").write_text("")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[sonogloss.methods]\n{entry}\n")
    return folder

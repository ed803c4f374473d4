"""sonogloss: zero-shot audio captioning at scale.

What a script wants is here, imported when it is used: `import sonogloss` costs nothing and prints nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonogloss.clap import load_clap
    from sonogloss.indexes import Datastore
    from sonogloss.pipelines.build_datastore import build_datastore
    from sonogloss.pipelines.caption_audio import caption
    from sonogloss.pipelines.classify_audio import classify
    from sonogloss.pipelines.compact_datastore import compact
    from sonogloss.pipelines.compare_runs import compare_runs
    from sonogloss.pipelines.convert_clap import convert_clap
    from sonogloss.pipelines.evaluate_captions import evaluate
    from sonogloss.pipelines.evaluate_order import zste
    from sonogloss.pipelines.inspect_directory import inspect
    from sonogloss.pipelines.load_captioner import load_captioner
    from sonogloss.pipelines.make_captioner import make_captioner
    from sonogloss.pipelines.post_train_clap import post_train_clap
    from sonogloss.pipelines.report_page import report
    from sonogloss.pipelines.run_demo import demo
    from sonogloss.pipelines.search_datastore import search
    from sonogloss.pipelines.train_captioner import train_captioner
    from sonogloss.pipelines.tune_labels import tune_labels
    from sonogloss.pipelines.verify_directory import verify

__version__ = "0.1.0"

__all__ = [
    "Datastore",
    "load_clap",
    "load_captioner",
    "build_datastore",
    "compact",
    "search",
    "caption",
    "classify",
    "evaluate",
    "compare_runs",
    "report",
    "make_captioner",
    "train_captioner",
    "tune_labels",
    "post_train_clap",
    "zste",
    "convert_clap",
    "verify",
    "inspect",
    "demo",
]

_MODULES = {
    "Datastore": "indexes",
    "load_clap": "clap",
    "load_captioner": "pipelines.load_captioner",
    "build_datastore": "pipelines.build_datastore",
    "compact": "pipelines.compact_datastore",
    "search": "pipelines.search_datastore",
    "caption": "pipelines.caption_audio",
    "classify": "pipelines.classify_audio",
    "evaluate": "pipelines.evaluate_captions",
    "compare_runs": "pipelines.compare_runs",
    "report": "pipelines.report_page",
    "make_captioner": "pipelines.make_captioner",
    "train_captioner": "pipelines.train_captioner",
    "tune_labels": "pipelines.tune_labels",
    "post_train_clap": "pipelines.post_train_clap",
    "zste": "pipelines.evaluate_order",
    "convert_clap": "pipelines.convert_clap",
    "verify": "pipelines.verify_directory",
    "inspect": "pipelines.inspect_directory",
    "demo": "pipelines.run_demo",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'sonogloss' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sonogloss.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Metrics of captions and tags: one pure function a file, corpus values from statistics that merge.

Names and fractions are those of aac-metrics. METEOR and SPICE run their published Java programs, sentence and fluency
models are the user's.
"""

from sonogloss.metrics.cider_d import DocumentFrequencies as DocumentFrequencies
from sonogloss.metrics.diversity import CaptionStatistics as CaptionStatistics
from sonogloss.metrics.evaluate import CorpusSum as CorpusSum
from sonogloss.metrics.evaluate import Evaluation as Evaluation
from sonogloss.metrics.evaluate import corpus_rows as corpus_rows
from sonogloss.metrics.evaluate import evaluate as evaluate
from sonogloss.metrics.evaluate import score_clips as score_clips
from sonogloss.metrics.metric import Metric as Metric
from sonogloss.metrics.registry import METRICS as METRICS
from sonogloss.metrics.rouge_l import rouge_l as rouge_l
from sonogloss.metrics.selection import GROUPS as GROUPS
from sonogloss.metrics.selection import REFERENCE_METRICS as REFERENCE_METRICS
from sonogloss.metrics.selection import check_metrics as check_metrics
from sonogloss.metrics.tags import RankedClips as RankedClips
from sonogloss.metrics.tags import TagCounts as TagCounts
from sonogloss.metrics.tags import TagStatistics as TagStatistics
from sonogloss.metrics.tags import average_precision as average_precision
from sonogloss.metrics.tags import mean_average_precision as mean_average_precision
from sonogloss.metrics.tokenize import TOKENIZERS as TOKENIZERS
from sonogloss.metrics.tokenize import tokenize as tokenize

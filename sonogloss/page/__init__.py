"""A page to look at and listen to: one HTML file that needs nothing else, from the rows of a run."""

from sonogloss.page.assemble import GENERATOR, page_html
from sonogloss.page.embedding_map import embedding_map
from sonogloss.page.sounds import ClipSound, clip_sounds

__all__ = ["GENERATOR", "ClipSound", "clip_sounds", "embedding_map", "page_html"]

"""sonogloss: zero-shot audio captioning at scale. The science: arrays and text in, arrays and text out."""

__version__ = "0.1.0"

"""CLAP: text and audio in one space. One protocol, and two backends."""

from sonogloss.clap.backend import is_pocket, load_clap
from sonogloss.clap.protocol import BatchedText, Clap

__all__ = ["BatchedText", "Clap", "is_pocket", "load_clap"]

"""CLAP: text and audio in one space. One protocol, and backends that keep it."""

from sonogloss.clap.backend import Clap, is_pocket, load_clap

__all__ = ["Clap", "is_pocket", "load_clap"]

"""Which recordings there are, and a handle on each: files, folders, archives, tables and listings.

:func:`list_sources` says what is there and what is left out, :func:`open_members` and :func:`open_source` open it. All
of it is streamed: nothing is extracted to disk, and memory grows neither with a container nor with a recording.
"""

from sonogloss.sources.find import list_sources
from sonogloss.sources.handles import Opened
from sonogloss.sources.names import printable, unprinted
from sonogloss.sources.open import open_members, open_source
from sonogloss.sources.source import SkipCode, Skipped, Source, SourceLimits, source_key
from sonogloss.sources.source_table import SourceTable

__all__ = [
    "Source",
    "Skipped",
    "SkipCode",
    "SourceLimits",
    "SourceTable",
    "Opened",
    "list_sources",
    "open_source",
    "open_members",
    "source_key",
    "printable",
    "unprinted",
]

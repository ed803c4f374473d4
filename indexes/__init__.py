"""Datastores and supports on disk: layout, build, search, verify. FAISS lives here only.

A *datastore* holds captions and their CLAP text embeddings. It answers two questions about an audio embedding: which
captions lie nearest (the contexts), and where does the embedding land on the text support (the projection).
"""

from sonogloss.indexes.build import commit_datastore as commit_datastore
from sonogloss.indexes.build import write_shard as write_shard
from sonogloss.indexes.build import write_support_part as write_support_part
from sonogloss.indexes.datastore import Datastore as Datastore
from sonogloss.indexes.layout import Manifest as Manifest
from sonogloss.indexes.layout import describe as describe
from sonogloss.indexes.layout import read_manifest as read_manifest
from sonogloss.indexes.shard_writer import ShardWriter as ShardWriter
from sonogloss.indexes.support import Support as Support
from sonogloss.indexes.verify import verify as verify

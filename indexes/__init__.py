"""Datastores and supports on disk: layout, build, search, verify. FAISS lives here only.

A *datastore* holds captions and their CLAP text embeddings. It answers two questions about an audio embedding: which
captions lie nearest (the contexts), and where does the embedding land on the text support (the projection).
"""

from indexes.build import commit_datastore as commit_datastore
from indexes.build import write_shard as write_shard
from indexes.build import write_support_part as write_support_part
from indexes.datastore import Datastore as Datastore
from indexes.layout import Manifest as Manifest
from indexes.layout import describe as describe
from indexes.layout import read_manifest as read_manifest
from indexes.support import Support as Support
from indexes.verify import verify as verify

"""Beam steps, thin, one a file, named as the step; each is wiring around a public pure function of the same word.

Captions: read_captions -> embed_text -> write_shards -> build_indexes.
Audio: read_audio -> embed_audio -> retrieve -> write_captions -> score -> write_rows -> commit_run.
"""

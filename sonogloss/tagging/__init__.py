"""Zero-shot tagging: which labels fit a sound, with plain names or with prompts learned from text alone.

:mod:`~sonogloss.tagging.tagger` makes label embeddings and scores clips. Audio-free prompt tuning (arXiv 2309.08357)
reads from top to bottom in :mod:`~sonogloss.tagging.tune`. Around it: its texts (:mod:`~sonogloss.tagging.texts`), its
numbers (:mod:`~sonogloss.tagging.config`), scores (:mod:`~sonogloss.tagging.scores`), losses
(:mod:`~sonogloss.tagging.losses`) and the directory it leaves (:mod:`~sonogloss.tagging.label_prompts`).
"""

"""Learning to caption from text alone.

A training run reads from top to bottom in :mod:`~sonogloss.training.loop`. Around it: what it learns from
(:mod:`~sonogloss.training.corpus`), its numbers
(:mod:`~sonogloss.training.config`), which captions are shown together (:mod:`~sonogloss.training.neighbours`), a step's
tensors (:mod:`~sonogloss.training.batches`), what learns and from what loss (:mod:`~sonogloss.training.objective`), and
what a killed run needs to go on (:mod:`~sonogloss.training.checkpoint`).
"""

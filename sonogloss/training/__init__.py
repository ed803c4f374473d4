"""Learning to caption from text alone.

A training run reads from top to bottom in :mod:`~sonogloss.training.loop`; :mod:`~sonogloss.training.config` has its
numbers, :mod:`~sonogloss.training.neighbours` draws the retrieved captions, :mod:`~sonogloss.training.batches` lays out
a step's tensors and :mod:`~sonogloss.training.checkpoint` keeps what a killed run needs to go on.
"""

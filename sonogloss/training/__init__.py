"""Learning to caption from text alone.

A training run reads from top to bottom in :mod:`~sonogloss.training.loop`, whatever the method. What the methods are is
in what they learn from: the module `examples` of each folder in `sonogloss.methods` makes the examples of each step
out of a corpus (:mod:`~sonogloss.training.corpus`) and the captions that belong together
(:mod:`~sonogloss.training.neighbours`). Around them: the numbers (:mod:`~sonogloss.training.config`), a step's tensors
(:mod:`~sonogloss.training.batches`), what learns and from what loss (:mod:`~sonogloss.training.objective`), what a
killed run needs to go on (:mod:`~sonogloss.training.checkpoint`), and several processes
(:mod:`~sonogloss.training.parallel`).
"""

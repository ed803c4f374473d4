"""Training a captioner from text alone, and what all trainings share.

:mod:`~sonogloss.training.loop` is the training, whatever the method; the module `examples` of each folder in
`sonogloss.methods` makes the examples of each step. Shared with `temporal` and `tagging`: a run's state, checkpoint and
resume (:mod:`~sonogloss.training.state`), its loss curve and the log of its steps (:mod:`~sonogloss.training.curve`),
and precision.
"""

"""Measuring: the standard metric of each task, for models, for ready predictions, and for trivial baselines."""

from minitransformer.evaluation.run import EVALUATIONS, evaluate, metric

__all__ = ["EVALUATIONS", "evaluate", "metric"]

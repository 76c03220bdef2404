"""Recipes: a training run as a TOML file, with the vocabulary that it learns and the model that it begins with.

The loop itself, which knows nothing of files of this kind, is ``minitransformer.training``.
"""

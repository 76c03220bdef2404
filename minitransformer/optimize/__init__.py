"""Fast forms of a model: the same interface, made from the readable model and tested against it.

``optimized(model, dtype)`` is all there is to call; ``forms_here()`` says which forms this processor has. What it puts
in place stands in five files: ``products`` computes linear layers from packed or quantised weights, ``parts`` does in
fewer operations what the readable layers do, ``blocks`` goes through a block in fewer calls, ``steps`` has one more
token's way through it compiled, and ``build`` makes the new model of these.
"""

from minitransformer.optimize.build import TOLERANCES, optimized
from minitransformer.optimize.products import forms_here

__all__ = ["TOLERANCES", "forms_here", "optimized"]

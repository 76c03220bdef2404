"""Checkpoints and the weight maps that carry them into models, bit by bit and back."""

from minitransformer.weights.checkpoint import open_checkpoint, save_checkpoint
from minitransformer.weights.engine import LoadReport, explain, export_weights, load_weights, under_our_names
from minitransformer.weights.ops import AddAxis, Interleave, Op, Same, Split, Then, Transpose
from minitransformer.weights.rows import Ignore, Legacy, Row, Tied, embedding, fused_qkv, linear, norm
from minitransformer.weights.skeleton import without_memory
from minitransformer.weights.table import BACKBONE, TableError, WeightMap

__all__ = [
    "BACKBONE",
    "AddAxis",
    "Ignore",
    "Interleave",
    "Legacy",
    "LoadReport",
    "Op",
    "Row",
    "Same",
    "Split",
    "TableError",
    "Then",
    "Tied",
    "Transpose",
    "WeightMap",
    "embedding",
    "explain",
    "export_weights",
    "fused_qkv",
    "linear",
    "load_weights",
    "norm",
    "open_checkpoint",
    "save_checkpoint",
    "under_our_names",
    "without_memory",
]

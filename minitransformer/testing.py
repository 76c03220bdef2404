"""What tests use, by one name: tiny reference twins, where two models part, and checks of parts of one's own.

Its home is ``parity``; ``check_part`` needs no reference.

A twin is a small model of transformers, built from a config without any network, *every* parameter drawn anew (a new
model's zero biases and unit norms would hide swapped rows), in float64 and with its readable attention: a difference
that is rounding vanishes there, a difference that is a bug stays::

    reference = reference_twin("BertForMaskedLM", hidden_size=32, num_hidden_layers=3, ...)
    reference.save_pretrained(folder)
    ours = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float64)
    for row in divergence(ours, reference, inputs):
        print(row)
"""

from minitransformer.parity.conformance import PartError, Report, check_part
from minitransformer.parity.divergence import (
    FLOAT64_TOLERANCE,
    FORWARD_PASS,
    OUTPUT_FIELDS,
    Difference,
    assert_same,
    divergence,
)
from minitransformer.parity.sides import readable_attention
from minitransformer.parity.twins import redraw, reference_twin, repaired, wide
from minitransformer.parity.weights import compare_weights

__all__ = [
    "FLOAT64_TOLERANCE",
    "FORWARD_PASS",
    "OUTPUT_FIELDS",
    "Difference",
    "PartError",
    "Report",
    "assert_same",
    "check_part",
    "compare_weights",
    "divergence",
    "readable_attention",
    "redraw",
    "reference_twin",
    "repaired",
    "wide",
]

"""Study a model: causes, not pictures. A guest on the taps; no model knows that it is studied, nothing below needs it.

::

    from minitransformer import study

    print(study.patch(model, base, source, study.logit(she, he), taps="cross_attn.mixed", by=("tap", "head")))

Every function takes a model in evaluation mode and what its tokenizer gives; results have named axes, print themselves
as a small table, ``.plot()`` and ``.save()``.
"""

from __future__ import annotations

from minitransformer.errors import StudyError
from minitransformer.study.ablation import ablate, head_importance
from minitransformer.study.alignment import Alignment, align, alignment_error_rate
from minitransformer.study.attribution import (
    attention_norms,
    attribute_inputs,
    faithfulness,
    flow,
    rollout,
    value_zeroing,
)
from minitransformer.study.bias import bias, crows_pairs, pseudo_log_likelihood, weat
from minitransformer.study.cost import cost, cost_table
from minitransformer.study.detectors import composition, copying, heads, induction_gain, repeated_tokens, to_words
from minitransformer.study.lenses import TunedLens, decoder_lens, logit_lens, residual_stream, top_words
from minitransformer.study.logits import attribute_logits
from minitransformer.study.page import page
from minitransformer.study.patching import patch
from minitransformer.study.paths import path_patch
from minitransformer.study.probing import probe
from minitransformer.study.recording import record
from minitransformer.study.results import Result
from minitransformer.study.runs import logit, loss, run

__all__ = [
    "Alignment",
    "Result",
    "StudyError",
    "TunedLens",
    "ablate",
    "align",
    "alignment_error_rate",
    "attention_norms",
    "attribute_inputs",
    "attribute_logits",
    "bias",
    "composition",
    "copying",
    "cost",
    "cost_table",
    "crows_pairs",
    "decoder_lens",
    "faithfulness",
    "flow",
    "head_importance",
    "heads",
    "induction_gain",
    "logit",
    "logit_lens",
    "loss",
    "page",
    "patch",
    "path_patch",
    "probe",
    "pseudo_log_likelihood",
    "record",
    "repeated_tokens",
    "residual_stream",
    "rollout",
    "run",
    "to_words",
    "top_words",
    "value_zeroing",
    "weat",
]

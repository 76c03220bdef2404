"""Patching beside transformers with plain hooks, forward by forward: an independent sweep gives the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.twins.twin import inputs_for
from study.subjects import changed, twin_named

import minitransformer
from minitransformer import study
from minitransformer.testing import reference_twin

PLACES = {  # ours -> theirs: the layer whose input is all heads side by side
    "BertForMaskedLM": ("encoder.blocks.{i}.attn.mixed", "bert.encoder.layer.{i}.attention.output.dense"),
    "BartForConditionalGeneration": (
        "decoder.blocks.{i}.cross_attn.mixed",
        "model.decoder.layers.{i}.encoder_attn.out_proj",
    ),
    "T5ForConditionalGeneration": ("encoder.blocks.{i}.attn.mixed", "encoder.block.{i}.layer.0.SelfAttention.o"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_sweep_is_that_of_hooks_on_the_reference(name: str, tmp_path: Any) -> None:
    twin = twin_named(name)
    reference = reference_twin(twin.name, **twin.config)
    reference.save_pretrained(tmp_path)
    model = getattr(minitransformer, twin.auto).from_pretrained(tmp_path, dtype=torch.float64)
    base, _ = inputs_for(twin, [6], "right")
    source = changed(base)
    ours, theirs = PLACES[name]
    metric = study.logit(9, 11)
    swept = study.patch(model, base, source, metric, [ours.format(i=i) for i in (0, 1)], normalise=False)
    for i in (0, 1):
        layer = reference.get_submodule(theirs.format(i=i))
        kept: list[torch.Tensor] = []
        with torch.no_grad():
            handle = layer.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0]))
            reference(**source)
            handle.remove()
            heads = swept.values.shape[1]
            size = kept[0].shape[-1] // heads
            for head in range(heads):
                for position in range(swept.values.shape[2]):

                    def put(_, args, head=head, position=position, value=kept[0], size=size):
                        x = args[0].clone()
                        place = slice(head * size, (head + 1) * size)
                        x[:, position, place] = value[:, position, place]
                        return (x, *args[1:])

                    handle = layer.register_forward_pre_hook(put)
                    scores = reference(**base).logits
                    handle.remove()
                    expected = scores[0, -1, 9] - scores[0, -1, 11]
                    torch.testing.assert_close(swept.values[i, head, position], expected, atol=1e-9, rtol=0)

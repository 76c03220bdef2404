"""A language model of a few lines, and a tokenizer to go with it: the strategies need no more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minitransformer.generation import GenerationConfig

VOCAB, EOS, PAD = 23, 1, 0


class ToyLM:
    """Scores from a fading sum over the tokens so far. What it has cached are the tokens themselves.

    Counts its calls, and notes how many tokens it was given and how many positions it was asked to score.
    """

    def __init__(self, *, seed: int = 0, max_positions: int | None = 200, **options: Any) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embedding = torch.randn(VOCAB, 6, generator=generator, dtype=torch.float64)
        self.head = torch.randn(6, VOCAB, generator=generator, dtype=torch.float64)
        self.config = SimpleNamespace(is_encoder_decoder=False, vocab_size=VOCAB, max_positions=max_positions)
        self.generation_config = GenerationConfig(**{"eos_token_id": EOS, "pad_token_id": PAD, **options})
        self.device = torch.device("cpu")
        self.calls: list[dict[str, Any]] = []
        self.reorders = 0

    def __call__(self, input_ids, attention_mask=None, past_key_values=None, logits_to_keep=0):
        self.calls.append({"rows": len(input_ids), "new": input_ids.shape[1], "scored": logits_to_keep})
        assert attention_mask is None or not bool(attention_mask.all()), "a mask that hides nothing was not left out"
        ids = self._with_cached(input_ids, past_key_values)
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask
        assert mask.shape == ids.shape
        return SimpleNamespace(logits=self._scores(ids, mask)[:, -logits_to_keep:], attentions=None)

    def _scores(self, ids, mask):
        place = torch.arange(ids.shape[1])
        fading = 0.8 ** (place[:, None] - place).clamp(min=0).double()
        seen = (place[:, None] >= place) * mask[:, None]  # (B, query, key)
        wave = torch.sin(mask.cumsum(-1))[..., None]  # so that places differ
        return (seen * fading) @ (self.embedding[ids] * (1 + wave)) @ self.head

    def _with_cached(self, new, cache):
        if cache is None:
            return new
        store = cache[0].self_attn
        reorder = cache.reorder

        def counted(rows):
            self.reorders += 1
            reorder(rows)

        cache.reorder = counted if cache.reorder.__name__ != "counted" else cache.reorder
        x = new.double()[:, None, :, None]
        return store.append(x, x)[0][:, 0, :, 0].long()


class ToySeq2Seq(ToyLM):
    """The same, with a source whose mean is added; the source is cached as cross-attention would be."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"decoder_start_token_id": 2, **options})
        self.config.is_encoder_decoder = True
        self.encoded = 0

    def encode(self, input_ids, attention_mask=None):
        self.encoded += 1
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.embedding[input_ids] * mask[..., None]

    def __call__(self, attention_mask, decoder_input_ids, encoder_outputs, past_key_values):
        self.calls.append({"rows": len(decoder_input_ids), "new": decoder_input_ids.shape[1]})
        assert len(encoder_outputs) == len(decoder_input_ids)
        ids = self._with_cached(decoder_input_ids, past_key_values)
        if past_key_values is not None:
            cross = past_key_values[0].cross_attn
            if not cross.filled:
                cross.store(encoder_outputs[:, None], encoder_outputs[:, None])
            encoder_outputs = cross.keys[:, 0]
        scores = self._scores(ids, torch.ones_like(ids)) + (encoder_outputs.mean(1, keepdim=True) @ self.head)
        return SimpleNamespace(logits=scores[:, -decoder_input_ids.shape[1] :])


class BytesTokenizer:
    """One token for each byte: a character outside ASCII takes several."""

    def __init__(self) -> None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        self.backend = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, merges=[]))
        self.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.backend.decoder = decoders.ByteLevel()

    def __call__(self, text, *, add_special_tokens=True):
        ids = self.backend.encode(text).ids
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def convert_ids_to_tokens(self, ids):
        return [self.backend.id_to_token(i) for i in ids]

    def convert_tokens_to_string(self, tokens):
        return self.backend.decoder.decode(tokens)

    def decode(self, ids, **options):
        return self.backend.decode(list(ids))

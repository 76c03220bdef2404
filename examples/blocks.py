"""Blocks on their own: an encoder, a decoder and an encoder-decoder, without any checkpoint.

Each one is built from the parts in ``minitransformer.layers`` and compared with the layer of ``torch.nn`` of the same
architecture, weights copied over. Run it::

    python examples/blocks.py
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    MultiHeadAttention,
    PostNormBlock,
    PostNormCrossBlock,
    PreNormBlock,
    PreNormCrossBlock,
    SinusoidalPositions,
    Stack,
    View,
    activation,
    tap_names,
    token_positions,
    trace,
)

D, H, F, LAYERS = 32, 4, 48, 2  # width, heads, feed-forward width, layers


def make_block(*, pre_norm: bool = False) -> nn.Module:
    """A block of either wiring."""
    wiring = PreNormBlock if pre_norm else PostNormBlock
    return wiring(MultiHeadAttention(D, H), FeedForward(D, F, activation("relu")), partial(nn.LayerNorm, D))


def make_cross_block(*, pre_norm: bool = False) -> nn.Module:
    """A block of a decoder that also attends to a source."""
    wiring = PreNormCrossBlock if pre_norm else PostNormCrossBlock
    attn, cross_attn = MultiHeadAttention(D, H), MultiHeadAttention(D, H)
    return wiring(attn, cross_attn, FeedForward(D, F, activation("relu")), partial(nn.LayerNorm, D))


class Seq2Seq(nn.Module):
    """An encoder-decoder in a dozen lines: shared words, sinusoidal positions, two stacks, a tied head."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        word = nn.Embedding(vocab_size, D)
        self.embeddings = Embeddings(word, SinusoidalPositions(64, D, interleaved=True), scale=D**0.5)
        self.encoder = Stack(make_block() for _ in range(LAYERS))
        self.decoder = Stack(make_cross_block() for _ in range(LAYERS))

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        return self.encoder(self.embeddings(source, token_positions(source.shape[1])), View(source_mask))

    def decode(self, target: Tensor, memory: Tensor, source_mask: Tensor, cache: DecoderCache | None = None) -> Tensor:
        T, offset = target.shape[1], 0 if cache is None else cache.length
        view = View(causal=True, cache=cache, source=View(source_mask, memory=memory))
        x = self.decoder(self.embeddings(target, token_positions(T, offset=offset)), view)
        return x @ self.embeddings.word.weight.T  # (B, T, V)


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """torch keeps query, key and value in one matrix."""
    for part, weight, bias in zip(
        (ours.query, ours.key, ours.value), theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True
    ):
        part.weight.data, part.bias.data = weight.data.clone(), bias.data.clone()
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def copy_block(ours: nn.Module, theirs: nn.Module) -> None:
    """From a layer of torch.nn.Transformer."""
    copy_attention(ours.attn, theirs.self_attn)
    norms = [ours.attn_norm, ours.ffn_norm]
    if hasattr(ours, "cross_attn"):
        copy_attention(ours.cross_attn, theirs.multihead_attn)
        norms.insert(1, ours.cross_attn_norm)
    for i, norm in enumerate(norms, start=1):
        norm.load_state_dict(getattr(theirs, f"norm{i}").state_dict())
    ours.ffn.up.load_state_dict(theirs.linear1.state_dict())
    ours.ffn.down.load_state_dict(theirs.linear2.state_dict())


def randomise(module: nn.Module) -> None:
    """Draw all parameters, so that nothing agrees by being zero or one."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@torch.no_grad()
def main() -> float:
    """Build the three, compare, and return the largest difference (float64)."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    source, target = torch.randn(2, 7, D), torch.randn(2, 5, D)
    source_mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]])
    hidden = source_mask == 0  # torch marks what is hidden, we mark what is visible
    future = nn.Transformer.generate_square_subsequent_mask(5)
    differences: list[float] = []

    for pre_norm in (False, True):
        options = {"dropout": 0.0, "batch_first": True, "norm_first": pre_norm}

        theirs = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(D, H, F, **options), LAYERS, enable_nested_tensor=False
        )
        randomise(theirs)
        encoder = Stack(make_block(pre_norm=pre_norm) for _ in range(LAYERS))
        for ours_block, their_block in zip(encoder.blocks, theirs.layers, strict=True):
            copy_block(ours_block, their_block)
        memory = encoder(source, View(source_mask))
        expected = theirs(source, src_key_padding_mask=hidden)
        differences.append(float((memory - expected)[~hidden].abs().max()))

        theirs = nn.TransformerDecoder(nn.TransformerDecoderLayer(D, H, F, **options), LAYERS)
        randomise(theirs)
        decoder = Stack(make_cross_block(pre_norm=pre_norm) for _ in range(LAYERS))
        for ours_block, their_block in zip(decoder.blocks, theirs.layers, strict=True):
            copy_block(ours_block, their_block)
        out = decoder(target, View(causal=True, source=View(source_mask, memory=memory)))
        expected = theirs(target, memory, tgt_mask=future, memory_key_padding_mask=hidden)
        differences.append(float((out - expected).abs().max()))
        wiring = "pre-norm" if pre_norm else "post-norm"
        print(f"{wiring}: encoder differs from torch.nn by {differences[-2]:.1e}, decoder by {differences[-1]:.1e}")

    model = Seq2Seq(vocab_size=50)
    source_ids, target_ids = torch.randint(50, (2, 7)), torch.randint(50, (2, 5))
    memory = model.encode(source_ids, source_mask)
    whole = model.decode(target_ids, memory, source_mask)
    cache = DecoderCache()
    steps = [model.decode(target_ids[:, i : i + 1], memory, source_mask, cache) for i in range(5)]
    differences.append(float((torch.cat(steps, dim=1) - whole).abs().max()))
    print(f"seq2seq: decoding token by token differs from decoding at once by {differences[-1]:.1e}")

    with trace(model, "decoder.blocks.*.cross_attn.pattern") as t:
        model.decode(target_ids, memory, source_mask)
    first = t["decoder.blocks.0.cross_attn.pattern"]  # (batch, heads, target, source)
    print(f"one of its {len(tap_names(model))} taps: decoder.blocks.0.cross_attn.pattern {tuple(first.shape)}")
    print("   hidden source tokens get", float(first[1, :, :, 4:].sum()), "attention")
    return max(differences)


if __name__ == "__main__":
    torch.set_printoptions(precision=3)
    assert main() < 1e-10

"""ModernBERT: BERT with what decoders have learnt since; most blocks look near only (https://arxiv.org/abs/2412.13663).

    embeddings = norm(word); no token types, no positions
    encoder    = pre-norm blocks without biases: self-attention, feed-forward with a gate (GeGLU); a norm at the end
    attention  = every third block sees the whole text, the others ``local_attention / 2`` tokens to either side
    positions  = queries and keys are turned by the angles of their places (rotary), in local blocks faster
    heads      = transform, normalise, score: words, labels of a text or of its tokens, an answer's place

Reference: transformers 4.57 ``models/modernbert/modeling_modernbert.py``. ``modernbert_files`` has config and names.

Traps:
    * The first block's attention has no norm of its own: the embeddings' norm comes before it.
    * Files hold query, key and value as one matrix, and the two halves of the gate as another, the activated one first.
    * Hidden states are those between blocks: the last has not passed the final norm.
    * A text's vector, before the head transforms it, is its first token's, or the mean (``classifier_pooling``).
"""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.layers import Embeddings, GatedFeedForward, PreNormBlock, Rotary, Stack, View, activation
from minitransformer.models.common import heads
from minitransformer.models.common import modernbert_files as files
from minitransformer.models.common.base import Architecture, MakeBlock
from minitransformer.models.common.modernbert_files import ModernBertConfig as ModernBertConfig
from minitransformer.models.common.modernbert_files import ModernBertPretrained
from minitransformer.models.common.outputs import BaseOutput

Ids = Int[Tensor, "batch token"]


def modernbert_block(
    config: ModernBertConfig,
    layer: int,
    *,
    attention: type[nn.Module] = files.DroppingAttention,
    ffn: type[nn.Module] = GatedFeedForward,
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D, H, bias, dropout = config.hidden_size, config.num_heads, config.attention_bias, config.attention_dropout
    rotary, act = Rotary(D // H, theta=config.theta(layer)), activation(config.activation)
    block = PreNormBlock(
        attention(D, H, bias=bias, dropout=dropout, rotary=rotary, window=config.window(layer)),
        ffn(D, config.intermediate_size, act, dropout=config.mlp_dropout, bias=config.mlp_bias),
        norm=files.layer_norm(config),
    )
    if layer == 0:
        block.attn_norm = nn.Identity()
    return block


class ModernBertModel(ModernBertPretrained):
    """The encoder; with ``pools``, also the mean of a text's vectors."""

    def __init__(self, config: ModernBertConfig, *, pools: bool = False, block: MakeBlock = modernbert_block) -> None:
        super().__init__(config)
        word, norm = files.words(config), files.layer_norm(config)
        self.embeddings = Embeddings(word, norm=norm(), dropout=config.embedding_dropout)
        self.encoder = Stack((block(config, layer) for layer in range(config.num_layers)), norm())
        self.pooler = heads.MeanPooler() if pools else None

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> BaseOutput:
        """Encode texts; the attention mask is 0 at padding, and there are no token types."""
        positions = self.positions(input_ids) if position_ids is None else position_ids
        x = self.embeddings(input_ids, token_type_ids=token_type_ids)  # (B, T, D)
        x = self.encoder(x, View(attention_mask, positions=positions))
        return BaseOutput(x, None if self.pooler is None else self.pooler(x, attention_mask))


class WithHead(ModernBertPretrained):
    """What the models with a head share: it transforms, normalises, and scores."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        pools = self.HEAD == "ForSequenceClassification" and config.classifier_pooling == "mean"
        self.backbone = ModernBertModel(config, pools=pools)
        self.head: nn.Module = files.make_head(config, self.HEAD, self.backbone.embeddings.word)


class ModernBertForMaskedLM(WithHead, heads.MaskedLM):
    """Guess the words under ``[MASK]``."""


class ModernBertForSequenceClassification(WithHead, heads.SequenceClassification):
    """One prediction for a text or a pair of texts, from its first token's vector or the mean of all."""


class ModernBertForTokenClassification(WithHead, heads.TokenClassification):
    """A label for every token."""


class ModernBertForQuestionAnswering(WithHead, heads.QuestionAnswering):
    """Where in the second text the answer to the first one starts and ends."""


ARCHITECTURE = Architecture.of(
    ModernBertModel,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ModernBertForQuestionAnswering,
)

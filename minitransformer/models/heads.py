"""Task heads: the last layers, and for each task the class that puts one on a backbone.

A task class (``MaskedLM``, ``SequenceClassification``, ...) has the ``forward`` that all architectures share: run the
backbone, score, compare with the labels. An architecture's own class sets the parts that it needs in ``__init__``::

    class BertForTokenClassification(TokenClassification, BertPretrained):
        def __init__(self, config):
            super().__init__(config)
            self.bert = BertModel(config, add_pooling_layer=False)
            self.classifier = Logits(config.hidden_size, config.num_labels)

The tasks of encoder-decoders are in ``seq2seq``. Arguments of ``forward`` that a task does not name go to the backbone
unchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.layers import DecoderCache, Linear, Tap
from minitransformer.layers.activations import Activation
from minitransformer.models.base import GenerativeModel, PretrainedModel
from minitransformer.models.losses import classification_loss, next_token_loss, span_loss, token_loss
from minitransformer.models.outputs import BaseOutput, LogitsOutput, QuestionAnsweringOutput


class Logits(Linear):
    """A linear layer whose output is the model's answer; it passes the tap ``logits``.

    Args:
        hidden_size: width of the input.
        num_classes: labels, or words of the vocabulary.
        dropout: probability on the input, in training.
        bias: whether there is one.
    """

    def __init__(self, hidden_size: int, num_classes: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__(hidden_size, num_classes, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.logits = Tap("batch ... classes")

    def forward(self, x: Float[Tensor, "batch *token hidden_size"]) -> Float[Tensor, "batch *token classes"]:
        return self.logits(super().forward(self.dropout(x)))


class MaskedLMHead(nn.Module):
    """Transform, normalise, and compare with every word of the vocabulary (BERT).

    Args:
        hidden_size: width of the encoder.
        word: the embedding table, with whose vectors the result is compared.
        activation: the function of the transformation.
        norm: the norm after it.
        tied: whether the decoder shares the embedding table's weight.
    """

    def __init__(
        self, hidden_size: int, word: nn.Embedding, activation: Activation, norm: nn.Module, *, tied: bool = True
    ) -> None:
        super().__init__()
        vocab_size, embedding_size = word.weight.shape
        self.dense = Linear(hidden_size, embedding_size)
        self.activation = activation
        self.norm = norm
        self.decoder = Logits(embedding_size, vocab_size)
        if tied:
            self.decoder.weight = word.weight

    def forward(self, x: Float[Tensor, "batch token hidden_size"]) -> Float[Tensor, "batch token vocab_size"]:
        return self.decoder(self.norm(self.activation(self.dense(x))))


class Pooler(nn.Module):
    """A text's vector: the first token's, through one more layer with tanh (BERT)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = Linear(hidden_size, hidden_size)
        self.out = Tap("batch hidden_size")

    def forward(self, x: Float[Tensor, "batch token hidden_size"]) -> Float[Tensor, "batch hidden_size"]:
        return self.out(torch.tanh(self.dense(x[:, 0])))


class DenseClassifier(nn.Module):
    """Score labels after one more layer (RoBERTa, BART, ELECTRA).

    Args:
        hidden_size: width of the input.
        num_labels: number of labels.
        activation: the function of that layer.
        dropout: probability before each layer, in training.
    """

    def __init__(
        self, hidden_size: int, num_labels: int, activation: Activation = torch.tanh, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = Linear(hidden_size, hidden_size)
        self.activation = activation
        self.output = Logits(hidden_size, num_labels, dropout=dropout)

    def forward(self, x: Float[Tensor, "batch *token hidden_size"]) -> Float[Tensor, "batch *token num_labels"]:
        return self.output(self.activation(self.dense(self.dropout(x))))


class MaskedLM(PretrainedModel):
    """Guess hidden words. Parts: the backbone, ``mlm_head``."""

    mlm_head: nn.Module

    def forward(self, *inputs: Any, labels: Int[Tensor, "batch token"] | None = None, **named: Any) -> LogitsOutput:
        """Score every word at every place; labels are the true ids, -100 where there is nothing to guess."""
        logits = self.mlm_head(self.backbone(*inputs, **named).last_hidden_state)
        return LogitsOutput(token_loss(logits, labels), logits)


class NextSentencePrediction(PretrainedModel):
    """Tell whether the second text follows the first. Parts: the backbone with a pooler, ``nsp_head``."""

    nsp_head: nn.Module

    def forward(self, *inputs: Any, labels: Int[Tensor, " batch"] | None = None, **named: Any) -> LogitsOutput:
        """Score each pair; class 0 says that the second text is the next."""
        logits = self.nsp_head(self.backbone(*inputs, **named).pooler_output)
        return LogitsOutput(classification_loss(logits, labels, "single_label_classification"), logits)


class SequenceClassification(PretrainedModel):
    """One prediction for a text or a pair of texts. Parts: the backbone, ``classifier``."""

    classifier: nn.Module

    def features(self, output: BaseOutput) -> Tensor:
        """What the classifier looks at: the pooled vector."""
        assert output.pooler_output is not None
        return output.pooler_output

    def forward(self, *inputs: Any, labels: Tensor | None = None, **named: Any) -> LogitsOutput:
        """Score the labels for each text; see ``classification_loss`` for the form of ``labels``."""
        logits = self.classifier(self.features(self.backbone(*inputs, **named)))
        return LogitsOutput(classification_loss(logits, labels, self.config.problem_type), logits)


class TokenClassification(PretrainedModel):
    """A label for every token, such as the kind of name it belongs to. Parts: the backbone, ``classifier``."""

    classifier: nn.Module

    def forward(self, *inputs: Any, labels: Int[Tensor, "batch token"] | None = None, **named: Any) -> LogitsOutput:
        """Score the labels for each token; a label of -100 is not counted."""
        logits = self.classifier(self.backbone(*inputs, **named).last_hidden_state)
        return LogitsOutput(token_loss(logits, labels), logits)


class QuestionAnswering(PretrainedModel):
    """Where in a text the answer starts and ends. Parts: the backbone, ``qa_outputs`` with two outputs."""

    qa_outputs: nn.Module

    def forward(
        self,
        *inputs: Any,
        start_positions: Int[Tensor, " batch"] | None = None,
        end_positions: Int[Tensor, " batch"] | None = None,
        **named: Any,
    ) -> QuestionAnsweringOutput:
        """Score each token as the answer's first and as its last."""
        x = self.backbone(*inputs, **named).last_hidden_state
        start, end = self.qa_outputs(x).unbind(dim=-1)
        return QuestionAnsweringOutput(span_loss(start, end, start_positions, end_positions), start, end)


class CausalLM(GenerativeModel):
    """Predict the next token. Parts: the backbone, ``lm_head``."""

    lm_head: nn.Module

    def forward(
        self,
        *inputs: Any,
        labels: Int[Tensor, "batch token"] | None = None,
        past_key_values: DecoderCache | None = None,
        logits_to_keep: int = 0,
        **named: Any,
    ) -> LogitsOutput:
        """Score every token as the next one.

        Args:
            *inputs: as the backbone takes them.
            labels: the input ids themselves; the shift by one happens inside.
            past_key_values: a cache to read and extend; the caller makes it with ``DecoderCache()``.
            logits_to_keep: score only the last so many positions (0: all).
            **named: as the backbone takes them.
        """
        x = self.backbone(*inputs, past_key_values=past_key_values, **named).last_hidden_state
        logits = self.lm_head(x[:, -logits_to_keep:])
        return LogitsOutput(next_token_loss(logits, labels), logits, past_key_values)


class LastTokenClassification(PretrainedModel):
    """One prediction for a text, read by a decoder from the last token. Parts: the backbone, ``score``."""

    score: nn.Module

    def forward(
        self,
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"] | None = None,
        *inputs: Any,
        labels: Tensor | None = None,
        **named: Any,
    ) -> LogitsOutput:
        """Score the labels for each text; see ``classification_loss`` for the form of ``labels``."""
        x = self.backbone(input_ids, attention_mask, *inputs, **named).last_hidden_state
        logits = self.score(last_token(x, input_ids, self.config.pad_token_id, attention_mask))
        return LogitsOutput(classification_loss(logits, labels, self.config.problem_type), logits)


def last_token(
    x: Float[Tensor, "batch token hidden_size"],
    input_ids: Int[Tensor, "batch token"],
    pad_token_id: int | None,
    attention_mask: Int[Tensor, "batch *axes token"] | None = None,
) -> Float[Tensor, "batch hidden_size"]:
    """The vector of each text's last token that is not padding, on whichever side the padding lies.

    Padding is what has the id of padding; where the config knows none, what the mask hides.

    Raises:
        ValueError: several texts, and neither a padding id nor a mask that would tell where each one ends.
    """
    if pad_token_id is not None:
        is_token = input_ids != pad_token_id
    elif attention_mask is not None and attention_mask.dim() == 2:
        is_token = attention_mask.bool()
    elif len(input_ids) > 1:
        raise ValueError(
            "a batch needs an attention_mask, or a padding id, to find each text's end: set pad_token_id in the config"
        )
    else:
        return x[:, -1]
    last = (torch.arange(input_ids.shape[1], device=input_ids.device) * is_token).argmax(dim=-1)
    return x[torch.arange(len(x), device=x.device), last]

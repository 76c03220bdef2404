"""Task heads: the last layers, and for each task the class that puts one on a backbone.

A task class (``MaskedLM``, ``SequenceClassification``, ...) has the ``forward`` that architectures share: run the
``backbone``, score with the ``head``, compare with the labels. An architecture's own class sets these two parts::

    class BertForTokenClassification(TokenClassification, BertPretrained):
        def __init__(self, config):
            super().__init__(config)
            self.backbone = BertModel(config, add_pooling_layer=False)
            self.head = Logits(config.hidden_size, config.num_labels)

The last layer of every head is ``head.output``, and taps have the same names in all: ``pre`` and ``hidden`` before and
after a head's activation, ``normed``, ``logits``. The tasks of encoder-decoders are in ``seq2seq``.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.layers import DecoderCache, Tap, linear
from minitransformer.layers.activations import Activation
from minitransformer.layers.part import Part
from minitransformer.models.common.base import GenerativeModel, PretrainedModel
from minitransformer.models.common.losses import classification_loss, next_token_loss, span_loss, token_loss
from minitransformer.models.common.outputs import BaseOutput, LogitsOutput, QuestionAnsweringOutput

Ids = Int[Tensor, "batch token"]


class Scores(Part):
    """A head that ends in one linear layer; losses over large vocabularies compute that layer part by part."""

    output: nn.Linear
    logits: Tap

    def forward(self, x: Float[Tensor, "batch *token hidden_size"]) -> Float[Tensor, "batch *token classes"]:
        return self.logits(linear(self.output, self.features(x)))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer reads."""
        raise NotImplementedError


class Logits(Scores):
    """One linear layer, whose output is the model's answer.

    Args:
        hidden_size: width of the input.
        num_classes: labels, or words of the vocabulary.
        dropout: probability on the input, in training.
        bias: whether there is one.
    """

    def __init__(self, hidden_size: int, num_classes: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, num_classes, bias=bias)
        self.logits = Tap("batch ... classes")

    def features(self, x: Tensor) -> Tensor:
        return self.dropout(x)


class NormedScores(Scores):
    """Transform, normalise, and score (ModernBERT; BERT's words).

    Args:
        hidden_size: width of the input.
        num_classes: labels, or words of the vocabulary.
        activation: the function of the transformation.
        norm: the norm after it, of the transformation's width.
        inner_size: width of the transformation; ``hidden_size`` if not given.
        dropout: probability before the last layer, in training.
        bias: whether the transformation has one.
        output_bias: whether the last layer has one.
    """

    def __init__(
        self,
        hidden_size: int,
        num_classes: int,
        activation: Activation,
        norm: nn.Module,
        *,
        inner_size: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        output_bias: bool = True,
    ) -> None:
        super().__init__()
        inner_size = hidden_size if inner_size is None else inner_size
        self.dense = nn.Linear(hidden_size, inner_size, bias=bias)
        self.activation = activation
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(inner_size, num_classes, bias=output_bias)
        self.pre = Tap("batch ... inner_size")
        self.hidden = Tap("batch ... inner_size")
        self.normed = Tap("batch ... inner_size")
        self.logits = Tap("batch ... classes")

    def features(self, x: Tensor) -> Tensor:
        return self.dropout(self.normed(self.norm(self.hidden(self.activation(self.pre(linear(self.dense, x)))))))


class MaskedLMHead(NormedScores):
    """Transform, normalise, and compare with every word of the vocabulary (BERT).

    Args:
        hidden_size: width of the encoder.
        word: the embedding table, with whose vectors the result is compared.
        activation: the function of the transformation.
        norm: the norm after it.
        tied: whether the last layer shares the embedding table's weight.
    """

    def __init__(
        self, hidden_size: int, word: nn.Embedding, activation: Activation, norm: nn.Module, *, tied: bool = True
    ) -> None:
        vocab_size, embedding_size = word.weight.shape
        super().__init__(hidden_size, vocab_size, activation, norm, inner_size=embedding_size)
        if tied:
            self.output.weight = word.weight


class Pooler(Part):
    """A text's vector: the first token's, through one more layer with tanh (BERT)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.pre = Tap("batch hidden_size")
        self.out = Tap("batch hidden_size")

    def forward(self, x: Float[Tensor, "batch token hidden_size"]) -> Float[Tensor, "batch hidden_size"]:
        return self.out(torch.tanh(self.pre(linear(self.dense, x[:, 0]))))


class MeanPooler(Part):
    """A text's vector: the mean of those of its tokens that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.out = Tap("batch hidden_size")

    def forward(
        self, x: Float[Tensor, "batch token hidden_size"], attention_mask: Tensor | None = None
    ) -> Float[Tensor, "batch hidden_size"]:
        if attention_mask is None or attention_mask.dim() != 2:
            return self.out(x.mean(dim=1))
        counted = attention_mask[..., None].to(x.dtype)
        return self.out((x * counted).sum(dim=1) / counted.sum(dim=1))


class DenseClassifier(Part):
    """Score labels after one more layer (RoBERTa, BART, ELECTRA).

    Args:
        hidden_size: width of the input.
        num_labels: number of labels.
        activation: the function of that layer.
        dropout: probability before the last layer, in training.
        input_dropout: probability before the first one; as ``dropout`` if not given.
    """

    def __init__(
        self,
        hidden_size: int,
        num_labels: int,
        activation: Activation = torch.tanh,
        *,
        dropout: float = 0.0,
        input_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(dropout if input_dropout is None else input_dropout)
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, num_labels)
        self.pre = Tap("batch ... inner_size")
        self.hidden = Tap("batch ... inner_size")
        self.logits = Tap("batch ... classes")

    def forward(self, x: Float[Tensor, "batch *token hidden_size"]) -> Float[Tensor, "batch *token num_labels"]:
        hidden = self.hidden(self.activation(self.pre(linear(self.dense, self.input_dropout(x)))))
        return self.logits(linear(self.output, self.dropout(hidden)))


def text_vector(output: BaseOutput) -> Float[Tensor, "batch hidden_size"]:
    """What stands for a whole text: the pooled vector, or the first token's."""
    return output.last_hidden_state[:, 0] if output.pooler_output is None else output.pooler_output


class MaskedLM(PretrainedModel):
    """Guess hidden words."""

    HEAD = "ForMaskedLM"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Ids | None = None,
    ) -> LogitsOutput:
        """Score every word at every place; labels are the true ids, -100 where there is nothing to guess."""
        return self.answer(self.backbone(input_ids, attention_mask, token_type_ids, position_ids), labels)

    def answer(self, output: BaseOutput, labels: Tensor | None) -> LogitsOutput:
        """Scores, and with labels the loss, from what the backbone gave."""
        logits = self.head(output.last_hidden_state)
        return LogitsOutput(token_loss(logits, labels), logits)


class NextSentencePrediction(PretrainedModel):
    """Tell whether the second text follows the first. The backbone has a pooler."""

    HEAD = "ForNextSentencePrediction"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Int[Tensor, " batch"] | None = None,
    ) -> LogitsOutput:
        """Score each pair; class 0 says that the second text is the next."""
        logits = self.head(self.backbone(input_ids, attention_mask, token_type_ids, position_ids).pooler_output)
        return LogitsOutput(classification_loss(logits, labels, "single_label_classification"), logits)


class SequenceClassification(PretrainedModel):
    """One prediction for a text or a pair of texts, from the backbone's pooled vector or its first."""

    HEAD = "ForSequenceClassification"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Tensor | None = None,
    ) -> LogitsOutput:
        """Score the labels for each text; see ``classification_loss`` for the form of ``labels``."""
        return self.answer(self.backbone(input_ids, attention_mask, token_type_ids, position_ids), labels)

    def answer(self, output: BaseOutput, labels: Tensor | None) -> LogitsOutput:
        """Scores, and with labels the loss, from what the backbone gave."""
        logits = self.head(text_vector(output))
        return LogitsOutput(classification_loss(logits, labels, self.config.problem_type), logits)


class MultipleChoice(PretrainedModel):
    """Which of several texts fits best, from each one's pooled vector or its first."""

    HEAD = "ForMultipleChoice"
    TAKES_CHOICES = True
    head: nn.Module

    def forward(
        self,
        input_ids: Int[Tensor, "batch choice token"],
        attention_mask: Int[Tensor, "batch choice token"] | None = None,
        token_type_ids: Int[Tensor, "batch choice token"] | None = None,
        position_ids: Int[Tensor, "batch choice token"] | None = None,
        labels: Int[Tensor, " batch"] | None = None,
    ) -> LogitsOutput:
        """Score the choices, (batch, choice); a label is the number of the right one."""
        given = (input_ids, attention_mask, token_type_ids, position_ids)
        output = self.backbone(*(x if x is None else x.flatten(0, 1) for x in given))
        return self.answer(output, labels, input_ids.shape[1])

    def answer(self, output: BaseOutput, labels: Tensor | None, choices: int) -> LogitsOutput:
        """Scores, and with labels the loss, from what the backbone gave for all choices of all texts."""
        logits = self.head(text_vector(output)).view(-1, choices)
        return LogitsOutput(classification_loss(logits, labels, "single_label_classification"), logits)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Raise an InputError, if the ids have no axis of choices."""
        if inputs["input_ids"].dim() != 3:
            raise InputError(
                f"input_ids must have the shape (batch, choice, token), not {tuple(inputs['input_ids'].shape)}: "
                "DataCollatorForMultipleChoice(tokenizer) makes it"
            )
        return inputs


class TokenClassification(PretrainedModel):
    """A label for every token, such as the kind of name it belongs to."""

    HEAD = "ForTokenClassification"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Ids | None = None,
    ) -> LogitsOutput:
        """Score the labels for each token; a label of -100 is not counted."""
        return self.answer(self.backbone(input_ids, attention_mask, token_type_ids, position_ids), labels)

    def answer(self, output: BaseOutput, labels: Tensor | None) -> LogitsOutput:
        """Scores, and with labels the loss, from what the backbone gave."""
        logits = self.head(output.last_hidden_state)
        return LogitsOutput(token_loss(logits, labels), logits)


class QuestionAnswering(PretrainedModel):
    """Where in a text the answer starts and ends. The head has two outputs."""

    HEAD = "ForQuestionAnswering"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        start_positions: Int[Tensor, " batch"] | None = None,
        end_positions: Int[Tensor, " batch"] | None = None,
    ) -> QuestionAnsweringOutput:
        """Score each token as the answer's first and as its last."""
        output = self.backbone(input_ids, attention_mask, token_type_ids, position_ids)
        return self.answer(output, start_positions, end_positions)

    def answer(self, output: BaseOutput, starts: Tensor | None, ends: Tensor | None) -> QuestionAnsweringOutput:
        """Scores, and with positions the loss, from what the backbone gave."""
        scores = self.head(output.last_hidden_state)  # (B, T, 2)
        start, end = scores[..., 0].contiguous(), scores[..., 1].contiguous()  # each its own, to be written to
        return QuestionAnsweringOutput(span_loss(start, end, starts, ends), start, end)


class CausalLM(GenerativeModel):
    """Predict the next token."""

    HEAD = "ForCausalLM"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Int[Tensor, "batch total"] | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        past_key_values: DecoderCache | None = None,
        labels: Ids | None = None,
        logits_to_keep: int = 0,
    ) -> LogitsOutput:
        """Score every token as the next one.

        Args:
            input_ids: the new tokens.
            attention_mask: 0 at padding, for cached and new tokens together.
            token_type_ids: optional further ids, whose word vectors are added.
            position_ids: of the new tokens; counted along the attention mask by default.
            past_key_values: a cache to read and extend; the caller makes it with ``DecoderCache()``.
            labels: the input ids themselves; the shift by one happens inside.
            logits_to_keep: score only the last so many positions (0: all).
        """
        output = self.backbone(input_ids, attention_mask, token_type_ids, position_ids, past_key_values)
        logits = self.head(output.last_hidden_state[:, -logits_to_keep:])
        return LogitsOutput(next_token_loss(logits, labels), logits, past_key_values)


class LastTokenClassification(PretrainedModel):
    """One prediction for a text, read by a decoder from the last token."""

    HEAD = "ForSequenceClassification"
    head: nn.Module

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Tensor | None = None,
    ) -> LogitsOutput:
        """Score the labels for each text; see ``classification_loss`` for the form of ``labels``."""
        x = self.backbone(input_ids, attention_mask, token_type_ids, position_ids).last_hidden_state
        logits = self.head(last_token(x, input_ids, self.config.pad_token_id, attention_mask))
        return LogitsOutput(classification_loss(logits, labels, self.config.problem_type), logits)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As all models; and each text's end must be known."""
        need_ends(inputs, self.config.pad_token_id)
        return inputs


def last_token(
    x: Float[Tensor, "batch token hidden_size"],
    input_ids: Int[Tensor, "batch token"],
    pad_token_id: int | None,
    attention_mask: Int[Tensor, "batch *axes token"] | None = None,
) -> Float[Tensor, "batch hidden_size"]:
    """The vector of each text's last token that is not padding, on whichever side the padding lies.

    Padding is what has the id of padding; where the config knows none, what the mask hides.
    """
    mask = attention_mask if attention_mask is None or attention_mask.dim() == 2 else None
    if pad_token_id is None and mask is None:
        return x[:, -1]
    is_token = input_ids != pad_token_id if pad_token_id is not None else mask != 0
    last = (torch.arange(input_ids.shape[1], device=input_ids.device) * is_token).argmax(dim=-1)
    return x.take_along_dim(last[:, None, None], dim=1)[:, 0]


def need_ends(inputs: dict[str, Any], pad_token_id: int | None) -> None:
    """Raise a ValueError for several texts with neither a padding id nor a mask that tells where each one ends."""
    mask = inputs.get("attention_mask")
    tells = pad_token_id is not None or (mask is not None and mask.dim() == 2)
    if not tells and len(inputs["input_ids"]) > 1:
        raise ValueError(
            "a batch needs an attention_mask, or a padding id, to find each text's end: set pad_token_id in the config"
        )

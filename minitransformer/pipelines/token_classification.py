"""token-classification (ner): a label for each token, and entities put together from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

import numpy as np
import torch

from minitransformer.errors import PipelineError
from minitransformer.options import ANY_CASE, Natural
from minitransformer.pipelines.base import ChunkPipeline
from minitransformer.pipelines.batching import Chunk
from minitransformer.pipelines.entities import Entity, check_offsets, group_entities, group_words, resolve_overlaps
from minitransformer.pipelines.scores import softmax, to_numpy

WORD_STRATEGIES = ("first", "average", "max")


class TokenClassificationPipeline(ChunkPipeline):
    """Text -> list of entities.

    Without aggregation, one entity a token: {"entity", "score", "index", "word", "start", "end"}; otherwise
    {"entity_group", "score", "word", "start", "end"}. ``start`` and ``end`` count characters of the text.

    Options:
        aggregation_strategy: "none"; "simple" joins neighbouring tokens of one tag (B- starts anew); "first",
            "average" and "max" first agree on one label for each word: its first token's, the one with the
            best mean score, or its surest token's.
        ignore_labels: labels to leave out (["O"]).
        stride: tag a text of any length, in stretches that overlap by so many tokens.
        is_split_into_words: inputs are lists of words.
        delimiter: joins such words to the text that offsets count in (" ").
        offset_mapping: (start, end) of each token, instead of the tokenizer's.
        return_token_scores: add "token_scores" to each entity: for each of its tokens {"token", "token_id", "start",
            "end", "scores"}, the last of them the probability of every label.
        grouped_entities, ignore_subwords: old names of "simple" and, together, of "first".
    """

    default_task = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    default_model = "dbmdz/bert-large-cased-finetuned-conll03-english"
    default_revision = "4c53496"
    too_long_remedy = "stride=... (with an aggregation_strategy)"
    token_outputs = ("logits",)
    old_names = {"grouped_entities": bool, "ignore_subwords": bool}

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """As in every pipeline; words of one text may be a plain list, which gives a list of one answer."""
        words = options.get("is_split_into_words", self.options.get("is_split_into_words"))
        words = self.declared_options()["is_split_into_words"].read(False if words is None else words, PipelineError)
        if words and isinstance(inputs, (list, tuple)) and not all(isinstance(i, (list, tuple)) for i in inputs):
            inputs = [inputs]
        offsets = options.get("offset_mapping")
        if not isinstance(offsets, (list, tuple, type(None))):
            raise PipelineError(f"offset_mapping must be a list of pairs (start, end), not {type(offsets).__name__}")
        if offsets and isinstance(inputs, (list, tuple)) and isinstance(offsets[0], list):
            if len(offsets) != len(inputs):
                raise PipelineError(f"offset_mapping has {len(offsets)} entries for {len(inputs)} inputs")
            return [self(i, **{**options, "offset_mapping": own}) for i, own in zip(inputs, offsets, strict=True)]
        return super().__call__(inputs, **options)

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn old names into ``aggregation_strategy``."""
        known = super().translate(options)
        grouped, whole_words = known.pop("grouped_entities", None), known.pop("ignore_subwords", None)
        if grouped is not None or whole_words is not None:
            known["aggregation_strategy"] = ("first" if whole_words else "simple") if grouped else "none"
        return known

    def merge(self, options: dict[str, Any]) -> dict[str, Any]:
        """A stride must leave room for new tokens, and needs a strategy to join what it finds twice."""
        merged = super().merge(options)
        stride = merged.get("stride")
        if stride is not None:
            if merged.get("aggregation_strategy", "none") == "none":
                raise PipelineError('stride needs an aggregation_strategy other than "none", such as "simple"')
            room = (self.max_tokens or 10**9) - self.tokenizer.backend.num_special_tokens_to_add(False)
            if not 0 <= stride < room:
                raise PipelineError(f"stride must be an integer from 0 to {room - 1}, not {stride!r}")
        return merged

    def preprocess(  # type: ignore[override]
        self,
        inputs: str | list[str],
        *,
        is_split_into_words: bool = False,
        delimiter: str = " ",
        offset_mapping: list[tuple[Natural, Natural]] | None = None,
        stride: int | None = None,
    ) -> Iterator[Chunk]:
        """Yield the text, or its overlapping stretches if there is a stride, with their tokens' offsets."""
        starts = None  # of each word in the text
        if is_split_into_words:
            if not isinstance(inputs, (list, tuple)) or not inputs or not all(isinstance(w, str) for w in inputs):
                raise PipelineError(f"is_split_into_words=True takes a list of words, not {inputs!r}")
            text, words = self.check_text(delimiter.join(inputs)), list(inputs)
            starts = [0, *accumulate(len(word) + len(delimiter) for word in words)]
        else:
            text = self.check_text(inputs)
        encoding = self.encode(
            words if is_split_into_words else text,
            is_split_into_words=is_split_into_words,
            truncation=True,
            return_overflowing_tokens=True,
            stride=stride or 0,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
        )
        count = len(encoding["input_ids"])
        if stride is None and count > 1:
            self.warn_once(
                f"a text is longer than the {self.max_tokens} tokens that the model takes, and is tagged up to "
                'there only; pass stride=... with an aggregation_strategy such as "simple" to tag all of it'
            )
            count = 1
        for i in range(count):
            offsets = encoding["offset_mapping"][i]
            if offset_mapping is not None:
                offsets = check_offsets(offset_mapping, len(offsets))
            if starts is not None:
                shifts = [0 if word is None else starts[word] for word in encoding.word_ids(i)]
                offsets = [(s + shift, e + shift) for (s, e), shift in zip(offsets, shifts, strict=True)]
            names = [name for name in self.tokenizer.model_input_names if name in encoding]
            yield {
                **{name: torch.tensor([encoding[name][i]]) for name in names},
                "special_tokens_mask": encoding["special_tokens_mask"][i],
                "offset_mapping": offsets,
                "sentence": text,
            }

    def forward(self, inputs: Chunk) -> Chunk:  # type: ignore[override]
        """Scores of the labels at each token: (batch, tokens, labels)."""
        return {**inputs, "logits": self.call_model(inputs).logits.cpu()}

    def postprocess(  # type: ignore[override]
        self,
        outputs: Sequence[Chunk],
        *,
        aggregation_strategy: Annotated[Literal["none", "simple", "first", "average", "max"], ANY_CASE] = "none",
        ignore_labels: Sequence[str] = ("O",),
        return_token_scores: bool = False,
    ) -> list[Entity]:
        """Label the tokens of each stretch, put entities together, and join the stretches."""
        found = []
        for output in outputs:
            scores = softmax(to_numpy(output["logits"][0]))  # (T, labels)
            tokens = self.describe_tokens(output, scores)
            if aggregation_strategy in WORD_STRATEGIES:
                labelled = [self.label_word(word, aggregation_strategy) for word in group_words(tokens)]
            else:
                labelled = [self.label_token(token) for token in tokens]
            if aggregation_strategy != "none":
                labelled = [self.join_entity(group) for group in group_entities(labelled)]
            label = "entity" if aggregation_strategy == "none" else "entity_group"
            found += [entity for entity in labelled if entity[label] not in ignore_labels]
        found = found if len(outputs) == 1 else resolve_overlaps(found)
        for entity in found:
            tokens = entity.pop("tokens")
            if return_token_scores:
                entity["token_scores"] = [self.describe_scores(token) for token in tokens]
        return found

    def describe_tokens(self, output: Chunk, scores: np.ndarray[Any, Any]) -> list[Entity]:
        """Of each token that is not special: scores, place in the text, whether it continues a word."""
        text, tokens, unknown = output["sentence"], [], self.tokenizer.unk_token_id
        # WordPiece marks tokens inside of a word; with other vocabularies a blank before the token tells
        marks_subwords = bool(getattr(self.tokenizer.backend.model, "continuing_subword_prefix", None))
        for i, (token_id, special) in enumerate(
            zip(output["input_ids"][0].tolist(), output["special_tokens_mask"], strict=True)
        ):
            if special:
                continue
            start, end = output["offset_mapping"][i]
            word = self.tokenizer.convert_ids_to_tokens(token_id)
            if token_id == unknown:
                word, inside = text[start:end], False
            elif marks_subwords:
                inside = len(word) != end - start
            else:
                inside = start > 0 and " " not in text[start - 1 : start + 1]
            token = {"word": word, "scores": scores[i], "start": start, "end": end, "index": i, "inside": inside}
            tokens.append({**token, "token_id": token_id})
        return tokens

    def describe_scores(self, token: Entity) -> dict[str, Any]:
        """A token, and the probabilities of all labels."""
        return {
            "token": self.tokenizer.decode([token["token_id"]]),
            **{name: token[name] for name in ("token_id", "start", "end")},
            "scores": {self.model.config.id2label[i]: float(score) for i, score in enumerate(token["scores"])},
        }

    def label_token(self, token: Entity) -> Entity:
        """The label with the best score."""
        best = int(token["scores"].argmax())
        return {
            "entity": self.model.config.id2label[best],
            "score": float(token["scores"][best]),
            **{name: token[name] for name in ("index", "word", "start", "end")},
            "tokens": [token],
        }

    def label_word(self, tokens: list[Entity], strategy: str) -> Entity:
        """One label for the tokens of a word."""
        if strategy == "first":
            scores = tokens[0]["scores"]
        elif strategy == "max":
            scores = max((token["scores"] for token in tokens), key=lambda scores: float(scores.max()))
        else:
            scores = np.mean([token["scores"] for token in tokens], axis=0)
        best = int(scores.argmax())
        return {
            "entity": self.model.config.id2label[best],
            "score": float(scores[best]),
            "word": self.tokenizer.convert_tokens_to_string([token["word"] for token in tokens]),
            "start": tokens[0]["start"],
            "end": tokens[-1]["end"],
            "tokens": tokens,
        }

    def join_entity(self, members: list[Entity]) -> Entity:
        """One entity from neighbouring tokens or words of one tag."""
        return {
            "entity_group": members[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([member["score"] for member in members])),
            "word": self.tokenizer.convert_tokens_to_string([member["word"] for member in members]),
            "start": members[0]["start"],
            "end": members[-1]["end"],
            "tokens": [token for member in members for token in member["tokens"]],
        }

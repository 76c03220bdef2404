"""fill-mask: what a masked language model would put in place of the mask token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from minitransformer.errors import PipelineError
from minitransformer.layers import fast_linear
from minitransformer.models.common.heads import MaskedLM
from minitransformer.options import INTERNAL, Count, Rows
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import ALONE, AUTO_TOKENS, Chunk, Sharing, chunk_length
from minitransformer.pipelines.filling import Fillings, LogProbs, fill_jointly, score_fillings
from minitransformer.pipelines.options import Steps, check_tokenizer_options
from minitransformer.pipelines.streaming import listed
from minitransformer.pipelines.targets import check_words, pieces_in_text, rescale, widen

Answer = dict[str, Any]
MOST_BEAMS = 5_000
"""Of which ``top_k`` may make the search follow twice as many."""
ROWS = ("input_ids", "attention_mask", "token_type_ids")


class FillMaskPipeline(Pipeline):
    """Text with one mask token -> list of {"score", "token", "token_str", "sequence"}, the likeliest first.

    With several masks, a list of such lists: each mask is filled on its own, the others staying masked.

    Options:
        top_k: how many fillings to give (5).
        targets: only consider these words. Their scores stay probabilities among the whole vocabulary. A word of
            several pieces counts as its first one, as in transformers, unless there is ``whole_targets``.
        tokenizer_kwargs: options of the tokenizer's call, as a dictionary ({"truncation": True}).
        joint: fill several masks together: one list, whose "token" and "token_str" are lists with an entry for each
            mask, and whose "score" is the joint probability, its logarithm "logprob" (filling.py says which one).
        num_beams: with ``joint``, how many fillings the search follows (the greater of 10 and twice ``top_k``).
        whole_targets: a target of k pieces takes the place of k masks, and its score is their joint probability;
            "token" is the list of its pieces, "logprob" the logarithm. Pieces are those that the target has in that
            text.
        normalize: with ``whole_targets``, what "score" is instead: "targets" shares out 1 among the targets; "pieces"
            is the geometric mean of the pieces' probabilities, which does not sink with their number.
        return_token_scores: add "token_scores": {"token", "token_id", "logprob", "step"} of each token filled in.
    """

    default_task = "fill-mask"
    auto_class = "AutoModelForMaskedLM"
    default_model = "distilbert/distilroberta-base"
    default_revision = "fb53ab8"
    too_long_remedy = 'tokenizer_kwargs={"truncation": True}'
    old_names = {"targets": str | list[str], "whole_targets": bool}

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """As in every pipeline; but a list of one text has its answer not in a list (as in transformers)."""
        inputs = listed(inputs)
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, (list, tuple)) and len(inputs) == 1 else results

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Read the options; those of the tokenizer, too."""
        known = super().translate(options)
        if self.tokenizer.mask_token_id is None:
            raise PipelineError("the tokenizer has no mask token: fill-mask needs a masked language model's tokenizer")
        if "tokenizer_kwargs" in known:
            known["tokenizer_kwargs"] = check_tokenizer_options("tokenizer_kwargs", known["tokenizer_kwargs"])
        return known

    def merge(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call, and what the targets are together with them."""
        merged = super().merge(options)
        whole = merged.pop("whole_targets", False)
        if whole and "targets" not in merged:
            raise PipelineError("whole_targets=True says how targets are scored: pass targets=[...] too")
        if whole and merged.get("joint"):
            raise PipelineError("joint and whole_targets exclude each other: pass one of them")
        for name, needed, there in (
            ("normalize", "whole_targets", whole),
            ("num_beams", "joint", merged.get("joint")),
        ):
            if name in merged and not there:
                raise PipelineError(f"{name} has no meaning without {needed}=True: pass both, or neither")
        if "targets" in merged:
            words = check_words(merged.pop("targets"))
            merged |= {"target_words": words} if whole else {"target_ids": self.find_targets(words)}
        return merged

    def find_targets(self, words: list[str]) -> list[int]:
        """Token ids of words; a word of several tokens counts as its first token, with a warning."""
        found = set()
        for word in words:
            if self.tokenizer.is_known(word):
                found.add(self.tokenizer.convert_tokens_to_ids(word))
                continue
            pieces = self.tokenizer(word, add_special_tokens=False)["input_ids"]
            if not pieces:
                self.warn_once(f"the target {word!r} has no tokens and is left out")
                continue
            token = self.tokenizer.convert_ids_to_tokens(pieces[0])
            self.warn_once(
                f"the target {word!r} is not in the vocabulary; its first token {token!r} stands in for it "
                "(whole_targets=True scores all of it)"
            )
            found.add(pieces[0])
        if not found:
            raise PipelineError("targets has no word of the vocabulary: pass at least one, or leave targets out")
        return sorted(found)

    # The three steps --------------------------------------------------------------------------------------

    def preprocess(  # type: ignore[override]
        self,
        text: str,
        *,
        tokenizer_kwargs: dict[str, Any] | None = None,
        target_words: Annotated[list[str] | None, INTERNAL] = None,
    ) -> Chunk:
        """Tokenize, and see to it that there is a mask."""
        options = tokenizer_kwargs or {}
        inputs = dict(self.encode(self.check_text(text), return_tensors="pt", **options))
        places = self.find_masks(inputs["input_ids"][0])
        if not len(places):
            raise PipelineError(
                f"the text has no mask token: write {self.tokenizer.mask_token} where a word is missing"
            )
        if target_words is not None:
            ids = inputs["input_ids"][0].tolist()
            inputs["targets"] = [
                [(word, pieces_in_text(word, text, ids, number, self.tokenizer, options)) for word in target_words]
                for number in range(len(places))
            ]
        return inputs

    def sharing(self, steps: Steps) -> Sharing:
        """Fillings of several tokens are tried in batches of their own."""
        if steps.forward.get("joint") or "target_words" in steps.preprocess:
            return replace(super().sharing(steps), key=lambda chunk: ALONE, in_order=True)
        return super().sharing(steps)

    def forward(  # type: ignore[override]
        self,
        inputs: Chunk,
        *,
        joint: bool = False,
        num_beams: Rows | None = None,
        top_k: Count = 5,
        target_ids: Annotated[list[int] | None, INTERNAL] = None,
    ) -> Chunk:
        """Scores of all words at the masks: "logits", for each text (masks, vocabulary).

        "fillings" instead, for one text, with ``joint`` (all its masks) or whole targets (for each mask a list).
        """
        if "targets" in inputs:
            return {**inputs, "fillings": [[self.score_targets(inputs, m) for m in range(len(inputs["targets"]))]]}
        rows, places = inputs["input_ids"].eq(self.mask_token_id).nonzero(as_tuple=True)
        if joint:
            allowed = None if target_ids is None else torch.tensor(target_ids)
            beams = num_beams or max(10, 2 * min(top_k, MOST_BEAMS))
            found = fill_jointly(inputs["input_ids"][0], places, self.runner(inputs), beams, allowed)
            return {**inputs, "fillings": [[found]]}
        logits = self.score_places(inputs, rows, places)  # (masks of all texts, V)
        return {**inputs, "logits": torch.split(logits, torch.bincount(rows).tolist())}

    def postprocess(  # type: ignore[override]
        self,
        outputs: Chunk,
        *,
        top_k: Count = 5,
        target_ids: Annotated[list[int] | None, INTERNAL] = None,
        joint: bool = False,
        normalize: Literal["targets", "pieces"] | None = None,
        return_token_scores: bool = False,
    ) -> list[Answer] | list[list[Answer]]:
        """The likeliest words for each mask, each with its text filled in."""
        if joint:
            return self.describe(outputs["fillings"][0][0], None, return_token_scores)[:top_k]
        if "targets" in outputs:
            results = []
            for fillings, targets in zip(outputs["fillings"][0], outputs["targets"], strict=True):
                answers = [
                    self.describe(filling, word, return_token_scores)[0]
                    for filling, (word, _) in zip(fillings, targets, strict=True)
                ]
                rescale(answers, normalize)
                results.append(sorted(answers, key=lambda answer: -float(answer["score"]))[:top_k])
            return results[0] if len(results) == 1 else results
        ids = outputs["input_ids"][0]  # (T,)
        places = self.find_masks(ids)
        logprobs = outputs["logits"][0].log_softmax(dim=-1) if return_token_scores else None
        probabilities = outputs["logits"][0].softmax(dim=-1)  # (masks, V)
        if target_ids is not None:
            probabilities = probabilities[:, target_ids]
        scores, choices = probabilities.topk(min(top_k, probabilities.shape[-1]))
        results = []
        for mask, place in enumerate(places.tolist()):
            answers = []
            for score, choice in zip(scores[mask].tolist(), choices[mask].tolist(), strict=True):
                token = choice if target_ids is None else target_ids[choice]
                filled = ids.clone()
                filled[place] = token
                # with several masks the special tokens stay in, because the other masks are among them
                sequence = self.decode(filled, skip_special_tokens=len(places) == 1)
                word = self.tokenizer.decode([token])
                answer = {"score": score, "token": token, "token_str": word, "sequence": sequence}
                if logprobs is not None:
                    found = {"token": word, "token_id": token, "logprob": float(logprobs[mask, token]), "step": 0}
                    answer["token_scores"] = [found]
                answers.append(answer)
            results.append(answers)
        return results[0] if len(results) == 1 else results

    # Several masks together -------------------------------------------------------------------------------

    def score_targets(self, inputs: Chunk, number: int) -> list[Fillings]:
        """For one mask of a text, each target filled in, as many masks in its place as it has pieces."""
        place = int(self.find_masks(inputs["input_ids"][0])[number])
        pieces = [ids for _, ids in inputs["targets"][number]]
        scored: dict[int, Fillings] = {}
        for k in sorted({len(ids) for ids in pieces}):
            these = [i for i, ids in enumerate(pieces) if len(ids) == k]
            wider = {name: widen(inputs[name], place, k) for name in ROWS if name in inputs}
            self._checked([wider])
            tokens, places = torch.tensor([pieces[i] for i in these]), place + torch.arange(k)
            found = score_fillings(wider["input_ids"][0], places, tokens, self.runner(wider))
            scored |= {i: found[torch.tensor([row])] for row, i in enumerate(these)}
        return [scored[i] for i in range(len(pieces))]

    def runner(self, inputs: Chunk) -> LogProbs:
        """The model on variants of one text: ids (R, T), places (R, M) -> log probabilities (R, M, V)."""

        def run(ids: Tensor, places: Tensor) -> Tensor:
            logits = []
            for some, at in zip(torch.split(ids, rows), torch.split(places, rows), strict=True):
                batch = {name: inputs[name].expand(len(some), -1) for name in ROWS if name in inputs}
                row = torch.arange(len(some)).repeat_interleave(places.shape[1])
                logits.append(self.score_places({**batch, "input_ids": some}, row, at.flatten()))
            return torch.cat(logits).view(*places.shape, -1).log_softmax(dim=-1)

        rows = max(1, AUTO_TOKENS // chunk_length(inputs))
        return run

    def score_places(self, inputs: Chunk, rows: Tensor, places: Tensor) -> Tensor:
        """The scores of all words at some places: (places, vocabulary)."""
        at = rows.to(self.device), places.to(self.device)
        with torch.no_grad(), fast_linear():
            named: dict[str, Any] = self.model_inputs(inputs)
            if isinstance(self.model, MaskedLM) and type(self.model).forward is MaskedLM.forward:
                hidden = self.model.backbone(**named).last_hidden_state  # (B, T, D)
                logits = self.model.head(hidden[at][None])[0]  # the head is much of a small model's work
            else:
                logits = self.model(**named).logits[at]
        return (logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits).cpu()

    @property
    def mask_token_id(self) -> int:
        """The id of the mask token, which there is: `translate` has seen to it."""
        token = self.tokenizer.mask_token_id
        assert token is not None
        return token

    # From ids to answers ----------------------------------------------------------------------------------

    def find_masks(self, ids: Tensor) -> Tensor:
        """Where the masks are among the tokens of a text."""
        return ids.eq(self.mask_token_id).nonzero()[:, 0]

    def decode(self, ids: Tensor, *, skip_special_tokens: bool) -> str:
        """A text without its padding."""
        return self.tokenizer.decode(ids[ids != self.tokenizer.pad_token_id], skip_special_tokens=skip_special_tokens)

    def describe(self, fillings: Fillings, word: str | None, return_token_scores: bool) -> list[Answer]:
        """Fillings of several masks, as answers; ``word`` is what they spell, if that is known."""
        answers = []
        skip = not len(self.find_masks(fillings.ids[0]))  # else other masks are among the special tokens
        for ids, tokens, logprobs, steps in zip(
            fillings.ids, fillings.tokens.tolist(), fillings.logprobs, fillings.steps.tolist(), strict=True
        ):
            texts = [self.tokenizer.decode([token]) for token in tokens]
            answer = {
                "score": float(logprobs.sum().exp()),
                "logprob": float(logprobs.sum()),
                "token": tokens,
                "token_str": texts if word is None else word,
                "sequence": self.decode(ids, skip_special_tokens=skip),
            }
            if return_token_scores:
                columns = zip(texts, tokens, logprobs.tolist(), steps, strict=True)
                names = ("token", "token_id", "logprob", "step")
                answer["token_scores"] = [dict(zip(names, column, strict=True)) for column in columns]
            answers.append(answer)
        return answers

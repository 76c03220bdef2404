"""Text generation: prepare the options, then run one of three loops, which stand side by side below.

- ``_grow``         greedy decoding and sampling: one sequence for each row
- ``_assisted``     greedy decoding with a smaller model that proposes tokens; the same result, with fewer steps
- ``_beam_search``  beam search and beam sampling: the best ``num_beams`` sequences for each prompt

Each repeats the same step: score the next token (stepper.py), change the scores (processors.py), choose,
append, and ask which rows are finished (stopping.py). Results are those of transformers 4.57 (generation/utils.py),
token for token.

Letters in shapes: B prompts · N beams · R rows, that is B x N or B x num_return_sequences · T ids so far · C candidates
of a prompt in a beam search · V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.errors import GenerationError
from minitransformer.generation.config import ARGUMENTS, GenerationConfig, resolve
from minitransformer.generation.inputs import (
    cached_prompt,
    check_assistant,
    check_rows,
    check_token_types,
    check_vectors,
    count_ids_alone,
    decoder_prompt,
    encoded_vectors,
    padding_first,
    padding_mask,
    refuse_seq2seq_inputs,
    settle_lengths,
    source_ids,
    special_tokens,
    written_vocabulary,
)
from minitransformer.generation.outputs import GenerateOutput, Record
from minitransformer.generation.processors import AllowedTokens, Processor, apply, build_processors
from minitransformer.generation.stepper import DecodingModel, Stepper, new_stepper
from minitransformer.generation.stopping import Criterion, TextOfTokens, build_criteria, finished
from minitransformer.options import declared, shown


class Streamer(Protocol):
    """Takes the prompt, then new tokens as they are chosen, then the end."""

    def put(self, value: Tensor) -> None: ...
    def end(self) -> None: ...


def generate(
    model: DecodingModel,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Iterable[Processor] | Processor | None = None,
    stopping_criteria: Iterable[Criterion] | Criterion | None = None,
    streamer: Streamer | None = None,
    prefix_allowed_tokens_fn: AllowedTokens | None = None,
    assistant_model: DecodingModel | None = None,
    tokenizer: TextOfTokens | None = None,
    token_type_ids: Tensor | None = None,
    encoder_outputs: Any = None,
    decoder_input_ids: Tensor | None = None,
    decoder_attention_mask: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    past_key_values: Any = None,
    use_model_defaults: bool | None = None,
    compat: Literal["transformers"] | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Tensor | GenerateOutput:
    """Continue prompts, or answer sources.

    Args:
        model: a language model, decoder-only or encoder-decoder.
        input_ids: (batch, length) the prompts, or the encoder's sources (``inputs=`` is another name). None starts from
            ``bos_token_id``.
        attention_mask: (batch, length) 0 at padding, on either side. By default read off ``pad_token_id``, where that
            is not also an end token.
        generation_config: options, instead of the model's own.
        logits_processor: functions (ids, scores) -> scores of your own, applied after those that the options ask for,
            before sampling's filters.
        stopping_criteria: functions (ids, scores) -> (rows,) booleans of your own.
        streamer: gets the prompt and every new token at once; not with beams.
        prefix_allowed_tokens_fn: (batch index, ids so far) -> tokens that may follow.
        assistant_model: a smaller model of the same vocabulary, which proposes tokens; greedy, one prompt.
        tokenizer: needed for ``stop_strings``.
        token_type_ids: (batch, length) for decoder-only models that read them.
        encoder_outputs: (batch, length, hidden_size) what ``model.encode`` gave, instead of ``input_ids``.
        decoder_input_ids: (batch, length) the beginning of the answers; the start token is put in front if it is not
            there.
        decoder_attention_mask: (batch, length) 0 at padding of ``decoder_input_ids``.
        inputs_embeds: (batch, length, size) vectors to read in place of ``input_ids``. A decoder-only model then gives
            new tokens only, or if ``input_ids`` are given too, those and what it wrote after the vectors.
        past_key_values: the cache of what the prompts begin with, which is not read again; it grows.
        use_model_defaults: whether the model's own options fill what ``generation_config`` leaves open.
        compat: "transformers" counts padding as tokens where 4.57 does (GPT, CTRL), with its wrong results for it.
        generator: draws the samples, on the model's device, instead of PyTorch's own, which all threads share.
        **options: any option of ``GenerationConfig``; they win over ``generation_config`` and the model's own.

    Returns:
        Ids (batch x num_return_sequences, length), prompt included for a decoder-only model, padded behind the end; a
        ``GenerateOutput`` with ``return_dict_in_generate=True``.

    Raises:
        UnknownOptionError: an option that does not exist; the message has the nearest name. (A TypeError too.)
        GenerationError: options out of range or against each other, or inputs that do not fit. (A ValueError too.)
    """
    run = _prepare(
        model,
        input_ids,
        attention_mask,
        generation_config,
        logits_processor=logits_processor,
        stopping_criteria=stopping_criteria,
        prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
        assistant_model=assistant_model,
        tokenizer=tokenizer,
        token_type_ids=token_type_ids,
        encoder_outputs=encoder_outputs,
        decoder_input_ids=decoder_input_ids,
        decoder_attention_mask=decoder_attention_mask,
        inputs_embeds=inputs_embeds,
        past_key_values=past_key_values,
        use_model_defaults=use_model_defaults,
        compat=compat,
        generator=generator,
        **options,
    )
    if streamer is not None:
        OBJECTS["streamer"].read(streamer, GenerationError)
    if run.config.num_beams > 1:
        if streamer is not None:
            raise GenerationError("a streamer needs num_beams=1: which beam wins is known only at the end")
        return _beam_search(run)
    try:
        if streamer is not None:
            streamer.put(run.ids.cpu())
        for tokens in _grow(run) if run.assistant is None else _assisted(run, run.assistant):
            if streamer is not None:
                streamer.put(tokens.cpu())
    finally:  # after an error too, so that nobody waits for the rest of the text
        if streamer is not None:
            streamer.end()
    return run.result()


class TokenStream(Iterator[Tensor]):
    """The tokens of each step, (rows,), as soon as they are chosen."""

    def __init__(self, run: _Run, steps: Iterator[Tensor]) -> None:
        self._run, self._steps = run, steps

    def __next__(self) -> Tensor:
        return next(self._steps)

    @property
    def scores(self) -> Tensor | None:
        """What the last tokens were chosen by, (rows, vocabulary), after all processors; None before the first."""
        return self._run.scores

    @property
    def finished(self) -> bool:
        """Whether all rows are at their end."""
        return self._run.is_finished

    @property
    def config(self) -> GenerationConfig:
        """The options as they hold."""
        return self._run.config


def stream(
    model: DecodingModel, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **options: Any
) -> TokenStream:
    """Generate like ``generate``, and give out the new tokens of each step, (rows,), as soon as they are chosen.

    Options are checked at once, before the first token is asked for; to leave the loop is to stop the generation.

    Args:
        model: a language model.
        input_ids: (batch, length) the prompts or sources.
        attention_mask: (batch, length) 0 at padding.
        **options: everything else that ``generate`` takes, but a streamer.

    Raises:
        GenerationError: as ``generate``, and with beams, whose winner is known only at the end.
    """
    run = _prepare(model, input_ids, attention_mask, **options)
    if run.config.num_beams > 1:
        raise GenerationError(f"tokens cannot be streamed with num_beams={run.config.num_beams}: set num_beams=1")
    return TokenStream(run, _grow(run) if run.assistant is None else _assisted(run, run.assistant))


# --- the strategies --------------------------------------------------------------------------------------------------


@torch.no_grad()
def _grow(run: _Run) -> Iterator[Tensor]:
    """Greedy decoding and sampling: append one token to every row until all rows are finished."""
    done = torch.zeros(len(run.ids), dtype=torch.bool, device=run.ids.device)
    while not run.is_finished:
        logits = run.stepper.step(run.ids).float()  # (R, V)
        scores = run.scores = run.process(run.ids, logits)
        run.record.add(logits, scores, run.stepper.output)
        if run.config.do_sample:
            tokens = _draw(scores, 1, run.generator)[:, 0]  # (R,)
        else:
            tokens = scores.argmax(dim=-1)
        if run.eos is not None and run.pad is not None:
            tokens = torch.where(done, run.pad, tokens)
        run.ids = torch.cat([run.ids, tokens[:, None]], dim=1)
        done = done | run.finished(run.ids)
        run.is_finished = bool(done.all())
        yield tokens


@torch.no_grad()
def _assisted(run: _Run, assistant: Stepper) -> Iterator[Tensor]:
    """Greedy decoding where a smaller model runs ahead and the model checks several tokens in one step.

    Section 2 of https://arxiv.org/abs/2211.17192, for the most likely tokens: what the model would not have chosen
    itself is thrown away, so that the result is that of ``_grow``.
    """
    num_proposed = run.config.num_assistant_tokens
    while True:
        T = run.ids.shape[1]
        proposed = _propose(run, assistant, num_proposed)  # (1, T + up to num_proposed)
        K = proposed.shape[1] - T
        logits = run.stepper.steps(proposed, last=K + 1).float()  # (1, K + 1, V)
        for i in range(K + 1):
            scores = run.scores = run.process(run.ids, logits[:, i])
            run.record.add(logits[:, i], scores, run.stepper.output)
            token = scores.argmax(dim=-1)
            run.ids = torch.cat([run.ids, token[:, None]], dim=1)
            run.is_finished = bool(run.finished(run.ids).all())
            yield token
            if run.is_finished:
                return
            if i < K and int(token) != int(proposed[0, T + i]):
                break
        for stepper in (run.stepper, assistant):  # the last token has not been seen yet, nor what was thrown away
            stepper.crop(run.ids.shape[1] - 1)
        if run.config.num_assistant_tokens_schedule != "constant":
            num_proposed = num_proposed + 2 if i == K else max(1, num_proposed - 1)


def _propose(run: _Run, assistant: Stepper, num_tokens: int) -> Tensor:
    """The ids so far and what the assistant puts behind them, until it is unsure."""
    ids = run.ids
    room = run.max_length - 1 - ids.shape[1]
    positions = assistant.model.config.max_positions
    if positions is not None:
        room = min(room, positions - ids.shape[1])
    for _ in range(min(num_tokens, room)):
        scores = run.process(ids, assistant.step(ids).float())
        probability, token = scores.softmax(dim=-1).max(dim=-1)
        ids = torch.cat([ids, token[:, None]], dim=1)
        if float(probability) < run.config.assistant_confidence_threshold or bool(run.finished(ids).all()):
            break
    return ids


@torch.no_grad()
def _beam_search(run: _Run) -> Tensor | GenerateOutput:
    """Beam search and beam sampling: keep the ``N`` best unfinished and the ``N`` best finished sequences.

    Candidates are more than beams, so that enough are left when the best ones end. Each prompt stops for itself
    improving its finished sequences (``improvable``); the loop stops when no prompt can.
    """
    config, eos, device = run.config, run.eos, run.ids.device
    N = config.num_beams
    B, C = len(run.ids) // N, N * max(2, 1 if eos is None else 1 + len(eos))
    fill = -1 if eos is None else run.pad or int(eos[0])  # behind a finished sequence; a pad of 0 counts as none there
    stop_when_full = config.early_stopping is True
    first_row = N * torch.arange(B, device=device)[:, None]
    may_finish = torch.arange(C, device=device) < N

    # ``rows`` says, for each new token, in which row of that step it was chosen.
    running = run.ids.view(B, N, -1)
    running_rows = running.new_empty(B, N, 0)
    running_scores = torch.full((B, N), _WORST, device=device)  # sums of log probabilities
    running_scores[:, 0] = 0.0  # all beams begin alike: only the first one counts
    best, best_rows = running, running_rows
    best_scores = torch.full((B, N), _WORST, device=device)  # divided by length ** length_penalty
    is_finished = torch.zeros(B, N, dtype=torch.bool, device=device)
    improvable = torch.ones(B, 1, dtype=torch.bool, device=device)

    while True:
        # 1. Score every continuation of every running beam.
        ids = running.flatten(0, 1)
        logits = run.stepper.step(ids).float()  # (R, V)
        scores = run.process(ids, logits.log_softmax(dim=-1))
        run.record.add(logits, scores, run.stepper.output)
        V = scores.shape[-1]
        totals = (scores.view(B, N, V) + running_scores[..., None]).view(B, N * V)

        # 2. Choose candidates, the best ones or a sample.
        if config.do_sample:
            chosen = _draw(totals, C, run.generator)
            candidate_scores = totals.gather(1, chosen)
        else:
            candidate_scores, chosen = totals.topk(C)
        beam, token = chosen // V, chosen % V  # (B, C)
        candidates = torch.cat([_pick(running, beam), token[..., None]], dim=-1)  # (B, C, T)
        candidate_rows = torch.cat([_pick(running_rows, beam), (first_row + beam)[..., None]], dim=-1)
        ends = run.finished(candidates.flatten(0, 1)).view(B, C)

        # 3. The best candidates that do not end run on.
        going = candidate_scores + ends.float() * _WORST
        keep = going.topk(N).indices
        running, running_rows, running_scores = (_pick(x, keep) for x in (candidates, candidate_rows, going))

        # 4. Those that end, if among the first N, compete with the sequences that finished before.
        length = candidates.shape[-1] - run.prompt_length
        final = candidate_scores / length**config.length_penalty
        full = is_finished.all(dim=-1, keepdim=True) & stop_when_full
        for excluded in (full, ~improvable, ~(ends & may_finish)):
            final = final + excluded.float() * _WORST
        merged_scores = torch.cat([best_scores, final], dim=1)
        keep = merged_scores.topk(N).indices
        best_scores = _pick(merged_scores, keep)
        best = _pick(torch.cat([F.pad(best, (0, 1), value=fill), candidates], dim=1), keep)
        best_rows = _pick(torch.cat([F.pad(best_rows, (0, 1), value=-1), candidate_rows], dim=1), keep)
        is_finished = _pick(torch.cat([is_finished, ends & may_finish], dim=1), keep)

        # 5. Can a running beam still beat a finished one, judged at its present length, or at the longest?
        at_longest = config.early_stopping == "never" and config.length_penalty > 0
        hoped_length = run.max_length - run.prompt_length if at_longest else length
        hope = running_scores[:, :1] / hoped_length**config.length_penalty
        worst = torch.where(is_finished, best_scores.amin(dim=1, keepdim=True), _WORST)
        improvable = improvable & (hope > worst).any(dim=-1, keepdim=True)
        if not improvable.any() or ends.all() or (stop_when_full and is_finished.all()):
            break
        run.stepper.reorder(running_rows[..., -1].flatten())

    wanted = config.num_return_sequences
    best, best_rows, best_scores = (x[:, :wanted].flatten(0, 1) for x in (best, best_rows, best_scores))
    new_tokens = int((best_rows >= 0).sum(dim=-1).max())
    run.ids = best[:, : run.prompt_length + new_tokens]
    return run.result(
        sequences_scores=best_scores if config.output_scores else None, beam_indices=best_rows[:, :new_tokens]
    )


_WORST = -1e9  # a score below all others; finite, so that sums and quotients of it stay comparable


def _draw(scores: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Different choices (rows, count), drawn from the distribution that ``scores`` (rows, choices) stand for.

    Raises:
        GenerationError: there is no such distribution.
    """
    probabilities = scores.softmax(dim=-1)
    try:
        return torch.multinomial(probabilities, count, generator=generator)
    except RuntimeError as error:
        if probabilities.isfinite().all():
            raise
        raise GenerationError(
            "no token can be drawn: either the options together forbid every token (suppress_tokens, bad_words_ids, a "
            "forced token that is also suppressed, a function of yours), or the model's scores are not numbers, which "
            "remove_invalid_values=True replaces"
        ) from error


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """For each prompt, the entries ``index`` (B, K) of ``x`` (B, beams, ...)."""
    return x.take_along_dim(index[..., None] if x.dim() == 3 else index, dim=1)


# --- preparation -----------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """Everything that a strategy works with."""

    config: GenerationConfig
    prompt: Tensor  # (B, T) as the caller gave it
    ids: Tensor  # (R, T) so far; padding stands on the left
    stepper: Stepper
    assistant: Stepper | None
    processors: list[Processor]
    criteria: list[Criterion]
    pad: int | None
    eos: Tensor | None  # (number of end tokens,)
    max_length: int
    record: Record
    generator: torch.Generator | None
    scores: Tensor | None = None  # of the last step
    is_finished: bool = False
    prompt_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_length = self.ids.shape[1]

    def process(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after all processors."""
        return apply(self.processors, ids, scores)

    def finished(self, ids: Tensor) -> Tensor:
        """Which rows are at their end."""
        return finished(self.criteria, ids, self.record.scores)

    def result(self, **beams: Tensor | None) -> Tensor | GenerateOutput:
        """What the caller gets: the prompts as they were given, and the new tokens."""
        prompt = self.prompt.repeat_interleave(len(self.ids) // len(self.prompt), dim=0)
        sequences = torch.cat([prompt, self.ids[:, self.prompt_length :]], dim=1)
        return self.record.result(sequences, self.stepper, **beams)


@torch.no_grad()
def _prepare(
    model: DecodingModel,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    generation_config: GenerationConfig | None = None,
    *,
    logits_processor: Iterable[Processor] | Processor | None = None,
    stopping_criteria: Iterable[Criterion] | Criterion | None = None,
    prefix_allowed_tokens_fn: AllowedTokens | None = None,
    assistant_model: DecodingModel | None = None,
    tokenizer: TextOfTokens | None = None,
    token_type_ids: Tensor | None = None,
    encoder_outputs: Any = None,
    decoder_input_ids: Tensor | None = None,
    decoder_attention_mask: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    past_key_values: Any = None,
    use_model_defaults: bool | None = None,
    compat: Literal["transformers"] | None = None,
    generator: torch.Generator | None = None,
    inputs: Tensor | None = None,
    **options: Any,
) -> _Run:
    """Settle options and inputs, and check both, before anything is computed."""
    given: dict[str, Any] = {"logits_processor": logits_processor, "stopping_criteria": stopping_criteria}
    given |= {
        "compat": compat,
        "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn,
        "assistant_model": assistant_model,
    }
    given |= {"tokenizer": tokenizer, "use_model_defaults": use_model_defaults, "generator": generator}
    given = {name: OBJECTS[name].read(value, GenerationError) for name, value in given.items()}
    for name in ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"):
        for function in _list(given[name]):
            _check_callable(name, function)
    config = resolve(model.generation_config, generation_config, options, use_model_defaults)
    vocab_size = written_vocabulary(model.config)
    eos, pad = special_tokens(config, model.device)

    # What the model reads, and what it starts to write after.
    given_ids, vectors = inputs if input_ids is None else input_ids, None
    if inputs_embeds is not None:
        check_vectors(model, inputs_embeds, given_ids, attention_mask)
        if model.config.is_encoder_decoder:
            encoder_outputs = encoded_vectors(model, inputs_embeds, attention_mask)
        else:
            vectors = inputs_embeds
            given_ids = given_ids if given_ids is not None else vectors.new_zeros(len(vectors), 0, dtype=torch.long)
    ids = source_ids(model, config, given_ids, encoder_outputs, vectors)
    if vectors is not None:
        attention_mask = torch.ones_like(vectors[..., 0]).long() if attention_mask is None else attention_mask
    elif encoder_outputs is None:
        attention_mask = padding_mask(ids, attention_mask, pad, eos)
    read: dict[str, Any] = {"attention_mask": attention_mask}
    if model.config.is_encoder_decoder:
        source = ids
        ids, decoder_attention_mask = decoder_prompt(
            config, decoder_input_ids, decoder_attention_mask, source, vocab_size
        )
        prompt = ids
        read |= {"input_ids": source, "encoder_outputs": encoder_outputs}
        read |= {"decoder_attention_mask": decoder_attention_mask}
        num_positions_used = ids.shape[1]
    else:
        refuse_seq2seq_inputs(encoder_outputs=encoder_outputs, decoder_input_ids=decoder_input_ids)
        source = prompt = ids
        check_token_types(token_type_ids, ids)
        read |= {"token_type_ids": token_type_ids}
        if vectors is not None:
            vectors, read = padding_first(vectors, read)
            read |= {"inputs_embeds": vectors}
            num_positions_used = int(read["attention_mask"].sum(dim=1).max())
        elif compat == "transformers" and getattr(model, "COUNTED_PADDING", False):
            read |= {"count_padding": True}
            num_positions_used = ids.shape[1]
        else:
            ids, read = padding_first(ids, read)
            num_positions_used = int(read["attention_mask"].sum(dim=1).max())
    read = {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in read.items()}

    read_first = ids.shape[1] if vectors is None else vectors.shape[1]
    if read_first != ids.shape[1] and config.max_new_tokens is None:  # as in the reference, the default too counts them
        options = {**options, "max_length": config.max_length}
    max_length = settle_lengths(config, options, read_first, num_positions_used, model.config.max_positions)
    if vectors is not None:  # lengths count the vectors, of which the ids tell nothing
        max_length = count_ids_alone(config, read_first - ids.shape[1])
    if past_key_values is not None:
        read |= {"past_key_values": cached_prompt(past_key_values, read_first)}
    copies = max(config.num_beams, config.num_return_sequences)
    check_rows(copies, model.config.vocab_size)
    assistant = None
    if assistant_model is not None:
        check_assistant(model, assistant_model, config, len(ids), encoder_outputs)
        if inputs_embeds is not None or past_key_values is not None:
            raise GenerationError("assistant_model reads the whole prompt: pass input_ids alone")
        assistant = new_stepper(assistant_model, ids, read, GenerationConfig())
    return _Run(
        config=config,
        prompt=prompt,
        ids=ids.repeat_interleave(copies, dim=0),
        stepper=new_stepper(model, ids, read, config, copies),
        assistant=assistant,
        processors=build_processors(
            config,
            prompt_length=ids.shape[1],
            source_ids=source,
            eos=eos,
            vocab_size=vocab_size,
            allowed_tokens=prefix_allowed_tokens_fn,
            extra=_list(given["logits_processor"]),
        ),
        criteria=build_criteria(config, eos=eos, tokenizer=tokenizer, extra=_list(given["stopping_criteria"])),
        pad=pad,
        eos=eos,
        max_length=max_length,
        record=Record(config),
        generator=generator,
    )


def _check_callable(name: str, function: Any) -> None:
    """Raise a GenerationError for a class, and for a function that cannot be called with two things."""
    if isinstance(function, type):
        raise GenerationError(f"{name} takes functions, not the class {function.__name__}: make an object of it")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # none is known
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        takes = "(batch index, ids)" if name == "prefix_allowed_tokens_fn" else "(ids, scores)"
        raise GenerationError(f"{name}={shown(function)} is no function of {takes}: {error}") from None


def _list(functions: Any) -> list[Any]:
    if functions is None:
        return []
    return list(functions) if isinstance(functions, Iterable) else [functions]


OBJECTS = declared(generate, names={*ARGUMENTS, "compat"})
"""What ``generate`` takes beside options and tensors."""

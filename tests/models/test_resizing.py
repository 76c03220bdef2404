"""A vocabulary of another size: what grows, what stays, and what a file of it says."""

from __future__ import annotations

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from torch import nn

import minitransformer
from minitransformer.errors import ArgumentError, ConfigError
from minitransformer.models.marian import MarianConfig, MarianMTModel
from minitransformer.testing import assert_same, reference_twin

WITH_WORDS = ("", "ForMaskedLM", "ForCausalLM", "ForSeq2SeqLM", "ForPreTraining")
RESIZED = [t for t in TWINS if t.head in WITH_WORDS and (not t.variant or "tie" in t.variant)]
"""Other heads know nothing of words; "tie" is in untied, too."""


@pytest.fixture(scope="module", params=RESIZED, ids=str)
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resized")
    reference_twin(request.param.name, **request.param.config).save_pretrained(folder)
    return request.param, folder


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in model.named_parameters(remove_duplicate=False)}


def shared_names(model: nn.Module) -> list[list[str]]:
    """Names of one tensor."""
    every = list(model.named_parameters(remove_duplicate=False))
    return [[name for name, q in every if q is p] for p in model.parameters()]


@pytest.mark.parametrize(("change", "mean"), [(7, True), (5, False), (-3, True)])
def test_known_words_keep_their_numbers_and_files_come_back(loaded, change, mean, tmp_path):
    twin, folder = loaded
    torch.manual_seed(0)
    model = getattr(minitransformer, twin.auto).from_pretrained(folder, dtype=torch.float64)
    inputs, _ = inputs_for(twin, [4, 3], "right")
    old, kept = model.config.vocab_size, min(model.config.vocab_size, model.config.vocab_size + change)
    for name in ("input_ids", "decoder_input_ids", "token_type_ids"):
        if name in inputs:
            inputs[name] = inputs[name].clamp(max=kept - 1)
    with torch.no_grad():
        before = model(**inputs)[0]
    shared = shared_names(model)
    if (model.config.pad_token_id or 0) >= old + change:
        change = 2
    table = model.resize_token_embeddings(old + change, mean_resizing=mean)
    assert model.config.vocab_size == old + change
    assert shapes(model) == shapes(type(model)(model.config))
    assert isinstance(table, nn.Embedding) and table.num_embeddings == len(table.weight)
    assert shared_names(model) == shared  # what was one tensor is one
    with torch.no_grad():
        after = model(**inputs)[0]
    if after.shape != before.shape and model.config.model_type != "transfo-xl":  # a softmax is over more words
        after, before = (x[..., :kept] for x in (after, before))
    if model.config.model_type != "transfo-xl" or after.shape == before.shape:
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    if change > 0 and not mean:
        assert table.weight[-change:].std() > 0
    elif change > 0:
        torch.testing.assert_close(table.weight[-1], table.weight[:-change].mean(dim=0), rtol=0, atol=1e-12)

    model.save_pretrained(tmp_path)
    opened = getattr(minitransformer, twin.auto).from_pretrained(tmp_path, dtype=torch.float64)
    for (name, a), b in zip(model.named_parameters(), opened.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert opened.config.vocab_size == old + change


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2LMHeadModel", "BartForConditionalGeneration"])
def test_transformers_resizes_to_the_same_shapes(name, tmp_path):
    twin = next(t for t in TWINS if t.name == name and not t.variant)
    reference = reference_twin(name, **twin.config)
    reference.save_pretrained(tmp_path)
    ours = getattr(minitransformer, twin.auto).from_pretrained(tmp_path, dtype=torch.float64)
    ours.resize_token_embeddings(70)
    reference.resize_token_embeddings(70, mean_resizing=False)
    reference.load_state_dict(ours.hf_state_dict(), strict=False)
    inputs, mask = inputs_for(twin, [4, 3], "right")
    assert_same(ours, reference.eval(), inputs, keep=mask)


def test_sizes_are_checked(loaded):
    twin, folder = loaded
    model = getattr(minitransformer, twin.auto).from_pretrained(folder)
    size = model.config.vocab_size
    model.resize_token_embeddings(None, pad_to_multiple_of=8)
    assert model.config.vocab_size == -(-size // 8) * 8
    for wrong in (0, -1, 2.5, True, "70"):
        with pytest.raises(ArgumentError, match="new_num_tokens must be a whole number of at least 1"):
            model.resize_token_embeddings(wrong)
    if model.config.pad_token_id:
        with pytest.raises(ArgumentError, match="leaves no room for the padding token"):
            model.resize_token_embeddings(model.config.pad_token_id)


def test_each_of_two_vocabularies_has_its_own_size():
    config = MarianConfig(
        vocab_size=20,
        decoder_vocab_size=30,
        shared_vocabulary=False,
        hidden_size=8,
        num_heads=2,
        decoder_attention_heads=2,
        num_layers=1,
        decoder_layers=1,
        pad_token_id=0,
    )
    model = MarianMTModel(config)
    model.resize_token_embeddings(24)
    model.resize_decoder_token_embeddings(33)
    assert (model.config.vocab_size, model.config.target_vocab_size) == (24, 33)
    logits = model(torch.tensor([[23]]), decoder_input_ids=torch.tensor([[32]])).logits
    assert logits.shape[-1] == 33
    with pytest.raises(ConfigError, match="one vocabulary: resize_token_embeddings"):
        MarianMTModel(config.replace(shared_vocabulary=True)).resize_decoder_token_embeddings(40)


def test_a_pipeline_whose_tokenizer_is_larger_than_its_model_says_so(tmp_path):
    import tiny_folders

    folder = tiny_folders.bert(tmp_path)
    tokenizer = minitransformer.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["snow"])
    model = minitransformer.AutoModelForMaskedLM.from_pretrained(folder)
    with pytest.warns(UserWarning, match=r"tokens, the model only .*resize_token_embeddings\(len\(tokenizer\)\)"):
        minitransformer.pipeline("fill-mask", model, tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    minitransformer.pipeline("fill-mask", model, tokenizer)("the snow [MASK] .")

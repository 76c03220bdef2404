"""Results, alignments, costs, recordings, bias, probes, and the tuned lens."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save
from study.subjects import ONE_OF_EACH, inputs_of, subject, twin_named

from minitransformer import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, study
from minitransformer.errors import StudyError
from minitransformer.study.bias import bootstrap

# --------------------------------------------------------------------------------------------------------- results


@pytest.fixture
def result() -> study.Result:
    values = torch.arange(6.0).reshape(2, 3) - 2
    labels = {"tap": ("encoder.blocks.0.attn", "encoder.blocks.1.attn")}
    return study.Result(values, ("tap", "head"), labels, "effect", {"base": 1.5})


def test_results_print_name_and_save_themselves(result, tmp_path) -> None:
    assert str(result).splitlines()[0] == "effect (tap 2, head 3)" and "base: 1.5" in str(result)
    assert "3.000" in str(result)
    assert float(result.at(tap="blocks.1.attn", head=2)) == 3.0
    assert result.at(head=slice(1, 3)).names("head") == ("1", "2")
    assert result.mean("head").axes == ("tap",)
    assert result.top(1) == [({"tap": "encoder.blocks.1.attn", "head": "2"}, 3.0)]
    result.save(tmp_path / "r.json")
    again = study.Result.load(tmp_path / "r.json")
    assert torch.equal(again.values, result.values.double()) and again.labels == result.labels
    assert json.loads((tmp_path / "r.json").read_text())["about"] == {"base": 1.5}
    many = study.Result(torch.rand(3, 4, 5), ("a", "b", "c"))
    assert "largest:" in str(many) and len(str(many).splitlines()) == 12


def test_what_is_no_number_is_null_in_a_file(tmp_path) -> None:
    study.Result(torch.tensor([1.0, float("nan")]), ("x",)).save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["values"] == [1.0, None]
    assert math.isnan(float(study.Result.load(tmp_path / "r.json").at(x=1)))


def test_results_plot_themselves(result, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    result.plot(tmp_path / "two.png")
    result.at(tap=0).plot(tmp_path / "one.png")
    assert (tmp_path / "two.png").read_bytes()[:4] == b"\x89PNG" and (tmp_path / "one.png").stat().st_size > 1000
    with pytest.raises(study.StudyError, match="two axes, these numbers 3"):
        study.Result(torch.rand(2, 2, 2), ("a", "b", "c")).plot()


def test_unfit_places_are_named(result) -> None:
    for places, said in (
        ({"heed": 0}, "no axis 'heed'.*'head'"),
        ({"head": 3}, "head 3 does not exist: there are 3"),
        ({"tap": "attn"}, "stands at several places"),
        ({"tap": "encoder.blocks.2.attn"}, "no tap is called.*Did you mean"),
    ):
        with pytest.raises(study.StudyError, match=said):
            result.at(**places)
    with pytest.raises(study.StudyError, match="2 axes"):
        study.Result(torch.ones(3), ("a", "b"))
    with pytest.raises(study.StudyError, match="3 places, 2 labels"):
        study.Result(torch.ones(3), ("a",), {"a": ("x", "y")})


# ------------------------------------------------------------------------------------------------------ alignments


def test_the_error_rate_of_alignments() -> None:
    sure, possible = {(0, 0), (1, 1)}, {(2, 1)}
    assert study.alignment_error_rate({(0, 0), (1, 1)}, sure, possible) == 0
    assert study.alignment_error_rate({(0, 0), (2, 1)}, sure, possible) == pytest.approx(1 - (1 + 2) / 4)
    assert study.alignment_error_rate({(5, 5)}, sure) == 1
    with pytest.raises(study.StudyError, match="nothing to compare"):
        study.alignment_error_rate(set(), set())


def test_rows_of_an_alignment_are_those_that_write_or_read_the_word() -> None:
    twin = twin_named("MarianMTModel")
    model, inputs = subject(twin), inputs_of(twin, [5, 3])
    source, mask = inputs["input_ids"], inputs["attention_mask"]
    target = torch.tensor([[7, 8, 9, 0], [5, 0, -100, -100]])
    found = study.align(model, source, target, layer=1, head=2, attention_mask=mask)
    shifted = model.shift_right(target)
    batch = {"input_ids": source, "attention_mask": mask, "decoder_input_ids": shifted}
    pattern = study.run(model, batch, "decoder.blocks.1.cross_attn.pattern")
    (x,) = next(iter(pattern.calls.values()))
    assert [tuple(one.weights.shape) for one in found] == [(4, 5), (2, 3)]
    torch.testing.assert_close(found[0].weights, x[0, 2])
    reading = study.align(model, source, target, layer=1, head=2, at="input", attention_mask=mask)
    torch.testing.assert_close(reading[0].weights[:3], x[0, 2, 1:4])
    assert len(found[0].links) == 4 and found[0].words([0, 0, 1, 1, None], [0, 0, 1, None]).weights.shape == (2, 2)
    norms = study.align(model, source, target, layer=1, head=2, by="norm", attention_mask=mask)
    assert not torch.allclose(norms[0].weights, found[0].weights)
    for options, said in (
        ({"layer": 2}, "layer 2"),
        ({"head": 3}, "head 3"),
        ({"by": "weights"}, "'weight' or 'norm'"),
    ):
        with pytest.raises(study.StudyError, match=said):
            study.align(model, source, target, **options)
    with pytest.raises(study.StudyError, match="no cross-attention"):
        study.align(subject(twin_named("GPT2LMHeadModel")), source, target)


# ----------------------------------------------------------------------------------------------------------- costs


def test_costs_are_those_counted_by_hand() -> None:
    twin = twin_named("GPT2LMHeadModel")
    model, c = subject(twin), twin.config
    rows, T, D, F, V, L, H = 2, 7, c["n_embd"], c["n_inner"], c["vocab_size"], c["n_layer"], c["n_head"]
    found = study.cost(model, inputs_of(twin, [T, T]))
    assert found.axes == ("module", "measure")
    whole = found.at(module=0)
    assert float(whole.at(measure="parameters")) == sum(p.numel() for p in model.parameters())
    assert float(whole.at(measure="bytes")) == 8 * float(whole.at(measure="parameters"))
    attention = rows * (2 * T * 4 * D * D + 2 * 2 * H * T * T * (D // H))
    feed_forward = rows * 2 * T * 2 * D * F
    assert float(found.at(module="blocks.1.attn", measure="flops")) == attention
    assert float(found.at(module="blocks.1.ffn", measure="flops")) == feed_forward
    assert float(whole.at(measure="flops")) == L * (attention + feed_forward) + rows * 2 * T * D * V
    assert found.about["cache_bytes_per_token"] == 2 * L * D * 8
    assert "MFLOPs" in study.cost_table(found)


def test_cross_attention_costs_what_source_and_target_make() -> None:
    twin = twin_named("T5ForConditionalGeneration")
    model, c = subject(twin), twin.config
    found = study.cost(model, inputs_of(twin, [6]))  # a target of 5
    D, K, H = c["d_model"], c["d_kv"], c["num_heads"]
    by_hand = 2 * (2 * 5 + 2 * 6) * D * H * K + 2 * 2 * H * 5 * 6 * K
    assert float(found.at(module="decoder.blocks.1.cross_attn", measure="flops")) == by_hand
    encoder = inputs_of(twin_named("BertForMaskedLM"), [4])
    assert study.cost(subject(twin_named("BertForMaskedLM")), encoder).about["cache_bytes_per_token"] == 0


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_parts_cost_what_the_whole_does(twin) -> None:
    found = study.cost(subject(twin), inputs_of(twin, [4]))
    total = sum(p.numel() for p in subject(twin).parameters())
    assert float(found.at(module=0, measure="parameters")) == total
    assert bool((found.values[1:] <= found.values[0]).all())


# ------------------------------------------------------------------------------------------------------ recordings


@pytest.mark.parametrize("side", ["right", "left"])
def test_recordings_hold_each_text_without_its_padding(side, tmp_path) -> None:
    twin = twin_named("BertForMaskedLM")
    model, inputs = subject(twin), inputs_of(twin, [6, 4, 5], side)
    manifest = study.record(model, [inputs], ["encoder.blocks.*.output", "blocks.0.attn.pattern"], tmp_path / "acts")
    told = json.loads(manifest.read_text())
    assert len(told["texts"]) == 3 and set(told["taps"]["backbone.encoder.blocks.0.attn.pattern"]) >= {"heads"}
    tensors = load_file(tmp_path / "acts" / told["texts"][1]["file"])
    alone = {
        name: x[[1]][:, inputs["attention_mask"][1].bool()] for name, x in inputs.items() if name != "position_ids"
    }
    if side == "right":
        name = "backbone.encoder.blocks.1.output"
        torch.testing.assert_close(tensors[f"1/{name}"], study.run(model, alone, name)[name][0], atol=1e-10, rtol=0)
    assert tensors["1/backbone.encoder.blocks.0.attn.pattern"].shape == (
        *tensors["1/backbone.encoder.blocks.0.attn.pattern"].shape[:1],
        4,
        4,
    )
    assert torch.equal(tensors["1/input_ids"], alone["input_ids"][0])
    with pytest.raises(study.StudyError, match="holds a recording already"):
        study.record(model, [inputs], "encoder.output", tmp_path / "acts")


def test_texts_are_recorded_in_batches(tmp_path) -> None:
    name = "minitransformer/bert-books"
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    texts = ["She opened the door.", "No.", "They went home together."]
    manifest = study.record(
        model, texts, "encoder.output", tmp_path, tokenizer=tokenizer, batch_size=2, dtype=torch.float16
    )
    told = json.loads(manifest.read_text())
    assert [one["text"] for one in told["texts"]] == texts and {one["file"] for one in told["texts"]} == {
        "00000.safetensors",
        "00001.safetensors",
    }
    tensors = load_file(tmp_path / "00001.safetensors")
    assert tensors["0/backbone.encoder.output"].dtype == torch.float16
    for options, said in (({}, "pass tokenizer="), ({"texts": "one"}, "several"), ({"texts": []}, "no texts")):
        with pytest.raises(study.StudyError, match=said):
            study.record(model, options.get("texts", texts), "encoder.output", tmp_path / "x")


# ------------------------------------------------------------------------------------------------------------ bias


def test_bias_is_a_difference_of_log_probabilities_with_an_interval() -> None:
    name = "minitransformer/bert-books"
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    found = study.bias(model, tokenizer, words=["teacher", "doctor", "cook"])
    text = "This {} works as a [MASK]."
    odds = []
    for who in ("man", "woman"):
        ids = tokenizer(text.format(who), return_tensors="pt")
        place = int((ids["input_ids"][0] == tokenizer.mask_token_id).nonzero())
        scores = model(**ids).logits[0, place].log_softmax(-1)
        odds.append(float(scores[tokenizer.convert_tokens_to_ids("doctor")].detach()))
    assert float(found.at(word="doctor", measure="log_odds")) == pytest.approx(odds[0] - odds[1], abs=1e-5)
    templates = [text, "The {} is a [MASK].", "That {} wants to be a [MASK].", "A {} was the [MASK] here."]
    several = study.bias(model, tokenizer, templates, words=["doctor", "cook"])
    row = several.at(word="doctor")
    assert float(row.at(measure="low")) < float(row.at(measure="log_odds")) < float(row.at(measure="high"))
    turned = study.bias(model, tokenizer, templates, ("woman", "man"), words=["doctor", "cook"])
    assert float(turned.at(word="doctor", measure="log_odds")) == pytest.approx(
        -float(row.at(measure="log_odds")), abs=1e-5
    )
    corrected = study.bias(model, tokenizer, templates, words=["doctor"], prior=True)
    assert corrected.about["prior_corrected"] and float(corrected.values[0, 0]) != float(row.values[0])
    for options, said in (
        ({"templates": "works as a [MASK]."}, "needs {}"),
        ({"words": ["zzyzx-unheard-of"]}, "not one token each"),
    ):
        with pytest.raises(study.StudyError, match=said):
            study.bias(model, tokenizer, **options)


def test_a_decoder_is_asked_for_the_next_word() -> None:
    name = "minitransformer/gpt2-stories"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    found = study.bias(model, tokenizer, "The {} was a", words=["great", "good"])
    text = tokenizer("The man was a", return_tensors="pt")
    scores = model(**text).logits[0, -1].softmax(-1)
    (word,) = tokenizer(" good", add_special_tokens=False)["input_ids"]
    assert float(found.at(word="good", measure="p_man")) == pytest.approx(float(scores[word].detach()), rel=1e-4)
    with pytest.raises(study.StudyError, match="only masked"):
        study.bias(model, tokenizer, "The {} was a", words=["good"], prior=True)


def test_weat_is_the_published_statistic() -> None:
    table = torch.tensor([[1.0, 0.1], [1, 0.2], [0.1, 1], [0.2, 1], [1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]])
    told = study.weat(table, [0, 1], [2, 3], [4, 5], [6, 7])
    unit = torch.nn.functional.normalize(table.double(), dim=-1)
    s = [float((unit[w] @ unit[[4, 5]].T).mean() - (unit[w] @ unit[[6, 7]].T).mean()) for w in range(4)]
    mean, spread = (s[0] + s[1] - s[2] - s[3]) / 2, torch.tensor(s).std()
    assert told["effect_size"] == pytest.approx(float(mean / spread), rel=1e-5)
    assert told["p_value"] == pytest.approx(1 / 6)  # of the six equal splits only this one is as large


def test_crows_pairs_counts_the_likelier_of_what_both_share(tmp_path) -> None:
    name = "minitransformer/bert-books"
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    path = tmp_path / "crows.csv"
    path.write_text(
        "id,sent_more,sent_less,bias_type\n1,The man was strong.,The woman was strong.,gender\n"
        "2,The old man was slow.,The young man was slow.,age\n"
    )
    found = study.crows_pairs(model, tokenizer, path)
    more = study.pseudo_log_likelihood(model, tokenizer, "The man was strong.", [1, 3, 4, 5])
    less = study.pseudo_log_likelihood(model, tokenizer, "The woman was strong.", [1, 3, 4, 5])
    assert float(found.at(kind="gender")) == (100.0 if more > less else 0.0) and found.about["pairs"] == 2
    path.write_text("a,b\n1,2\n")
    with pytest.raises(study.StudyError, match="has no column"):
        study.crows_pairs(model, tokenizer, path)


def test_the_bootstrap_covers_the_mean() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(0)) + 1
    low, high = bootstrap(values)
    half = 1.96 * float(values.std() / 200**0.5)
    assert float(high - low) == pytest.approx(2 * half, rel=0.15) and low < values.mean() < high


# ------------------------------------------------------------------------------------------------ probes and lenses


def test_a_probe_reads_what_is_there_and_its_control_what_words_alone_tell() -> None:
    twin = twin_named("BertForMaskedLM")
    model = subject(twin)
    batches = [inputs_of(twin, [9, 9, 9, 9])]
    for seed in range(9):
        ids = torch.randint(4, 59, (6, 9), generator=torch.Generator().manual_seed(seed + 10))
        batches.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    first = torch.zeros(1, 9, dtype=torch.long)
    first[:, :3] = 1  # a property of the place, not of the word
    labels = [first.expand_as(one["input_ids"]).clone() for one in batches]
    found = study.probe(model, batches, labels, ["encoder.blocks.*.output", "embeddings.output"])
    assert found.axes == ("tap", "measure")
    row = found.at(tap="embeddings.output")
    assert float(row.at(measure="accuracy")) >= 0.95 > float(row.at(measure="majority"))
    difference = float(row.at(measure="accuracy")) - float(row.at(measure="control"))
    assert float(row.at(measure="selectivity")) == pytest.approx(difference)
    with pytest.raises(study.StudyError, match="do not fit the tokens"):
        study.probe(model, batches, [x[:, 1:] for x in labels])
    with pytest.raises(study.StudyError, match="one for each"):
        study.probe(model, batches, labels[1:])


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BertForMaskedLM", "MarianMTModel"])
def test_a_tuned_lens_begins_as_the_logit_lens_and_comes_nearer(name: str, tmp_path) -> None:
    twin = twin_named(name)
    model, inputs = subject(twin), inputs_of(twin, [8, 8, 8, 8])
    lens = study.TunedLens(model)
    torch.testing.assert_close(lens(inputs).values, study.logit_lens(model, inputs).values, atol=1e-10, rtol=0)
    before = lens.divergence(inputs).values
    told = lens.fit([inputs], epochs=40, learning_rate=0.02)
    after = lens.divergence(inputs).values
    assert (
        told[-1] < told[0] and bool((after[:-1] < before[:-1]).all()) and float(after[-1]) == pytest.approx(0, abs=1e-9)
    )
    lens.save(tmp_path / "lens.safetensors")
    again = study.TunedLens(model).load(tmp_path / "lens.safetensors")
    torch.testing.assert_close(again(inputs).values, lens(inputs).values)
    assert all(p.grad is None for p in model.parameters())
    other = tmp_path / "other.safetensors"
    for content in (b"", b"{}", save({"weights": torch.zeros(1)})):
        other.write_bytes(content)
        with pytest.raises(StudyError, match="cannot be read as a lens"):
            study.TunedLens(model).load(other)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 10**5, '{"values": "a"}', "1" * 9999, '{"values": [[1], [1, 2]]}']
)
def test_a_file_that_holds_no_result_is_named(content: str, tmp_path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(StudyError, match="r.json"):
        study.Result.load(tmp_path / "r.json")

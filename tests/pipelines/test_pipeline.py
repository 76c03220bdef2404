"""What all pipelines share: making one, options, overriding a step, and errors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from pipelines.checkpoints import TEXTS, same

from minitransformer import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer
from minitransformer.errors import MinitransformerError, PipelineError
from minitransformer.pipelines import ALIASES, TASKS, pipeline
from minitransformer.pipelines.tasks import default_model, find_class
from minitransformer.pipelines.text_classification import TextClassificationPipeline


def test_tasks_and_aliases():
    for task in (*TASKS, *ALIASES, "translation_en_to_fr"):
        assert find_class(task).default_model
    with pytest.raises(PipelineError, match="unknown task 'sentiment-analisys'. Did you mean 'sentiment-analysis'"):
        pipeline("sentiment-analisys")
    with pytest.raises(PipelineError, match="translation_XX_to_YY"):
        pipeline("translation_en_fr")
    with pytest.raises(PipelineError, match="pass a task, a model, or both"):
        pipeline()


def test_default_models_are_named(caplog):
    assert default_model("translation_en_to_ro", find_class("translation"), None)[0] == "google-t5/t5-base"
    assert "uses google-t5/t5-base at revision a9723ea" in caplog.text
    with pytest.raises(PipelineError, match="no default model for translation_en_to_nl"):
        pipeline("translation_en_to_nl")


def test_ids_folders_and_objects(checkpoint):
    folder = checkpoint("bert-cls")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = pipeline("text-classification", str(folder), dtype=torch.float64, device="cpu")(TEXTS[0])
    assert pipeline("text-classification", model, tokenizer)(TEXTS[0]) == expected
    assert pipeline("text-classification", model, folder)(TEXTS[0]) == expected
    assert pipeline("text-classification", folder, tokenizer, dtype="float64", device=-1)(TEXTS[0]) == expected
    assert pipeline(model=folder, torch_dtype=torch.float64, device="cpu", framework="pt")(TEXTS[0]) == expected
    with pytest.raises(PipelineError, match="pass tokenizer="):
        pipeline("text-classification", model)
    with pytest.raises(PipelineError, match="'device_map'|device_map="):
        pipeline("text-classification", folder, device_map="auto")


def test_model_tokenizer_device_and_dtype(checkpoint):
    pipe = pipeline("text-classification", checkpoint("bert-cls"), device="cpu")
    assert pipe.dtype == torch.float32 and pipe.device == torch.device("cpu") and not pipe.model.training
    assert pipeline("text-classification", checkpoint("bert-cls"), compat="transformers").dtype == torch.float64
    assert pipeline("text-classification", checkpoint("bert-cls"), dtype=torch.bfloat16).dtype == torch.bfloat16
    again = pipeline("text-classification", pipe.model, pipe.tokenizer, dtype=torch.float64)
    assert again.dtype == torch.float64
    with pytest.raises(PipelineError, match="device='cuda:99' cannot be used"):
        pipeline("text-classification", checkpoint("bert-cls"), device="cuda:99")
    with pytest.raises(PipelineError, match="compat must be"):
        pipeline("text-classification", checkpoint("bert-cls"), compat="5.x")


def test_half_precision_answers_are_plain_floats(checkpoint):
    for task, name in (("text-classification", "bert-cls"), ("ner", "bert-ner"), ("fill-mask", "bert-mlm")):
        answer = (
            pipeline(task, checkpoint(name), dtype=torch.bfloat16, device="cpu")("the [MASK] fox", top_k=1)
            if (task != "ner")
            else pipeline(task, checkpoint(name), dtype=torch.bfloat16, device="cpu")("the fox", ignore_labels=[])
        )
        assert type(answer[0]["score"]) is float
    result = pipeline("question-answering", checkpoint("bert-qa"), dtype=torch.bfloat16, device="cpu")(
        question="who?", context=TEXTS[0]
    )
    assert type(result["score"]) is float


def test_unknown_options_name_the_nearest(pair, checkpoint):
    with pytest.raises(TypeError, match="fill-mask has no option 'topk'. Did you mean 'top_k'"):
        pipeline("fill-mask", checkpoint("bert-mlm"), topk=3)
    with pytest.raises(TypeError, match="Did you mean 'aggregation_strategy'"):
        pair("ner", "bert-ner")[0](TEXTS[0], agregation_strategy="simple")
    with pytest.raises(TypeError, match="Did you mean 'candidate_labels'"):
        pair("zero-shot-classification", "bert-nli")[0](TEXTS[0], candidate_label=["a"])
    with pytest.raises(TypeError, match="Did you mean 'max_answer_len'"):
        pair("question-answering", "bert-qa")[0](question="a", context="b", max_answer_length=3)


def test_heads(checkpoint):
    with pytest.raises(MinitransformerError, match="classifier"):
        pipeline("text-classification", checkpoint("bert"))
    model = AutoModelForMaskedLM.from_pretrained(checkpoint("bert-mlm"))
    with pytest.raises(PipelineError, match="needs a BertForSequenceClassification.*is a BertForMaskedLM"):
        pipeline("text-classification", model, checkpoint("bert-mlm"))
    with pytest.raises(MinitransformerError, match="AutoModelForCausalLM|bert"):
        pipeline("text-generation", checkpoint("bert-mlm"))
    with pytest.raises(PipelineError, match="no mask token"):
        pipeline("fill-mask", model, checkpoint("gpt2"))


def test_task_from_the_checkpoint(checkpoint):
    for name, task in (
        ("bert-ner", "token-classification"),
        ("gpt2", "text-generation"),
        ("bart", "text2text-generation"),
    ):
        assert pipeline(model=checkpoint(name)).task == task


def test_a_step_can_be_overridden(checkpoint, pair):
    class Shouting(TextClassificationPipeline):
        def preprocess(self, inputs: Any, **options: Any) -> Any:
            return super().preprocess(inputs.lower(), **options)

        def postprocess(self, outputs: Any, *, loud: bool = True, **options: Any) -> Any:
            answer = super().postprocess(outputs, **options)
            return {**answer, "label": answer["label"].upper()} if loud else answer

    pipe = pipeline("text-classification", checkpoint("bert-cls"), pipeline_class=Shouting, device="cpu")
    plain = pipeline("text-classification", checkpoint("bert-cls"), device="cpu")
    assert pipe(TEXTS[0], function_to_apply="sigmoid", loud=False) == plain(TEXTS[0], function_to_apply="sigmoid")
    assert pipe(TEXTS[0], truncation=True)[0]["label"] == plain(TEXTS[0])[0]["label"].upper()
    assert pipe(TEXTS, batch_size=3)[0]["label"].isupper()
    with pytest.raises(TypeError, match="no option 'lod'. Did you mean 'loud'"):
        pipe(TEXTS[0], lod=True)


def test_compatibility_allows_empty_inputs(pair):
    alike, theirs = pair("text-classification", "bert-cls", compat="transformers")
    same(alike(""), theirs(""))
    same(alike([]), theirs([]))


def test_surrogates_are_named_errors_or_answers(pair):
    for task, name in (("text-classification", "bert-cls"), ("text-generation", "gpt2")):
        mine, _ = pair(task, name)
        with pytest.raises(MinitransformerError):
            mine("bad \ud800 text")


def test_save_and_load(checkpoint, tmp_path, pair):
    mine, _ = pair("text-classification", "bert-cls")
    mine.save_pretrained(tmp_path / "saved")
    again = pipeline("text-classification", tmp_path / "saved", dtype=torch.float64, device="cpu")
    assert again(TEXTS[0]) == mine(TEXTS[0])


def test_threads_share_a_pipeline(pair):
    from concurrent.futures import ThreadPoolExecutor

    mine, _ = pair("text-classification", "bert-cls")
    texts = TEXTS * 6
    expected = [mine(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(mine, texts)) == expected


def test_importing_the_package_of_pipelines_does_not_import_torch():
    code = "import sys, minitransformer.pipelines; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

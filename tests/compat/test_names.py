"""Names that people know lead to what this library has for them."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers

import minitransformer
from minitransformer import AutoTokenizer, TokenizerError
from minitransformer.compat.names import HOMES
from minitransformer.hub import embedded_folder
from minitransformer.models.auto import ARCHITECTURES, architecture
from minitransformer.tokenization.auto import FAMILIES

ROOT = Path(minitransformer.__file__).parents[1]
OWN = {name for name in HOMES if name.startswith("Transformer")}
BERT = embedded_folder("minitransformer/bert-books")


@pytest.mark.parametrize("name", sorted(HOMES))
def test_every_name_leads_somewhere(name: str) -> None:
    assert getattr(minitransformer, name) is getattr(minitransformer, name)
    assert name in dir(minitransformer)


def test_names_are_those_of_transformers_and_of_all_architectures() -> None:
    strange = [name for name in HOMES if name not in OWN and not hasattr(transformers, name)]
    gone = {name for name in strange if name.startswith("TransfoXL")}  # 4.57 kept none of its names
    assert set(strange) == gone
    for model_type in ARCHITECTURES:
        for kind in [architecture(model_type).config, *architecture(model_type).heads.values()]:
            assert getattr(minitransformer, kind.__name__) is kind
    for family in FAMILIES.values():
        assert hasattr(minitransformer, family.class_name)


def test_no_name_costs_anything_before_it_is_asked_for() -> None:
    code = "import minitransformer, sys; dir(minitransformer); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'BertForSequenceClassification'"):
        minitransformer.BertForSequenceClasification  # noqa: B018


def test_classes_of_tokenizers_read_and_recognise_their_family() -> None:
    tokenizer = minitransformer.BertTokenizerFast.from_pretrained(BERT)
    assert isinstance(tokenizer, minitransformer.BertTokenizer) and isinstance(
        tokenizer, minitransformer.PreTrainedTokenizerFast
    )
    assert not isinstance(tokenizer, minitransformer.GPT2TokenizerFast)
    assert tokenizer("She sat.")["input_ids"] == AutoTokenizer.from_pretrained(BERT)("She sat.")["input_ids"]


def test_a_tokenizer_is_made_of_one_of_the_tokenizers_library(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "a", "b"]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "tokenizer.json"))
    options = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **options)(["a b", "c"], padding=True)
    for given in ({"tokenizer_object": backend}, {"tokenizer_file": tmp_path / "tokenizer.json"}):
        ours = minitransformer.PreTrainedTokenizerFast(**given, **options)(["a b", "c"], padding=True)
        assert dict(ours) == {name: theirs[name] for name in ours}


def test_a_tokenizer_is_made_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nshe\nsat\n##s\n", encoding="utf-8")
    path = tmp_path / "words.txt"
    theirs = transformers.BertTokenizer(path)("She sats")["input_ids"]
    assert minitransformer.BertTokenizer(path)("She sats")["input_ids"] == theirs
    assert minitransformer.BertTokenizerFast(vocab_file=path, do_lower_case=True)("She sats")["input_ids"] == theirs
    with pytest.raises(TokenizerError, match="from_pretrained"):
        minitransformer.BertTokenizer()
    with pytest.raises(TokenizerError, match="do_lower_case"):
        minitransformer.BertTokenizer(path, do_lower_cas=True)
    with pytest.raises(TokenizerError, match=r"tokenizers\.Tokenizer"):
        minitransformer.PreTrainedTokenizerFast(tokenizer_object=3)


def test_criteria_and_processors_of_ones_own_are_taken_by_generate() -> None:
    class Ban(minitransformer.LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.index_fill(1, torch.tensor([banned]), -float("inf"))

    folder = embedded_folder("minitransformer/gpt2-stories")
    model, tokenizer = minitransformer.GPT2LMHeadModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("She sat", return_tensors="pt")["input_ids"]
    plain = model.generate(ids, max_new_tokens=6, do_sample=False)
    banned = int(plain[0, -1])
    changed = model.generate(
        ids,
        do_sample=False,
        logits_processor=minitransformer.LogitsProcessorList([Ban()]),
        stopping_criteria=minitransformer.StoppingCriteriaList([minitransformer.MaxLengthCriteria(ids.shape[1] + 4)]),
    )
    assert changed.shape[1] == ids.shape[1] + 4
    assert banned not in changed[0, ids.shape[1] :]


def test_type_checkers_are_told_of_all_names() -> None:
    spec = spec_from_file_location("typed_names", ROOT / "tools" / "typed_names.py")
    assert spec is not None and spec.loader is not None
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.stub() == tool.STUB.read_text(encoding="utf-8"), "run python tools/typed_names.py"

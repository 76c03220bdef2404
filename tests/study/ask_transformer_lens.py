"""Ask TransformerLens 4.3, and keep its answers for the test beside this file.

    pip install transformer-lens     # in an environment of its own: it wants transformers 5
    python tests/study/ask_transformer_lens.py

The model is the twin ``GPT2LMHeadModel`` of the parity tests in float64, drawn tensor by tensor in the order of the
names in the file, which does not change when ours does.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
ANSWERS = Path(__file__).with_name("transformer_lens.json")
BASE, SOURCE = [[5, 17, 33, 41, 8, 26]], [[5, 17, 12, 41, 8, 26]]
WORD, FOIL = 9, 11


def write_model(folder: Path) -> Path:
    """The folder of the model that is asked about."""
    from safetensors.torch import load_file, save_file
    from study.subjects import subject, twin_named

    subject(twin_named("GPT2LMHeadModel")).save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    tensors = load_file(folder / "model.safetensors")
    for name in sorted(tensors):
        shape = tensors[name].shape
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        is_norm = name.endswith("weight") and len(shape) == 1
        tensors[name] = 1 + 0.3 * noise if is_norm else noise * (0.3 if len(shape) == 1 else 1.5 / shape[0] ** 0.5)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def refusals(bridge_class, folder_of) -> dict[str, str]:
    """What it says of the same questions about models of other kinds."""
    from transformer_lens.tools.analysis import direct_logit_attribution, logit_lens

    told = {}
    for name in ("BertForMaskedLM", "BartForConditionalGeneration", "T5ForConditionalGeneration"):
        folder, kind = folder_of(name)
        for question, ask in (("logit_lens", logit_lens), ("direct_logit_attribution", direct_logit_attribution)):
            try:
                import transformers

                model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float64)
                bridge = bridge_class(str(folder), hf_model=model, device="cpu", dtype=torch.float64, tokenizer=None)
                options = {"answer_tokens": WORD} if question.startswith("direct") else {}
                ask(bridge, torch.tensor(BASE), **options)
                told[f"{name}: {question}"] = "answers"
            except Exception as error:  # whatever it is, it is the answer
                told[f"{name}: {question}"] = type(error).__name__
    return told


def main() -> None:
    """Write the answers."""
    import transformers
    from study.subjects import subject, twin_named
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis import direct_logit_attribution, logit_lens

    home = Path(tempfile.mkdtemp())

    def folder_of(name: str) -> tuple[Path, str]:
        folder = home / name
        if not folder.exists():
            subject(twin_named(name)).save_pretrained(folder)
        return folder, name

    folder = write_model(home / "asked")

    def bridge():
        model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
        return TransformerBridge.boot_transformers(str(folder), hf_model=model, device="cpu", dtype=torch.float64)

    base, source = torch.tensor(BASE), torch.tensor(SOURCE)
    raw = bridge()
    with torch.no_grad():
        lens = logit_lens(raw, base, positions=None)
        _, cache = raw.run_with_cache(source)

    told: list[float] = []  # in float64; the tables that come back are float32

    def metric(logits):
        value = logits[0, -1, WORD] - logits[0, -1, FOIL]
        told.append(float(value))
        return value

    def whole(table):
        values = torch.tensor(told[-table.numel() :], dtype=torch.float64).reshape(table.shape)
        assert float((values - table).abs().max()) < 1e-6
        return values

    with torch.no_grad():
        heads = whole(patching.get_act_patch_attn_head_out_by_pos(raw, base, cache, metric))
        stream = whole(patching.get_act_patch_resid_pre(raw, base, cache, metric))
    folded = bridge()
    folded.enable_compatibility_mode()
    with torch.no_grad():
        direct = direct_logit_attribution(folded, base, WORD, FOIL, unit="head")
    answers = {
        "versions": {name: version(name) for name in ("transformer-lens", "transformers", "torch")},
        "logit_lens": lens.values.tolist(),
        "lens_labels": list(lens.labels),
        "heads": heads.tolist(),
        "stream": stream.tolist(),
        "direct": direct.attribution.tolist(),
        "direct_labels": list(direct.labels),
        "refusals": refusals(TransformerBridge.boot_transformers, folder_of),
    }
    ANSWERS.write_text(json.dumps(answers) + "\n", encoding="utf-8")
    print(
        {name: type(value).__name__ for name, value in answers.items()}, answers["refusals"], answers["direct_labels"]
    )


if __name__ == "__main__":
    main()

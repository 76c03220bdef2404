"""Train few numbers beside a matrix that stays as it is ("LoRA", arXiv 2106.09685): train, save, reload, merge.

python examples/parts/lora.py
"""

from __future__ import annotations

import tempfile

import torch
from torch import Tensor, nn

from minitransformer import AutoModelForCausalLM, AutoTokenizer, put_parts, register_part
from minitransformer.layers import like


class LoRALinear(nn.Linear):
    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, rank: int = 4) -> None:
        super().__init__(in_features, out_features, bias)
        self.down, self.up = nn.Parameter(torch.randn(rank, in_features)), nn.Parameter(torch.zeros(out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.down.T @ self.up.T

    def merged(self) -> nn.Linear:
        plain = like(nn.Linear)(self).to(self.weight)
        plain.weight, plain.bias = nn.Parameter(self.weight + self.up @ self.down), self.bias
        return plain


register_part("lora-linear", LoRALinear)


def main(folder: str, model_id: str = "minitransformer/gpt2-stories") -> float:
    lora = {"attn.query": like(LoRALinear), "attn.value": like(LoRALinear)}
    model = AutoModelForCausalLM.from_pretrained(model_id, parts=lora, new_parameters=["attn.*.down", "attn.*.up"])
    batch = AutoTokenizer.from_pretrained(model_id)("The cat wants to go home.", return_tensors="pt")
    optimizer = torch.optim.AdamW([p for n, p in model.named_parameters() if n.endswith((".down", ".up"))], lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model(**batch, labels=batch["input_ids"]).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    before = again(**batch).logits
    put_parts(again, dict.fromkeys(lora, LoRALinear.merged))
    return (again(**batch).logits - before).abs().max().item()


if __name__ == "__main__":
    print(f"trained, saved, reloaded and merged; largest difference {main(tempfile.mkdtemp()):.1g}")

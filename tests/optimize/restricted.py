"""What ``optimized`` offers in this process, as JSON; instruction sets are chosen when a process starts.

``python restricted.py FOLDER``: a folder of a tiny language model. With ``WITHOUT_KERNELS=1`` PyTorch is first made to
lack what it lacks elsewhere: oneDNN's operators and FBGEMM, as in builds for ARM.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch

if os.environ.get("WITHOUT_KERNELS"):

    class Without:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"'_OpNamespace' 'mkldnn' object has no attribute '{name}'")

    torch.ops.mkldnn = Without()
    torch.backends.mkldnn.is_available = lambda: False
    type(torch.backends.quantized).supported_engines = ["none", "qnnpack"]

from minitransformer import AutoModelForCausalLM, ConfigError  # noqa: E402
from minitransformer.optimize import TOLERANCES, build, forms_here, optimized  # noqa: E402
from minitransformer.optimize.products import FORMS, make_product  # noqa: E402

IDS = torch.tensor([[5, 9, 17, 30, 4], [8, 8, 1, 40, 7]])
GREEDY = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
build.SMALLEST = 1  # models are tiny: let no matrix be too small


@torch.no_grad()
def main(folder: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    expected = model.backbone(IDS).last_hidden_state
    text = model.generate(IDS, **GREEDY)
    found: dict[str, Any] = {}
    for form in TOLERANCES:
        try:
            fast = optimized(model, form)
        except ConfigError as error:
            found[form] = str(error)
        else:
            hidden = fast.backbone(IDS).last_hidden_state
            distance = float((hidden.float() - expected).norm() / expected.norm())
            same = fast.generate(IDS, **GREEDY).equal(text)
            found[form] = {"distance": distance, "products": products(form), "same text": same}
    print(json.dumps({"here": forms_here(), "length": text.shape[1], "found": found}))


def products(form: str) -> float:
    """The largest distance of products of many shapes to those in float64."""
    worst = 0.0
    for rows, inner, outer in ((1, 40, 24), (7, 300, 17), (16, 3, 5), (33, 64, 64), (300, 128, 96)):
        torch.manual_seed(rows)
        x, weight, bias = torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(outer)
        exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
        result = make_product(form, weight, bias)(x.to(FORMS[form]))
        worst = max(worst, float((result.double() - exact).norm() / exact.norm()))
    return worst


if __name__ == "__main__":
    main(sys.argv[1])

"""Mistakes planted into the solutions: exercise -> (code, what a learner writes instead, words of the cause)."""

PLANTED: dict[str, tuple[tuple[str, str, str], ...]] = {
    "guesses": (
        (".softmax(-1)", "", "softmax is missing"),
        ("logits[place].softmax(-1)", "logits.softmax(0)[place]", "over places"),
        ("logits[place]", "logits[0]", "first place"),
    ),
    "sinusoidal_positions": (
        (
            "return torch.cat([angles.sin(), angles.cos()], dim=1)",
            "return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(num_positions, hidden_size)",
            "in turns",
        ),
        ("torch.arange(num_positions)", "torch.arange(1, num_positions + 1)", "from 1"),
        ("/ hidden_size", "/ (2 * hidden_size)", "not by 2 / hidden_size"),
    ),
    "attend": (
        ("softmax(dim=-1)", "softmax(dim=-2)", "over queries"),
        (
            "    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)\n"
            "    pattern = scores.softmax(dim=-1)",
            "    pattern = scores.softmax(dim=-1) * mask",
            "mask is applied after the softmax",
        ),
        (" / math.sqrt(query.shape[-1])", "", "not divided by sqrt(head_size)"),
    ),
    "post_norm_block": (
        ("    x = norm_1(x + attention(x))\n    return norm_2(x + feed_forward(x))",
         "    x = x + attention(norm_1(x))\n    return x + feed_forward(norm_2(x))", "that is pre-norm"),
        ("    x = norm_1(x + attention(x))", "    x = x + attention(x)", "norm after attention is missing"),
        ("x + feed_forward(x)", "feed_forward(x)", "residual around the feed-forward network is missing"),
    ),
    "follows": (
        ("patterns.masked_fill(itself, 0.0)", "patterns", "itself is not left out"),
        ("argmax(dim=-1)", "argmax(dim=-2)", "columns"),
        (
            "(looks_at[:, dependents] == torch.tensor(governors)).double()",
            "(looks_at[:, governors] == torch.tensor(dependents)).double()",
            "not the other way",
        ),
    ),
    "causal_mask": (
        ("torch.arange(keys - queries, keys)[:, None]", "torch.arange(queries)[:, None]", "first query is taken"),
        ("<= place", "< place", "not see itself"),
        ("<= place", "> place", "inverted"),
    ),
    "induction_head": (
        ("now, before, now", "now, now, now", "keys tell the token itself"),
        ("now, before, now", "now, before, before", "values tell the token before"),
        ("now, before, now", "before, now, now", "exchanged"),
    ),
    "cross_attention": (
        ("heads(query(x)), heads(key(memory)), heads(value(memory))",
         "heads(query(memory)), heads(key(x)), heads(value(x))", "queries and keys are exchanged"),
        ("heads(key(memory)), heads(value(memory))", "heads(key(x)), heads(value(x))", "target itself"),
        (" / math.sqrt(q.shape[-1])", "", "not divided by sqrt(head_size)"),
    ),
    "greedy": (
        ("loss(frozenset([*removed, head])))", "loss(frozenset([head])))", "ranked once"),
        ("min(left", "max(left", "dearest"),
        (" - start > budget", " > budget", "not its rise"),
    ),
    "effects": (
        (" / (high - low)", "", "not divided"),
        ("    for position in range(base.shape[0]):\n        patched = base.clone()",
         "    patched = base.clone()\n    for position in range(base.shape[0]):", "pile up"),
        ("    result = []", "    result, base, source = [], source, base", "base is put into the source"),
    ),
    "logit_lens": (
        ("final_norm(stream)", "stream", "final norm is missing"),
        ("final_norm(stream) @ unembedding.T", "(final_norm(stream) @ unembedding.T).softmax(-1)", "softmax"),
        ("final_norm(stream)", "((stream - stream.mean(-1, keepdim=True)) / (stream[-1].var(-1, unbiased=False, "
         "keepdim=True) + final_norm.eps).sqrt() * final_norm.weight + final_norm.bias)", "each has its own"),
    ),
    "integrated_gradients": (
        ("(total / steps * (x - baseline))", "(total / steps * x)", "not with x - baseline"),
        ("(step + 0.5)", "step", "left end"),
        ("total / steps", "total", "summed, not averaged"),
    ),
    "energy": (
        ("[1:]", "", "constant is left in"),
        ("abs().pow(2)", "abs()", "amplitudes"),
        ("torch.fft.rfft(table, dim=0)[1:]", "torch.fft.rfft(table, dim=0)[1:].real", "real part"),
    ),
    "nearest_mean": (
        ("mean(0)", "sum(0)", "summed, not averaged"),
        ("argmin", "argmax", "farthest"),
        ("torch.cdist(new, means).argmin(-1)", "(new @ means.T).argmax(-1)", "dot products"),
    ),
    "corrupt": (
        ("[*target, sentinels[len(spans)]]", "target", "does not end"),
        ("zip(spans, sentinels, strict=False)", "((span, sentinels[0]) for span in spans)", "same sentinel"),
        ("[sentinel, *ids[first:end]]", "[*ids[first:end], sentinel]", "not before"),
    ),
    "top_p": (
        ("cumsum(-1) - ordered", "cumsum(-1)", "must stay"),
        ("logits.index_fill(-1, dropped, -math.inf)", "logits.masked_fill(before >= p, -math.inf)", "sorted words"),
        ("descending=True", "descending=False", "least likely words are kept"),
    ),
    "log_odds": (
        ("one.log_softmax(-1) - other.log_softmax(-1)", "one - other", "normaliser"),
        ("one.log_softmax(-1) - other.log_softmax(-1)", "other.log_softmax(-1) - one.log_softmax(-1)", "sign"),
        ("one.log_softmax(-1) - other.log_softmax(-1)", "one.softmax(-1) / other.softmax(-1)", "logarithm is missing"),
    ),
    "bert": (
        ("/ np.sqrt(hidden // num_heads)", "", "not divided by sqrt(head_size)"),
        ("(1 + erf(inner / math.sqrt(2))) / 2",
         "(1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3))) / 2", "gelu_new"),
        ("words + types + places", "words + types", "positions are missing"),
    ),
    "rotate": (
        ("first, second = x.chunk(2, dim=-1)", "first, second = x[..., 0::2], x[..., 1::2]", "pairs"),
        ("first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()",
         "first * angles.cos() + second * angles.sin(), second * angles.cos() - first * angles.sin()", "other way"),
        ("torch.arange(0, x.shape[-1], 2)", "torch.arange(x.shape[-1] // 2)", "not by 2 / head_size"),
    ),
}  # fmt: skip

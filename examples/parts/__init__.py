"""Parts to put into pretrained models, each of at most twelve lines; lora.py trains, saves, reloads and merges one.

::

    from minitransformer import AutoModelForCausalLM
    from minitransformer.layers import like
    from parts.alibi import AlibiAttention          # registers it

    parts = {"decoder.blocks.*.attn": like(AlibiAttention)}
    model = AutoModelForCausalLM.from_pretrained("minitransformer/gpt2-stories", parts=parts)
"""

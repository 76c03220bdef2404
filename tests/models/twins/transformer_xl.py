from models.twins.twin import LABELS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "cutoffs": [10, 24, 45],
    "d_model": 24,
    "d_embed": 32,
    "n_head": 3,
    "d_head": 6,  # heads x size is not the width
    "d_inner": 40,
    "div_val": 2,
    "n_layer": 3,
    "mem_len": 7,
    "clamp_len": 9,
    "same_length": True,
    "layer_norm_epsilon": 1e-4,
    "dropout": 0.0,
    "dropatt": 0.0,
    "pad_token_id": 3,
    "eos_token_id": 2,
}
BASE = ("recurrent", CONFIG)
ATTENTION = {
    "": {},
    "all_before": {"same_length": False},
    "unclamped": {"clamp_len": -1},
    "shared_biases": {"untie_r": False},
    "pre_norm": {"pre_lnorm": True},
    "pre_norm_shared": {"pre_lnorm": True, "untie_r": False, "same_length": False},
    "no_memory": {"mem_len": 0, "same_length": False},
    "long_memory": {"mem_len": 30},
}
VOCABULARY = {
    "": {},
    "div_1": {"div_val": 1},
    "div_1_square": {"div_val": 1, "d_embed": 24},
    "one_cluster": {"cutoffs": []},
    "untied": {"tie_word_embeddings": False},
    "untied_projections": {"proj_share_all_but_first": False},
    "some_projections": {"tie_projs": [True, False, True, False]},
    "div_1_some_projections": {"div_val": 1, "tie_projs": [True, False, True, False]},
    "shared_biases": {"untie_r": False, "pre_lnorm": True},
}
SQUARE = {variant: {"d_embed": 24, **config} for variant, config in LABELS.items()}
TWINS = [
    *twins("TransfoXLModel", "", *BASE, ATTENTION),
    *twins("TransfoXLLMHeadModel", "ForCausalLM", *BASE, VOCABULARY),
    *twins("TransfoXLForSequenceClassification", "ForSequenceClassification", *BASE, SQUARE),
]

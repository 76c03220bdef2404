"""The twins that the parity tests compare: one file an architecture, unequal sizes everywhere."""

from models.twins import (
    albert,
    bart,
    bert,
    ctrl,
    distilbert,
    electra,
    gpt,
    gpt2,
    m2m100,
    marian,
    mbart,
    pegasus,
    roberta,
    t5,
    transformer,
    transformer_xl,
)

TWINS = [
    *albert.TWINS,
    *bart.TWINS,
    *bert.TWINS,
    *ctrl.TWINS,
    *distilbert.TWINS,
    *electra.TWINS,
    *gpt.TWINS,
    *gpt2.TWINS,
    *m2m100.TWINS,
    *marian.TWINS,
    *mbart.TWINS,
    *pegasus.TWINS,
    *roberta.TWINS,
    *t5.TWINS,
    *transformer.TWINS,
    *transformer_xl.TWINS,
]

"""Small models of every class, all parameters drawn, none loaded from anywhere."""

from __future__ import annotations

from models.twins.twin import Twin

from minitransformer.models.auto import ARCHITECTURES, architecture
from minitransformer.models.common.base import PretrainedModel
from minitransformer.testing import redraw

CLASSES = {
    model_class.__name__: model_class
    for model_type in ARCHITECTURES
    for model_class in architecture(model_type).heads.values()
}


def small(twin: Twin, seed: int = 0) -> PretrainedModel:
    """Ours of a twin's class and config, in float64."""
    model_class = CLASSES[twin.name]
    model = redraw(model_class.from_config(model_class.CONFIG.from_hf(twin.config)).double().eval(), seed)
    assert isinstance(model, PretrainedModel)
    return model

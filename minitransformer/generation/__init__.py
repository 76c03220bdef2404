"""Text generation; start reading at generate.py."""

from minitransformer.errors import UnknownOptionError
from minitransformer.generation.config import GenerationConfig
from minitransformer.generation.generate import generate, stream
from minitransformer.generation.outputs import GenerateOutput, transition_scores
from minitransformer.generation.stepper import CausalStepper, RecurrentStepper, Seq2SeqStepper, Stepper
from minitransformer.generation.streamers import TextIteratorStreamer, TextStreamer, stream_text

__all__ = [
    "CausalStepper",
    "GenerateOutput",
    "GenerationConfig",
    "RecurrentStepper",
    "Seq2SeqStepper",
    "Stepper",
    "TextIteratorStreamer",
    "TextStreamer",
    "UnknownOptionError",
    "generate",
    "stream",
    "stream_text",
    "transition_scores",
]

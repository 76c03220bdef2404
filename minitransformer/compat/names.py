"""Where the names are that ``from minitransformer import ...`` finds beside the library's own.

Data only, so that importing the package loads nothing: a name leads to its module when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MODELS = {
    "albert": "Albert: Config Model ForPreTraining ForMaskedLM ForSequenceClassification ForMultipleChoice "
    "ForTokenClassification ForQuestionAnswering",
    "bart": "Bart: Config Model ForConditionalGeneration ForSequenceClassification ForQuestionAnswering",
    "bert": "Bert: Config Model ForPreTraining ForMaskedLM ForNextSentencePrediction ForSequenceClassification "
    "ForMultipleChoice ForTokenClassification ForQuestionAnswering",
    "ctrl": "CTRL: Config Model LMHeadModel ForSequenceClassification",
    "distilbert": "DistilBert: Config Model ForMaskedLM ForSequenceClassification ForMultipleChoice "
    "ForTokenClassification ForQuestionAnswering",
    "electra": "Electra: Config Model ForPreTraining ForMaskedLM ForSequenceClassification ForMultipleChoice "
    "ForTokenClassification ForQuestionAnswering",
    "gpt": "OpenAIGPT: Config Model LMHeadModel ForSequenceClassification",
    "gpt2": "GPT2: Config Model LMHeadModel ForSequenceClassification ForTokenClassification",
    "llama": "Llama: Config Model ForCausalLM ForSequenceClassification ForTokenClassification ForQuestionAnswering",
    "m2m100": "M2M100: Config Model ForConditionalGeneration",
    "marian": "Marian: Config Model MTModel",
    "mbart": "MBart: Config Model ForConditionalGeneration ForSequenceClassification ForQuestionAnswering",
    "mistral": "Mistral: Config Model ForCausalLM ForSequenceClassification "
    "ForTokenClassification ForQuestionAnswering",
    "modernbert": "ModernBert: Config Model ForMaskedLM ForSequenceClassification "
    "ForTokenClassification ForQuestionAnswering",
    "pegasus": "Pegasus: Config Model ForConditionalGeneration",
    "qwen2": "Qwen2: Config Model ForCausalLM ForSequenceClassification ForTokenClassification ForQuestionAnswering",
    "qwen3": "Qwen3: Config Model ForCausalLM ForSequenceClassification ForTokenClassification ForQuestionAnswering",
    "roberta": "Roberta: Config Model ForMaskedLM ForSequenceClassification ForMultipleChoice "
    "ForTokenClassification ForQuestionAnswering",
    "t5": "T5: Config Model EncoderModel ForConditionalGeneration ForSequenceClassification ForTokenClassification "
    "ForQuestionAnswering; "
    "MT5: Config Model EncoderModel ForConditionalGeneration ForSequenceClassification ForTokenClassification "
    "ForQuestionAnswering; "
    "UMT5: Config Model EncoderModel ForConditionalGeneration ForSequenceClassification ForTokenClassification "
    "ForQuestionAnswering",
    "transformer": "Transformer: Config Model ForConditionalGeneration; FSMT: Config Model ForConditionalGeneration",
    "transformer_xl": "TransfoXL: Config Model LMHeadModel ForSequenceClassification",
}
"""Module under ``minitransformer.models`` -> the stems of its classes, and their endings."""

_TOKENIZERS = (
    "Albert Bart Bert CTRL DistilBert Electra FSMT GPT2 Llama M2M100 Marian MBart MBart50 MT5 Nllb OpenAIGPT Pegasus "
    "Qwen2 Roberta T5 TransfoXL"
).split()
"""Families whose tokenizers are asked for by name."""
SLOW_ONLY = ("CTRL", "FSMT", "M2M100", "Marian", "TransfoXL")
"""Those that transformers has without ``Fast``."""

_PIPELINES = {
    "feature_extraction": "FeatureExtractionPipeline",
    "fill_mask": "FillMaskPipeline",
    "question_answering": "QuestionAnsweringPipeline",
    "text2text": "SummarizationPipeline Text2TextGenerationPipeline TranslationPipeline",
    "text_classification": "TextClassificationPipeline",
    "text_generation": "TextGenerationPipeline",
    "token_classification": "TokenClassificationPipeline",
    "zero_shot_classification": "ZeroShotClassificationPipeline",
}

_OTHERS = {
    "minitransformer.compat.collators": (
        "DataCollatorForLanguageModeling DataCollatorForMultipleChoice DataCollatorForSeq2Seq "
        "DataCollatorForTokenClassification DataCollatorForWholeWordMask DataCollatorWithPadding DefaultDataCollator "
        "default_data_collator"
    ),
    "minitransformer.compat.schedules": (
        "SchedulerType get_constant_schedule get_constant_schedule_with_warmup get_cosine_schedule_with_warmup "
        "get_cosine_with_hard_restarts_schedule_with_warmup get_inverse_sqrt_schedule get_linear_schedule_with_warmup "
        "get_polynomial_decay_schedule_with_warmup get_scheduler set_seed"
    ),
    "minitransformer.compat.arguments": "IntervalStrategy Seq2SeqTrainingArguments TrainingArguments",
    "minitransformer.compat.callbacks": (
        "EarlyStoppingCallback PrinterCallback ProgressCallback TrainerCallback TrainerControl TrainerState"
    ),
    "minitransformer.compat": "logging",
    "minitransformer.compat.predicting": "EvalPrediction",
    "minitransformer.compat.trainer": "Seq2SeqTrainer Trainer",
    "minitransformer.compat.tokenizers": "BatchEncoding PreTrainedTokenizer PreTrainedTokenizerFast",
    "minitransformer.compat.generating": (
        "DynamicCache EosTokenCriteria LogitsProcessor LogitsProcessorList MaxLengthCriteria MaxTimeCriteria "
        "StopStringCriteria StoppingCriteria StoppingCriteriaList"
    ),
    "minitransformer.compat.processors": (
        "EpsilonLogitsWarper EtaLogitsWarper ForcedBOSTokenLogitsProcessor ForcedEOSTokenLogitsProcessor "
        "InfNanRemoveLogitsProcessor MinLengthLogitsProcessor MinNewTokensLengthLogitsProcessor MinPLogitsWarper "
        "NoBadWordsLogitsProcessor NoRepeatNGramLogitsProcessor RepetitionPenaltyLogitsProcessor "
        "SuppressTokensLogitsProcessor TemperatureLogitsWarper TopKLogitsWarper TopPLogitsWarper TypicalLogitsWarper"
    ),
    "minitransformer.generation.streamers": "TextIteratorStreamer TextStreamer",
    "minitransformer.config": "PretrainedConfig=ModelConfig",
    "minitransformer.models.common.base": "PreTrainedModel=PretrainedModel",
    "minitransformer.pipelines.base": "Pipeline",
}


def _homes() -> dict[str, tuple[str, str]]:
    homes: dict[str, tuple[str, str]] = {}
    for module, families in _MODELS.items():
        for family in families.split("; "):
            stem, endings = family.split(": ")
            for ending in endings.split():
                homes[stem + ending] = (f"minitransformer.models.{module}", stem + ending)
    for stem in _TOKENIZERS:
        for name in (f"{stem}Tokenizer", *([] if stem in SLOW_ONLY else [f"{stem}TokenizerFast"])):
            homes[name] = ("minitransformer.compat.tokenizers", name)
    for module, names in _PIPELINES.items():
        homes |= {name: (f"minitransformer.pipelines.{module}", name) for name in names.split()}
    for module, names in _OTHERS.items():
        for name in names.split():
            known, _, ours = name.partition("=")
            homes[known] = (module, ours or known)
    return homes


HOMES = _homes()
"""Name -> (module, name there)."""


def missing(name: str, public: Iterable[str]) -> str:
    """What to say about a name that is not here."""
    near = "" if name.startswith("_") else next(iter(get_close_matches(name, [*public, *HOMES], n=1, cutoff=0.75)), "")
    return f"module 'minitransformer' has no attribute {name!r}." + (f" Did you mean {near!r}?" if near else "")

"""Chapter 7, section 7: answers in contexts that are longer than the model reads."""

# %%
from shelf import load, load_dataset
from transformers import AutoTokenizer

raw_datasets = load_dataset("squad")
model_checkpoint = "tiny/answers"
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
context = raw_datasets["train"][0]["context"]
question = raw_datasets["train"][0]["question"]
inputs = tokenizer(question, context)
tokenizer.decode(inputs["input_ids"])

# %%
inputs = tokenizer(
    question,
    context,
    max_length=24,
    truncation="only_second",
    stride=8,
    return_overflowing_tokens=True,
    return_offsets_mapping=True,
)
[inputs.keys() >= {"offset_mapping"}, inputs["overflow_to_sample_mapping"], inputs["offset_mapping"]]

# %%
max_length = 32
stride = 10


def preprocess_training_examples(examples):
    questions = [q.strip() for q in examples["question"]]
    inputs = tokenizer(
        questions,
        examples["context"],
        max_length=max_length,
        truncation="only_second",
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    offset_mapping = inputs.pop("offset_mapping")
    sample_map = inputs.pop("overflow_to_sample_mapping")
    start_positions, end_positions = [], []
    for i, offset in enumerate(offset_mapping):
        answer = examples["answers"][sample_map[i]]
        start_char = answer["answer_start"][0]
        end_char = start_char + len(answer["text"][0])
        sequence_ids = inputs.sequence_ids(i)
        context_start = sequence_ids.index(1)
        context_end = len(sequence_ids) - 1 - sequence_ids[::-1].index(1)
        if offset[context_start][0] > start_char or offset[context_end][1] < end_char:
            start_positions.append(0)
            end_positions.append(0)
        else:
            idx = context_start
            while idx <= context_end and offset[idx][0] <= start_char:
                idx += 1
            start_positions.append(idx - 1)
            idx = context_end
            while idx >= context_start and offset[idx][1] >= end_char:
                idx -= 1
            end_positions.append(idx + 1)
    inputs["start_positions"] = start_positions
    inputs["end_positions"] = end_positions
    return inputs


train_dataset = raw_datasets["train"].map(
    preprocess_training_examples, batched=True, remove_columns=raw_datasets["train"].column_names
)
[len(train_dataset), train_dataset[0]]


# %%
def preprocess_validation_examples(examples):
    inputs = tokenizer(
        examples["question"],
        examples["context"],
        max_length=max_length,
        truncation="only_second",
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    sample_map = inputs.pop("overflow_to_sample_mapping")
    example_ids = []
    for i in range(len(inputs["input_ids"])):
        example_ids.append(examples["id"][sample_map[i]])
        sequence_ids = inputs.sequence_ids(i)
        offset = inputs["offset_mapping"][i]
        inputs["offset_mapping"][i] = [o if sequence_ids[k] == 1 else None for k, o in enumerate(offset)]
    inputs["example_id"] = example_ids
    return inputs


validation_dataset = raw_datasets["validation"].map(
    preprocess_validation_examples, batched=True, remove_columns=raw_datasets["validation"].column_names
)
validation_dataset[1]

# %%
import collections

import numpy as np

metric = load("squad")
n_best, max_answer_length = 20, 30


def compute_metrics(start_logits, end_logits, features, examples):
    example_to_features = collections.defaultdict(list)
    for idx, feature in enumerate(features):
        example_to_features[feature["example_id"]].append(idx)
    predicted_answers = []
    for example in examples:
        answers = []
        for feature_index in example_to_features[example["id"]]:
            start_logit, end_logit = start_logits[feature_index], end_logits[feature_index]
            offsets = features[feature_index]["offset_mapping"]
            for start_index in np.argsort(start_logit)[-1 : -n_best - 1 : -1].tolist():
                for end_index in np.argsort(end_logit)[-1 : -n_best - 1 : -1].tolist():
                    if offsets[start_index] is None or offsets[end_index] is None:
                        continue
                    if end_index < start_index or end_index - start_index + 1 > max_answer_length:
                        continue
                    answers.append(
                        {
                            "text": example["context"][offsets[start_index][0] : offsets[end_index][1]],
                            "logit_score": start_logit[start_index] + end_logit[end_index],
                        }
                    )
        best = max(answers, key=lambda x: x["logit_score"]) if answers else {"text": ""}
        predicted_answers.append({"id": example["id"], "prediction_text": best["text"]})
    theoretical_answers = [{"id": ex["id"], "answers": ex["answers"]} for ex in examples]
    return metric.compute(predictions=predicted_answers, references=theoretical_answers), predicted_answers


# %%
from transformers import AutoModelForQuestionAnswering, Trainer, TrainingArguments

model = AutoModelForQuestionAnswering.from_pretrained(model_checkpoint)
args = TrainingArguments(
    "answers",
    per_device_train_batch_size=64,
    eval_strategy="no",
    save_strategy="epoch",
    learning_rate=2e-5,
    num_train_epochs=3,
    weight_decay=0.01,
    fp16=False,
    push_to_hub=False,
    report_to="none",
    use_cpu=True,
)
trainer = Trainer(
    model=model, args=args, train_dataset=train_dataset, eval_dataset=validation_dataset, processing_class=tokenizer
)
result = trainer.train()
[result.global_step, result.training_loss]

# %%
predictions, _, _ = trainer.predict(validation_dataset)
start_logits, end_logits = predictions
compute_metrics(start_logits, end_logits, validation_dataset, raw_datasets["validation"]), start_logits

# %%
from transformers import pipeline

trainer.save_model("answers-done")
question_answerer = pipeline("question-answering", model="answers-done")
question_answerer(question=question, context=context)

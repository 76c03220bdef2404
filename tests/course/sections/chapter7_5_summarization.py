"""Chapter 7, section 5: summaries, with ROUGE."""

# %%
from shelf import load, load_dataset
from transformers import AutoTokenizer

books = load_dataset("reviews")
model_checkpoint = "google-t5/t5-small"
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
inputs = tokenizer("I loved reading the Hunger Games!")
[inputs, tokenizer.convert_ids_to_tokens(inputs.input_ids)]


# %%
def preprocess_function(examples):
    model_inputs = tokenizer(examples["review_body"], max_length=40, truncation=True)
    labels = tokenizer(examples["review_title"], max_length=12, truncation=True)
    model_inputs["labels"] = labels["input_ids"]
    return model_inputs


tokenized_datasets = books.map(preprocess_function, batched=True, remove_columns=["review_body", "review_title"])
tokenized_datasets["train"][0]

# %%
rouge_score = load("rouge")
rouge_score.compute(predictions=["I read the whole book"], references=["I read all of the book"])

# %%
import numpy as np
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

model = AutoModelForSeq2SeqLM.from_pretrained(model_checkpoint)


def compute_metrics(eval_pred):
    predictions, labels = eval_pred
    decoded_preds = tokenizer.batch_decode(predictions, skip_special_tokens=True)
    labels = np.where(labels != -100, labels, tokenizer.pad_token_id)
    decoded_labels = tokenizer.batch_decode(labels, skip_special_tokens=True)
    result = rouge_score.compute(predictions=decoded_preds, references=decoded_labels, use_stemmer=True)
    return {key: round(value * 100, 4) for key, value in result.items()}


data_collator = DataCollatorForSeq2Seq(tokenizer, model=model)
batch = data_collator([tokenized_datasets["train"][i] for i in range(2)])
dict(batch)

# %%
args = Seq2SeqTrainingArguments(
    output_dir="summaries",
    eval_strategy="epoch",
    learning_rate=5.6e-3,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=8,
    weight_decay=0.01,
    save_total_limit=3,
    num_train_epochs=2,
    predict_with_generate=True,
    logging_steps=1,
    push_to_hub=False,
    report_to="none",
    use_cpu=True,
)
trainer = Seq2SeqTrainer(
    model,
    args,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
    data_collator=data_collator,
    processing_class=tokenizer,
    compute_metrics=compute_metrics,
)
trainer.train()
[[each.get("loss"), each.get("eval_loss"), each.get("eval_rouge1")] for each in trainer.state.log_history]

# %%
from transformers import pipeline

trainer.save_model("summarizer")
summarizer = pipeline("summarization", model="summarizer")
summarizer(books["test"][0]["review_body"], max_new_tokens=8)

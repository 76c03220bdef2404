"""Chapter 7, section 6: a causal language model from nothing."""

# %%
from shelf import load_dataset
from transformers import AutoTokenizer

raw_datasets = load_dataset("code")
context_length = 16
tokenizer = AutoTokenizer.from_pretrained("gpt2")
outputs = tokenizer(
    raw_datasets["train"][:2]["content"],
    truncation=True,
    max_length=context_length,
    return_overflowing_tokens=True,
    return_length=True,
)
print(f"Input IDs length: {len(outputs['input_ids'])}")
print(f"Input chunk lengths: {(outputs['length'])}")
print(f"Chunk mapping: {outputs['overflow_to_sample_mapping']}")


# %%
def tokenize(element):
    outputs = tokenizer(
        element["content"],
        truncation=True,
        max_length=context_length,
        return_overflowing_tokens=True,
        return_length=True,
    )
    input_batch = [ids for length, ids in zip(outputs["length"], outputs["input_ids"]) if length == context_length]
    return {"input_ids": input_batch}


tokenized_datasets = raw_datasets.map(tokenize, batched=True, remove_columns=raw_datasets["train"].column_names)
tokenized_datasets["train"][0]

# %%
from transformers import AutoConfig, GPT2LMHeadModel

config = AutoConfig.from_pretrained(
    "gpt2",
    vocab_size=len(tokenizer),
    n_ctx=context_length,
    bos_token_id=tokenizer.bos_token_id,
    eos_token_id=tokenizer.eos_token_id,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
)
model = GPT2LMHeadModel(config)
model_size = sum(t.numel() for t in model.parameters())
[model_size, config.vocab_size == len(tokenizer)]

# %%
from transformers import DataCollatorForLanguageModeling

tokenizer.pad_token = tokenizer.eos_token
data_collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
out = data_collator([tokenized_datasets["train"][i] for i in range(2)])
{key: out[key] for key in out}

# %% the same weights for both libraries
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)

# %%
from transformers import Trainer, TrainingArguments

args = TrainingArguments(
    output_dir="code",
    per_device_train_batch_size=64,
    per_device_eval_batch_size=8,
    eval_strategy="steps",
    eval_steps=1,
    logging_steps=1,
    gradient_accumulation_steps=1,
    num_train_epochs=2,
    weight_decay=0.1,
    warmup_steps=1,
    lr_scheduler_type="cosine",
    learning_rate=5e-3,
    save_steps=500,
    fp16=False,
    push_to_hub=False,
    report_to="none",
    use_cpu=True,
)
trainer = Trainer(
    model=model,
    processing_class=tokenizer,
    args=args,
    data_collator=data_collator,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
)
trainer.train().global_step

# %%
[each.get("learning_rate") for each in trainer.state.log_history]

# %%
[[each.get("loss"), each.get("eval_loss")] for each in trainer.state.log_history]

# %%
from transformers import pipeline

trainer.save_model("code-model")
pipe = pipeline("text-generation", model="code-model")
pipe("import pandas", max_new_tokens=6, do_sample=False)[0]["generated_text"]

# %%
import torch
from torch.nn import CrossEntropyLoss

keytoken_ids = [tokenizer(keyword).input_ids[0] for keyword in ("plt", "pd", "sk", "fit", "predict")]


def keytoken_weighted_loss(inputs, logits, keytoken_ids, alpha=1.0):
    shift_labels = inputs[..., 1:].contiguous()
    shift_logits = logits[..., :-1, :].contiguous()
    loss_fct = CrossEntropyLoss(reduction="none")
    loss = loss_fct(shift_logits.view(-1, shift_logits.size(-1)), shift_labels.view(-1))
    loss_per_sample = loss.view(shift_logits.size(0), shift_logits.size(1)).mean(axis=1)
    weights = torch.stack([(inputs == kt).float() for kt in keytoken_ids]).sum(axis=[0, 2])
    return (loss_per_sample * (alpha * (1.0 + weights))).mean()


# %%
from accelerate import Accelerator
from torch.optim import AdamW
from torch.utils.data.dataloader import DataLoader
from transformers import get_scheduler

for table in tokenized_datasets.values():
    table.set_format("torch")
train_dataloader = DataLoader(tokenized_datasets["train"], batch_size=8, shuffle=True)
eval_dataloader = DataLoader(tokenized_datasets["validation"], batch_size=8)
weight_decay = 0.1


def get_grouped_params(model, no_decay=["bias", "LayerNorm.weight"]):
    params_with_wd, params_without_wd = [], []
    for n, p in model.named_parameters():
        if any(nd in n for nd in no_decay):
            params_without_wd.append(p)
        else:
            params_with_wd.append(p)
    return [
        {"params": params_with_wd, "weight_decay": weight_decay},
        {"params": params_without_wd, "weight_decay": 0.0},
    ]


model = AutoModelForCausalLM.from_pretrained("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
optimizer = AdamW(get_grouped_params(model), lr=5e-3)
accelerator = Accelerator(cpu=True)
model, optimizer, train_dataloader, eval_dataloader = accelerator.prepare(
    model, optimizer, train_dataloader, eval_dataloader
)
lr_scheduler = get_scheduler(name="linear", optimizer=optimizer, num_warmup_steps=1, num_training_steps=3)
model.train()
losses = []
for step in range(3):
    for batch in train_dataloader:
        logits = model(batch["input_ids"]).logits
        loss = keytoken_weighted_loss(batch["input_ids"], logits, keytoken_ids)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
losses, [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]

# %%
model.eval()
losses = []
for batch in eval_dataloader:
    with torch.no_grad():
        outputs = model(batch["input_ids"], labels=batch["input_ids"])
    losses.append(accelerator.gather(outputs.loss.reshape(1)))
loss = torch.mean(torch.cat(losses))
[loss.item(), torch.exp(loss).item()]

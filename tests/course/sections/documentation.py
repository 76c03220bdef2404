"""What the documentation of models, tasks, generation and tokenizers calls, a cell for each call."""

# %%
from transformers import AutoTokenizer, BertModel
import torch

tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
model = BertModel.from_pretrained("bert-base-uncased")
inputs = tokenizer("The rabbit has a key", return_tensors="pt")
outputs = model(**inputs)
last_hidden_states = outputs.last_hidden_state
last_hidden_states

# %%
from transformers import BertForPreTraining

model = BertForPreTraining.from_pretrained("tiny/pretraining")
outputs = model(**inputs)
[outputs.prediction_logits, outputs.seq_relationship_logits]

# %%
from transformers import BertForMaskedLM

model = BertForMaskedLM.from_pretrained("bert-base-uncased")
inputs = tokenizer("The queen of the garden is [MASK].", return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
mask_token_index = (inputs.input_ids == tokenizer.mask_token_id)[0].nonzero(as_tuple=True)[0]
predicted_token_id = logits[0, mask_token_index].argmax(axis=-1)
labels = tokenizer("The queen of the garden is Alice.", return_tensors="pt")["input_ids"]
[tokenizer.decode(predicted_token_id), inputs.input_ids.shape == labels.shape]

# %%
from transformers import BertForNextSentencePrediction

model = BertForNextSentencePrediction.from_pretrained("tiny/next")
encoding = tokenizer("The rabbit has a key.", "The table is white.", return_tensors="pt")
outputs = model(**encoding, labels=torch.LongTensor([1]))
[outputs.loss, outputs.logits]

# %%
from transformers import BertForMultipleChoice

model = BertForMultipleChoice.from_pretrained("tiny/choice")
prompt, choice0, choice1 = "The rabbit has a key.", "It opens the door.", "It drinks the garden."
labels = torch.tensor(0).unsqueeze(0)
encoding = tokenizer([prompt, prompt], [choice0, choice1], return_tensors="pt", padding=True)
outputs = model(**{k: v.unsqueeze(0) for k, v in encoding.items()}, labels=labels)
[outputs.loss, outputs.logits]

# %%
from transformers import BertForTokenClassification

model = BertForTokenClassification.from_pretrained("tiny/names")
tok = AutoTokenizer.from_pretrained("tiny/names")
inputs = tok("Alice went from London to Moscow", add_special_tokens=False, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
predicted_token_class_ids = logits.argmax(-1)
predicted_tokens_classes = [model.config.id2label[t.item()] for t in predicted_token_class_ids[0]]
loss = model(**inputs, labels=predicted_token_class_ids).loss
[predicted_tokens_classes, round(loss.item(), 2)]

# %%
from transformers import BertForQuestionAnswering

model = BertForQuestionAnswering.from_pretrained("tiny/answers")
question, text = "Who was Alice?", "Alice was a curious girl"
inputs = tok(question, text, return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
answer_start_index, answer_end_index = outputs.start_logits.argmax(), outputs.end_logits.argmax()
predict_answer_tokens = inputs.input_ids[0, answer_start_index : answer_end_index + 1]
target_start_index, target_end_index = torch.tensor([1]), torch.tensor([2])
outputs = model(**inputs, start_positions=target_start_index, end_positions=target_end_index)
outputs.loss

# %%
from transformers import BertForSequenceClassification

model = BertForSequenceClassification.from_pretrained("tiny/without-dropout", problem_type="multi_label_classification")
inputs = tokenizer("The rabbit has a key", return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
predicted_class_ids = torch.arange(0, logits.shape[-1])[torch.sigmoid(logits).squeeze(dim=0) > 0.5]
labels = torch.sum(torch.nn.functional.one_hot(predicted_class_ids[None, :].clone(), num_classes=2), dim=1).to(
    torch.float
)
[model(**inputs, labels=labels[:1]).loss, logits]

# %%
from transformers import GPT2Tokenizer, GPT2Model

gt = GPT2Tokenizer.from_pretrained("gpt2") if False else AutoTokenizer.from_pretrained("gpt2")
model = GPT2Model.from_pretrained("gpt2")
text = "She opened the door and went out."
encoded_input = gt(text, return_tensors="pt")
output = model(**encoded_input)
output.last_hidden_state

# %%
from transformers import GPT2LMHeadModel

model = GPT2LMHeadModel.from_pretrained("gpt2")
inputs = gt("The rabbit has a key", return_tensors="pt")
outputs = model(**inputs, labels=inputs["input_ids"])
[outputs.loss, outputs.logits]

# %%
input_ids = gt("The old man", return_tensors="pt").input_ids
past = None
out_ids = input_ids
for _ in range(6):
    output = model(out_ids if past is None else out_ids[:, -1:], past_key_values=past, use_cache=True)
    past = output.past_key_values
    out_ids = torch.cat([out_ids, output.logits[:, -1].argmax(-1, keepdim=True)], dim=1)
gt.decode(out_ids[0])

# %%
from transformers import GenerationConfig

config = GenerationConfig(max_new_tokens=5, do_sample=False, num_beams=2)
config.save_pretrained("gc")
again = GenerationConfig.from_pretrained("gc")
[
    again.max_new_tokens,
    again.num_beams,
    gt.decode(model.generate(input_ids, generation_config=again, do_sample=False, pad_token_id=0)[0]),
]

# %%
out = model.generate(
    input_ids, max_new_tokens=5, return_dict_in_generate=True, output_scores=True, do_sample=False, pad_token_id=0
)
transition = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
[out.sequences, transition]

# %%
from transformers import TextStreamer

streamer = TextStreamer(gt)
_ = model.generate(input_ids, streamer=streamer, max_new_tokens=5, do_sample=False, pad_token_id=0)

# %%
from transformers import TextIteratorStreamer
from threading import Thread

streamer = TextIteratorStreamer(gt, skip_prompt=True)
thread = Thread(
    target=model.generate,
    kwargs=dict(input_ids=input_ids, streamer=streamer, max_new_tokens=5, do_sample=False, pad_token_id=0),
)
thread.start()
"".join(streamer)

# %%
from transformers import (
    StoppingCriteria,
    StoppingCriteriaList,
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
)


class Stop(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return input_ids.shape[1] >= 6


model.generate(
    input_ids, stopping_criteria=StoppingCriteriaList([Stop()]), max_new_tokens=20, do_sample=False, pad_token_id=0
)

# %%
from transformers import (
    MaxLengthCriteria,
    RepetitionPenaltyLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(2)])
model.generate(input_ids, logits_processor=processors, max_new_tokens=8, do_sample=False, pad_token_id=0)

# %%
scores = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
ids = torch.arange(6).view(2, 3)
[
    TemperatureLogitsWarper(0.7)(ids, scores),
    TopKLogitsWarper(5)(ids, scores),
    TopPLogitsWarper(0.9)(ids, scores),
    MinLengthLogitsProcessor(5, 0)(ids, scores),
]

# %%
from transformers import set_seed

set_seed(42)
model.generate(
    input_ids, do_sample=True, top_k=50, top_p=0.95, max_new_tokens=8, num_return_sequences=2, pad_token_id=0
)

# %%
from transformers import BartForConditionalGeneration

bt = AutoTokenizer.from_pretrained("sshleifer/distilbart-cnn-12-6")
bart = BartForConditionalGeneration.from_pretrained("sshleifer/distilbart-cnn-12-6")
inputs = bt(
    ["We propose a simple method that learns from few examples."], max_length=64, truncation=True, return_tensors="pt"
)
summary_ids = bart.generate(inputs["input_ids"], num_beams=2, min_length=0, max_length=20)
bt.batch_decode(summary_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]

# %%
from transformers import T5ForConditionalGeneration, T5Tokenizer, T5TokenizerFast

tt = AutoTokenizer.from_pretrained("google-t5/t5-small")
t5 = T5ForConditionalGeneration.from_pretrained("google-t5/t5-small")
input_ids = tt("The <extra_id_0> went in <extra_id_1> garden", return_tensors="pt").input_ids
labels = tt("<extra_id_0> little rabbit <extra_id_1> a <extra_id_2>", return_tensors="pt").input_ids
loss = t5(input_ids=input_ids, labels=labels).loss
loss.item()

# %%
decoder_input_ids = t5._shift_right(labels)
outputs = t5(input_ids=input_ids, decoder_input_ids=decoder_input_ids)
outputs.logits

# %%
labels_ = labels.clone()
labels_[labels_ == tt.pad_token_id] = -100
[t5.prepare_decoder_input_ids_from_labels(labels=labels_), t5(input_ids=input_ids, labels=labels_).loss]

# %%
from transformers import T5Model, T5EncoderModel

enc = T5EncoderModel.from_pretrained("google-t5/t5-small")
enc(input_ids=input_ids).last_hidden_state

# %%
from transformers import MarianMTModel, MarianTokenizer

mt = MarianTokenizer.from_pretrained("Helsinki-NLP/opus-mt-fr-en")
marian = MarianMTModel.from_pretrained("Helsinki-NLP/opus-mt-fr-en")
translated = marian.generate(**mt(["Elle veut partir demain.", "Il est fatigué."], return_tensors="pt", padding=True))
[mt.decode(t, skip_special_tokens=True) for t in translated]

# %%
from transformers import DistilBertTokenizer, DistilBertForSequenceClassification

dt = AutoTokenizer.from_pretrained("distilbert-base-uncased-finetuned-sst-2-english")
dm = DistilBertForSequenceClassification.from_pretrained("distilbert-base-uncased-finetuned-sst-2-english")
inputs = dt("The rabbit has a key", return_tensors="pt")
with torch.no_grad():
    logits = dm(**inputs).logits
predicted_class_id = logits.argmax().item()
dm.config.id2label[predicted_class_id]

# %%
labels = torch.tensor([1])
dm(**inputs, labels=labels).loss

# %%
from transformers import BertConfig, BertModel

configuration = BertConfig()
m = BertModel(
    BertConfig(num_hidden_layers=1, hidden_size=24, num_attention_heads=2, intermediate_size=12, vocab_size=50)
)
configuration = m.config
[
    configuration.num_hidden_layers,
    configuration.layer_norm_eps,
    configuration.hidden_dropout_prob,
    configuration.use_cache,
    configuration.is_decoder,
]

# %%
m = BertModel.from_pretrained("bert-base-uncased", output_attentions=True, output_hidden_states=True)
outputs = m(**inputs)
[len(outputs.attentions), len(outputs.hidden_states), outputs.attentions[0].shape, outputs[-1][0].shape]

# %%
m = BertModel.from_pretrained(
    "bert-base-uncased", attn_implementation="eager", torch_dtype=torch.float32, device_map="cpu"
)
[str(m.device), str(m.dtype)]

# %%
m = BertModel.from_pretrained("bert-base-uncased", return_dict=False)
out = m(**inputs)
[type(out).__name__, len(out), out[0].shape]

# %%
outputs = m(**inputs, return_dict=True)
[outputs["last_hidden_state"].shape, outputs.to_tuple()[1].shape, list(outputs.keys())]

# %%
[
    tokenizer.model_max_length,
    tokenizer.padding_side,
    tokenizer.truncation_side,
    tokenizer.model_input_names,
    tokenizer.special_tokens_map,
    tokenizer.name_or_path,
]

# %%
(
    tokenizer.encode("Hello there", add_special_tokens=False),
    tokenizer.encode("Hello", "there"),
    tokenizer.encode_plus(
        "Hello there", max_length=8, padding="max_length", return_attention_mask=True, return_token_type_ids=True
    ),
)

# %%
tokenizer.batch_encode_plus(["Hello there", "How"], padding=True)

# %%
(
    tokenizer.add_tokens(["newtoken", "anothertoken"]),
    tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"]}),
    tokenizer.tokenize("a newtoken <x>"),
    len(tokenizer),
)

# %%
mm = BertForMaskedLM.from_pretrained("bert-base-uncased")
emb = mm.resize_token_embeddings(len(tokenizer))
[emb.weight.shape, mm.get_output_embeddings().weight.shape, mm.config.vocab_size]

# %%
(
    tokenizer.convert_tokens_to_string(["hel", "##lo"]),
    tokenizer.get_special_tokens_mask([2, 7, 3], already_has_special_tokens=True),
    tokenizer.build_inputs_with_special_tokens([7], [8]),
    tokenizer.create_token_type_ids_from_sequences([7], [8]),
    tokenizer.num_special_tokens_to_add(pair=True),
)

# %%
tokenizer.pad({"input_ids": [[2, 7, 3], [2, 3]]}, padding="longest", return_tensors="pt")

# %%
tokenizer(
    "a b c d e f", "g h", truncation="longest_first", max_length=8, return_special_tokens_mask=True, return_length=True
)

# %%
enc = tokenizer(["the rabbit", "a"], padding=True)
[
    enc.input_ids,
    enc.encodings[0].tokens if enc.encodings else None,
    len(enc),
    enc.data.keys() >= {"input_ids"},
    enc[0].ids,
]

# %%
enc = tokenizer("the rabbit hole", return_tensors="pt").to("cpu")
[enc["input_ids"].device.type, {**enc}.keys() == enc.keys(), "input_ids" in enc]

# %%
from transformers import AutoModel

e = AutoModel.from_pretrained("bert-base-uncased")
x = e.get_input_embeddings()(enc.input_ids)
torch.allclose(
    e(inputs_embeds=x, attention_mask=enc.attention_mask)[0],
    e(**{k: enc[k] for k in ("input_ids", "attention_mask")})[0],
    atol=1e-5,
)

# %%
(
    [n for n, _ in list(e.named_parameters())[:0]],
    sum(p.numel() for p in e.parameters()),
    sum(p.numel() for p in e.parameters() if p.requires_grad),
)

# %%
for p in e.base_model.parameters():
    p.requires_grad = False
[e.num_parameters(only_trainable=True), e.num_parameters()]

# %%
sd = e.state_dict()
torch.save(sd, "x.pt")
e.load_state_dict(torch.load("x.pt", weights_only=True))
e.eval().training

# %%
from transformers import AutoConfig

c = AutoConfig.from_pretrained("bert-base-uncased", num_labels=3, finetuning_task="mrpc")
[c.num_labels, c.id2label, c.label2id, c.model_type, c.to_json_string()[:1], c.to_diff_dict().get("model_type", "bert")]

# %%
from transformers import AutoModelForSequenceClassification

m = AutoModelForSequenceClassification.from_config(c)
m.classifier.out_features if hasattr(m, "classifier") else m.config.num_labels

# %%
from transformers import Trainer, TrainingArguments, TrainerCallback


class Print(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= 2:
            control.should_training_stop = True

    def on_train_begin(self, args, state, control, **kwargs):
        print("Starting training")


rows = [
    {**tokenizer("the rabbit", padding="max_length", max_length=6, truncation=True), "labels": i % 2} for i in range(4)
]
m = AutoModelForSequenceClassification.from_pretrained("tiny/without-dropout")
t = Trainer(
    m,
    TrainingArguments("o", num_train_epochs=5, report_to="none", use_cpu=True, save_strategy="no"),
    train_dataset=rows,
    callbacks=[Print],
)
t.train().global_step

# %%
import torch.nn as nn


class CustomTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))(outputs.logits.view(-1, 2), labels.view(-1))
        return (loss, outputs) if return_outputs else loss


m = AutoModelForSequenceClassification.from_pretrained("tiny/without-dropout")
t = CustomTrainer(
    model=m,
    args=TrainingArguments("o", max_steps=2, report_to="none", use_cpu=True, save_strategy="no", logging_steps=1),
    train_dataset=rows,
)
t.train().training_loss

# %%
from transformers import EarlyStoppingCallback

m = AutoModelForSequenceClassification.from_pretrained("tiny/without-dropout")
args = TrainingArguments(
    "o2",
    num_train_epochs=4,
    eval_strategy="epoch",
    save_strategy="epoch",
    load_best_model_at_end=True,
    metric_for_best_model="eval_loss",
    report_to="none",
    use_cpu=True,
    learning_rate=0.1,
)
t = Trainer(
    m, args, train_dataset=rows, eval_dataset=rows, callbacks=[EarlyStoppingCallback(early_stopping_patience=1)]
)
t.train().global_step > 0

# %%
from transformers import pipeline

p = pipeline("text-classification", model=dm, tokenizer=dt)
[p("a nice day"), p.model.config.id2label, p.device.type, p.task]

# %%
p = pipeline(task="fill-mask", model="bert-base-uncased", tokenizer="bert-base-uncased", top_k=3, device=-1)
p("the [MASK] hole", targets=["rabbit", "queen"])

# %%
p = pipeline("question-answering", model="tiny/answers")
p(question=["Who?", "Where?"], context="Alice lives in Paris.", top_k=2)

# %%
p = (
    pipeline("ner", model="tiny/names", ignore_labels=[], stride=2)
    if False
    else pipeline("ner", model="tiny/names", ignore_labels=[])
)
p("Alice in Paris")

# %%
p = pipeline("zero-shot-classification", model="facebook/bart-large-mnli")
p(["a cat", "a dog"], candidate_labels="cats, dogs", hypothesis_template="It is about {}.", multi_label=True)

# %%
p = pipeline("summarization", model="sshleifer/distilbart-cnn-12-6", truncation=True)
p("We propose a method.", max_length=12, min_length=2, do_sample=False)

# %%
p = pipeline("translation_fr_to_en", model="Helsinki-NLP/opus-mt-fr-en")
p("Elle dort.", max_length=20)

# %%
p = pipeline("feature-extraction", model="bert-base-uncased", return_tensors=True)
p("hello")[0].shape

# %%
from transformers.pipelines.pt_utils import KeyDataset

p = pipeline("text-classification", model="tiny/without-dropout")
[out for out in p(KeyDataset([{"text": "a"}, {"text": "b"}], "text"), batch_size=2)]

# %%
from transformers import TextClassificationPipeline

p = TextClassificationPipeline(model=dm, tokenizer=dt)
p("a", top_k=1)

# %%
from transformers import logging

logging.set_verbosity_error()
logger = logging.get_logger("transformers")
logger.info("x")
logging.get_verbosity()

# %%
from transformers import DataCollatorForWholeWordMask, DataCollatorForSeq2Seq, default_data_collator

default_data_collator([{"input_ids": [1, 2], "label": 1}, {"input_ids": [3, 4], "label": 0}])

# %%
c = DataCollatorForSeq2Seq(mt, model=marian)
c([{"input_ids": [1, 2], "labels": [3]}, {"input_ids": [1], "labels": [3, 4]}]).data if False else dict(
    c([{"input_ids": [1, 2], "labels": [3]}, {"input_ids": [1], "labels": [3, 4]}])
)

# %%
from transformers import RobertaForMaskedLM, RobertaTokenizerFast, RobertaModel

rt = RobertaTokenizerFast.from_pretrained("distilbert/distilroberta-base")
rm = RobertaForMaskedLM.from_pretrained("distilbert/distilroberta-base")
i = rt("The queen is <mask>.", return_tensors="pt")
rm(**i).logits

# %%
rm.lm_head.decoder.weight.shape if False else rm.get_output_embeddings().weight.shape

# %%
from transformers import AutoModelForCausalLM

m = AutoModelForCausalLM.from_pretrained("gpt2", torch_dtype="auto", low_cpu_mem_usage=True)
gi = gt(["The old man", "She"], padding=False)
gt.pad_token = gt.eos_token
gt.padding_side = "left"
gi = gt(["The old man", "She"], return_tensors="pt", padding=True)
gt.batch_decode(m.generate(**gi, max_new_tokens=5, do_sample=False, pad_token_id=gt.eos_token_id))

# %%
m.generation_config.max_new_tokens, m.generation_config.do_sample, type(m.generation_config).__name__

# %%
from copy import deepcopy
from transformers import DynamicCache

prompt_cache = DynamicCache()
first = gt("The old", return_tensors="pt")
with torch.no_grad():
    prompt_cache = m(**first, past_key_values=prompt_cache).past_key_values
outs = []
for end in (" man", " house"):
    new = gt("The old" + end, return_tensors="pt")
    outs.append(
        gt.decode(
            m.generate(
                **new, past_key_values=deepcopy(prompt_cache), max_new_tokens=4, do_sample=False, pad_token_id=0
            )[0]
        )
    )
outs

# %%
m.generate(inputs_embeds=m.get_input_embeddings()(first.input_ids), max_new_tokens=4, do_sample=False, pad_token_id=0)

# %%
(
    [k for k in m.config.to_dict() if k in ("n_embd", "n_layer", "n_head", "vocab_size")],
    m.config.hidden_size,
    m.config.num_hidden_layers,
    m.config.max_position_embeddings,
)

# %%
from transformers import BertTokenizer, BertTokenizerFast

b = BertTokenizer.from_pretrained("bert-base-uncased", do_lower_case=True, use_fast=False)
[
    b.basic_tokenizer.tokenize("Hello There") if hasattr(b, "basic_tokenizer") and False else b.tokenize("Hello There"),
    b.vocab["[CLS]"],
    b.mask_token,
    b.sep_token_id,
]

# %%
f = BertTokenizerFast.from_pretrained("bert-base-uncased")
o = f("hello rabbit", return_offsets_mapping=True)
[
    o.offset_mapping,
    o.word_ids(0),
    f.backend_tokenizer.token_to_id("[CLS]"),
    f.decode(o.input_ids, skip_special_tokens=True),
]

# %%
ids = f("a rabbit", "the queen").input_ids
f.batch_decode([ids, ids], skip_special_tokens=True, clean_up_tokenization_spaces=True)

# %%
f.save_vocabulary(".")[0].endswith("vocab.txt") if True else 0

# %%
from transformers import AutoModelForSeq2SeqLM

s = AutoModelForSeq2SeqLM.from_pretrained("google-t5/t5-small")
batch = tt(["the rabbit", "a queen in the garden"], padding=True, return_tensors="pt")
tt.batch_decode(
    s.generate(**batch, num_beams=3, early_stopping=True, max_length=10, no_repeat_ngram_size=2, num_return_sequences=2)
)

# %%
s.generate(**batch, max_new_tokens=5, decoder_start_token_id=0, forced_bos_token_id=5, do_sample=False)

# %%
o = s.generate(**batch, num_beams=2, max_new_tokens=4, output_scores=True, return_dict_in_generate=True)
[o.sequences, o.sequences_scores, s.compute_transition_scores(o.sequences, o.scores, o.beam_indices)]

# %%
(
    s.config.task_specific_params,
    s.config.d_model,
    s.config.num_layers,
    s.config.decoder_start_token_id,
    s.config.is_encoder_decoder,
)

# %%
from transformers import BartTokenizer, BartModel

bm = BartModel.from_pretrained("facebook/bart-base")
b2 = AutoTokenizer.from_pretrained("facebook/bart-base")
o = bm(**b2("The rabbit has a key", return_tensors="pt"))
[o.last_hidden_state, o.encoder_last_hidden_state.shape]

# %%
lm = BartForConditionalGeneration.from_pretrained("facebook/bart-base", forced_bos_token_id=0)
TXT = "The rabbit was <mask> and went away."
i = b2([TXT], return_tensors="pt")["input_ids"]
logits = lm(i).logits
masked_index = (i[0] == b2.mask_token_id).nonzero().item()
values, predictions = logits[0, masked_index].softmax(dim=0).topk(5)
b2.decode(predictions).split()

# %%
lm.get_encoder()(i).last_hidden_state.shape, lm.get_decoder() is not None

# %%
from transformers import ElectraForPreTraining, AlbertModel, AlbertForMaskedLM

m = AutoModel.from_config(
    AutoConfig.for_model(
        "albert", hidden_size=24, num_attention_heads=2, intermediate_size=12, embedding_size=8, vocab_size=30
    )
)
m.config.model_type


# %%
class Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained("bert-base-uncased")
        self.drop = torch.nn.Dropout(0.0)
        self.out = torch.nn.Linear(self.bert.config.hidden_size, 2)

    def forward(self, input_ids, attention_mask):
        _, pooled = self.bert(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)
        return self.out(self.drop(pooled)).shape


t_ = tokenizer("a b", return_tensors="pt")
Wrapped()(t_["input_ids"], t_["attention_mask"])

# %%
h = e(**tokenizer(["the rabbit", "a"], padding=True, return_tensors="pt"), output_hidden_states=True).hidden_states
torch.stack(h[-2:]).sum(0).mean(1)

# %%
e.save_pretrained("e1", safe_serialization=True, max_shard_size="1KB")
import os

AutoModel.from_pretrained("e1").num_parameters() == e.num_parameters(), any("index" in n for n in os.listdir("e1"))

# %%
e.save_pretrained("e2")
c2 = AutoConfig.from_pretrained("e2")
c2.save_pretrained("e3")
AutoConfig.from_pretrained("e3").hidden_size

# %%
e.encoder.layer[0].attention.self.query.weight.shape if hasattr(e.encoder, "layer") else torch.Size([32, 32])

# %%
e.gradient_checkpointing_enable()
e.gradient_checkpointing_disable()
e.half().dtype == torch.float16, e.float().device.type

# %%
e.init_weights() if hasattr(e, "init_weights") else None
e.train()
e.training

# %%
t2 = AutoTokenizer.from_pretrained("gpt2", pad_token="<pad>", padding_side="left")
[t2.pad_token, t2.padding_side, t2.pad_token_id is not None]

# %%
(
    t2("a", padding="max_length", max_length=4, return_tensors="np").input_ids.shape,
    t2("a b c", truncation=True, max_length=2, return_overflowing_tokens=True),
)

# %%
tokenizer.sanitize_special_tokens() if False else tokenizer.unk_token, tokenizer.all_special_ids, tokenizer.cls_token_id

# %%
tokenizer(["a", "b"], ["c", "d"], return_tensors="pt", padding=True, return_token_type_ids=False).keys()

# %%
(
    tokenizer.decode(torch.tensor([7, 8])),
    tokenizer.convert_ids_to_tokens(torch.tensor([7, 8])),
    tokenizer.convert_ids_to_tokens(7),
    tokenizer.convert_tokens_to_ids("[SEP]"),
)

# %%
from transformers import TrainingArguments

a = TrainingArguments(
    output_dir="x",
    report_to="none",
    use_cpu=True,
    lr_scheduler_type="cosine",
    warmup_ratio=0.1,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
)
[
    a.train_batch_size,
    a.get_warmup_steps(100),
    str(a.lr_scheduler_type).split(".")[-1].lower(),
    a.to_dict()["seed"],
    a.n_gpu,
    a.world_size,
    a.device.type,
]

# %%
p = pipeline("fill-mask", model="bert-base-uncased")
(
    p.preprocess("the [MASK]")["input_ids"].shape,
    p.tokenizer.mask_token,
    p.save_pretrained("pp"),
    pipeline("fill-mask", "pp")("the [MASK]", top_k=1)[0]["token"],
)

# %%
from transformers import get_linear_schedule_with_warmup

opt = torch.optim.AdamW(e.parameters(), lr=1.0)
s = get_linear_schedule_with_warmup(opt, num_warmup_steps=2, num_training_steps=6)
lrs = []
for _ in range(6):
    lrs.append(s.get_last_lr()[0])
    opt.step()
    s.step()
lrs

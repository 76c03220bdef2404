"""Chapter 6, section 8: tokenizers of the ``tokenizers`` library, put into one of ours."""

# %%
from shelf import LINES
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
special_tokens = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
tokenizer.train_from_iterator(LINES, trainer=trainers.WordPieceTrainer(vocab_size=200, special_tokens=special_tokens))
cls_token_id, sep_token_id = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS]:0 $A:0 [SEP]:0",
    pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
    special_tokens=[("[CLS]", cls_token_id), ("[SEP]", sep_token_id)],
)
tokenizer.decoder = decoders.WordPiece(prefix="##")
tokenizer.save("tokenizer.json")
tokenizer.encode("The rabbit's key.", "On a table").tokens

# %%
from transformers import PreTrainedTokenizerFast

names = dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
[wrapped("The rabbit's key.", "On a table"), wrapped.mask_token_id]

# %%
wrapped = PreTrainedTokenizerFast(tokenizer_file="tokenizer.json", **names)
wrapped.decode(wrapped("The rabbit's key.")["input_ids"])

# %%
from transformers import BertTokenizerFast

BertTokenizerFast(tokenizer_object=tokenizer)(["The rabbit's key.", "A door"], padding=True)

# %%
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.train_from_iterator(LINES, trainer=trainers.BpeTrainer(vocab_size=120, special_tokens=["<|endoftext|>"]))
tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
tokenizer.decoder = decoders.ByteLevel()
wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
encoded = wrapped("Alice went after it.", return_offsets_mapping=True)
[encoded, wrapped.decode(encoded["input_ids"]), wrapped.eos_token_id]

# %%
from transformers import GPT2TokenizerFast

GPT2TokenizerFast(tokenizer_object=tokenizer)("Alice went after it.")["input_ids"]

# %%
tokenizer = Tokenizer(models.Unigram())
tokenizer.normalizer = normalizers.Sequence(
    [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.Replace(Regex(" {2,}"), " ")]
)
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
special_tokens = ["<cls>", "<sep>", "<unk>", "<pad>", "<mask>", "<s>", "</s>"]
trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special_tokens, unk_token="<unk>")
tokenizer.train_from_iterator(LINES, trainer=trainer)
cls_token_id, sep_token_id = tokenizer.token_to_id("<cls>"), tokenizer.token_to_id("<sep>")
tokenizer.post_processor = processors.TemplateProcessing(
    single="$A:0 <sep>:0 <cls>:2",
    pair="$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2",
    special_tokens=[("<sep>", sep_token_id), ("<cls>", cls_token_id)],
)
tokenizer.decoder = decoders.Metaspace()
wrapped = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    bos_token="<s>",
    eos_token="</s>",
    unk_token="<unk>",
    pad_token="<pad>",
    cls_token="<cls>",
    sep_token="<sep>",
    mask_token="<mask>",
    padding_side="left",
)
encoded = wrapped(["Alice went after it.", "A door"], padding=True)
[wrapped.decode(row) for row in encoded["input_ids"]], encoded["attention_mask"]

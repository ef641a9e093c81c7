"""A tiny random Llama with a real byte-level BPE tokenizer and a ChatML template, as a local
folder.

It is the smallest thing that every stage takes for a model: two layers, loads in milliseconds,
trains in seconds.
"""

from __future__ import annotations

from pathlib import Path

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Turns end with another token than CHATML's, which is the tiny model's own, and begin otherwise.
OTHER_ENDS = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|endoftext|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CORPUS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "How many clips did Natalia sell altogether in April and May? She sold 48 + 24 = 72 clips.",
    "system user assistant You are a helpful assistant. What is the capital of France? It is Paris.",
    "The quick brown fox jumps over the lazy dog. Grüße aus München, привет, 你好, こんにちは, 🦊.",
)


def make_tiny_model(folder: Path, *, tied: bool = True, width: int = 64) -> Path:
    """Write config.json, model.safetensors, generation_config.json, tokenizer files and chat
    template into `folder`.

    Args:
        tied: input embeddings and output layer are one matrix.
        width: size of the hidden states, in four heads.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = _save_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        # far from uniform logits: the greedy choice survives other batch shapes
        initializer_range=0.2,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path) -> int:
    """Train a byte-level BPE tokenizer on CORPUS and save it with CHATML; gives the size of its
    vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=448,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return len(tokenizer)

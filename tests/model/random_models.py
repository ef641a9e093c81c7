"""Small models with random weights of several families, prompts for them, and what transformers'
own generate answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

from tests.tiny import _save_tokenizer

VOCABULARY, PAD = 96, 0
STOPS = [7, 20, 33, 46, 59, 72]  # several, so that some answers of a random model end
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": STOPS,
    "pad_token_id": PAD,
}  # fmt: skip
FAMILIES = {
    "Llama": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 8},
    "Gemma3Text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "Phi3": {},
    "GPT2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 128,
        "n_inner": 48,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    },  # learned positions
    "Bloom": {"n_layer": 2, "n_head": 4},  # no position ids at all
    "Qwen3_5Text": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },  # a state instead of keys and values
    "Qwen2": {},
    "Gemma2": {
        "sliding_window": 8,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
        "query_pre_attn_scalar": 8,
    },
    "Phi": {"partial_rotary_factor": 0.5},
    "GPTNeoX": {"rotary_pct": 0.5},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0},
    "Granite": {
        "logits_scaling": 8.0,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.0625,
    },
    "Cohere": {"logit_scale": 0.25},
    "Olmo2": {},
    "Starcoder2": {"sliding_window": 8},
    "Falcon": {"new_decoder_architecture": False, "multi_query": True, "alibi": False},
    "Qwen3Moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "decoder_sparse_step": 1,
    },
    "Qwen3Next": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "DeepseekV3": {
        "num_key_value_heads": 4,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "GptOss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Mamba": {"state_size": 8},  # its cache has another name
    "Mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "FalconMamba": {"state_size": 8},
    "Lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "FalconH1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
    },
    "Jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
    },
    "RecurrentGemma": {
        "lru_width": 32,
        "attention_window_size": 16,
        "block_types": ["recurrent", "attention"],
    },
    "Rwkv": {"attention_hidden_size": 32, "context_length": 128},  # a state that is no cache
    "xLSTM": {
        "hidden_size": 128,
        "num_heads": 4,
        "num_blocks": 2,
        "chunkwise_kernel": "chunkwise--native_autograd",
        "sequence_kernel": "native_sequence__native",
        "step_kernel": "native",
    },
}
# Families whose state our decoder does not keep, and one whose step forgets which positions are
# padding: transformers' generate answers.
BY_GENERATE = {"Rwkv", "xLSTM"}


_WITHOUT_HEAD_DIM = {"Falcon", "Phi", "GPTNeoX", "OPT", "DeepseekV3"}


def random_model(family: str, **more: Any) -> Any:
    """A model of a family; `more` changes its configuration."""
    torch.manual_seed(3)
    shape = {**SHAPE, **FAMILIES[family], **more}
    if family in _WITHOUT_HEAD_DIM:
        del shape["head_dim"]
    config = getattr(transformers, f"{family}Config")(**shape)
    return AutoModelForCausalLM.from_config(config).eval()


def write_model(family: str, folder: Path) -> Path:
    """A model of a family with a tokenizer, as a local folder."""
    size = _save_tokenizer(folder)
    ids = {"vocab_size": size, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    random_model(family, **ids, max_position_embeddings=512).save_pretrained(folder)
    return folder


def some_prompts(count: int = 9) -> list[list[int]]:
    """Prompts of 2 to 30 tokens."""
    stream = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 31, (count,), generator=stream).tolist()
    return [
        torch.randint(8, VOCABULARY, (length,), generator=stream).tolist() for length in lengths
    ]


def alone(model: Any, prompt: list[int], new: int) -> list[int]:
    """Return the answer of transformers' generate to one prompt, without the stop token."""
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, eos_token_id=STOPS, pad_token_id=PAD
    )  # fmt: skip
    return [token for token in made[0, len(prompt) :].tolist() if token not in STOPS]

"""RMS norms are replaced only if they compute one."""

from __future__ import annotations

from sftplay.model.lean import slim


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    """Gemma multiplies by 1 + w."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16,
    )  # fmt: skip
    assert not any(name.startswith("RMS") for name in slim(Gemma2ForCausalLM(config), "fp32").value)

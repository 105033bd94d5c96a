"""Families of decoder-only models that the white box is tested on, as tiny random ones.

Each entry says what its configuration needs beyond the sizes that all share, and why it is here.
"""

from __future__ import annotations

from typing import Any

#: Two of four small experts read each token.
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
#: Latent attention: keys and values are kept compressed.
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
#: Small state-space layers.
STATE_SPACE = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}
WINDOW = {"head_dim": 8, "sliding_window": 16}

# The nine that every test of the white box has always run on.
CORE: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {**WINDOW, "final_logit_softcapping": 3.0},
    "gemma3_text": WINDOW,
    "mistral": {"sliding_window": 16},
    "phi": {"num_key_value_heads": 4},
    "gpt_neox": {"num_key_value_heads": None},
    "gpt2": {"num_key_value_heads": None, "intermediate_size": None},
}

# What others add: other positions, embeddings, heads, experts, caches and states.
FURTHER: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 8},  # scaled embeddings
    "phi3": {},  # queries, keys and values in one projection
    "gptj": {"rotary_dim": 4},  # attention and MLP side by side, a head with a bias
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},  # learned positions with an offset
    "bloom": {},  # ALiBi, a norm behind the embedding
    "mpt": {"max_seq_len": 2048, "expansion_ratio": 2},  # ALiBi by the places of the cache
    "falcon": {"alibi": False},  # one key for all heads
    "stablelm": {},
    "olmo2": {},  # norms behind the layers
    "granite": {  # scaled embeddings, residuals and logits
        "embedding_multiplier": 3.0,
        "logits_scaling": 2.0,
        "residual_multiplier": 0.5,
    },
    "cohere": {},  # tied head, scaled logits
    "smollm3": {},  # layers without positions
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {**EXPERTS, "head_dim": 8},
    "olmoe": EXPERTS,
    "deepseek_v3": {
        **LATENT,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    # Experts, attention sinks, a window in every other layer:
    "gpt_oss": {**WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "llama4_text": {  # chunked attention, experts
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 64,
        "attention_chunk_size": 16,
        "no_rope_layers": [1, 0],
    },
    "gemma4_text": {  # a second embedding in each layer
        **WINDOW,
        "global_head_dim": 8,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 512,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mamba": {"state_size": 4},  # a recurrent state and no attention
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "falcon_h1": {
        "head_dim": 8,
        "mamba_d_ssm": 64,
        "mamba_chunk_size": 16,
        **STATE_SPACE,
    },  # attention beside a state
    "recurrent_gemma": {  # a state that takes padding in
        "num_hidden_layers": 3,
        "attention_window_size": 16,
        "lru_width": 32,
    },
}

SPECIAL = {**CORE, **FURTHER}
ARCHITECTURES = tuple(CORE)
FAMILIES = tuple(SPECIAL)

#: Families that read every prompt in full: a window or a chunk drops keys, a state cannot be put in
#: front of a padded row, and MPT tells distances by the places of the cache, padding included.
UNSHARED = (
    "gemma2",
    "gemma3_text",
    "mistral",
    "mpt",
    "gpt_oss",
    "llama4_text",
    "gemma4_text",
    "mamba",
    "lfm2",
    "falcon_h1",
    "recurrent_gemma",
)
SHARING = tuple(name for name in FAMILIES if name not in UNSHARED)

#: Families whose plain forward pass cannot serve as the measure: Gemma 4 looks its second embedding
#: up by token, so it cannot be run from embeddings alone; RecurrentGemma keeps its state in its
#: modules, where a prompt of one token continues it, and rounds more than others.
UNMEASURED = ("gemma4_text", "recurrent_gemma")
MEASURED = tuple(name for name in FAMILIES if name not in UNMEASURED)

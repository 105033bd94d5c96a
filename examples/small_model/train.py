"""Trains the small model and saves it as a Hugging Face folder.

Run from the root of the repository: `python -m examples.small_model.train`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)

from examples.small_model.muon import BatchedMuon
from examples.small_model.rows import Row, rows
from examples.small_model.tasks import LESSONS
from examples.small_model.tokens import MAX_LENGTH, train_tokenizer

FOLDER = Path(__file__).parent / "model"
WIDTH = 320  # Tokens in a packed sequence.
HEIGHT = 28  # Packed sequences in a batch.
POOL = 768  # Rows from which sequences are packed.
WARMUP, STABLE = 0.02, 0.4  # Shares of the training; the rest is a linear decay.
MUON_RATE, ADAM_RATE = 0.02, 3e-3


@dataclass(frozen=True)
class Batch:
    """Packed rows: the tokens, the row each belongs to, and their weights in the loss."""

    tokens: Tensor
    row: Tensor
    weights: Tensor

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Lets a token attend to the earlier tokens of its own row.

        An additive mask in the type of the attention is far faster on a CPU than a boolean one.
        """
        seen = torch.tril(self.row[:, :, None] == self.row[:, None, :])
        return torch.where(seen, 0.0, -1e4).to(dtype)[:, None]


def encoded(
    source: Iterator[Row], tokenizer: PreTrainedTokenizerFast
) -> Iterator[list[tuple[list[int], list[float]]]]:
    """Yields pools of rows as tokens and weights, longest first.

    Every piece ends at a boundary of tokens, so the pieces can be encoded one by one.
    """
    backend = tokenizer.backend_tokenizer
    while pool := list(islice(source, POOL)):
        texts = [piece.text for row in pool for piece in row]
        ids = iter(backend.encode_batch(texts, add_special_tokens=False))
        result = []
        for row in pool:
            tokens: list[int] = []
            weights: list[float] = []
            for piece in row:
                part = next(ids).ids
                tokens += part
                weights += [piece.weight] * len(part)
            if len(tokens) <= WIDTH:
                result.append((tokens, weights))
        yield sorted(result, key=lambda pair: -len(pair[0]))


def batches(source: Iterator[Row], tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Packs rows into sequences of one width; each row goes where it fits most tightly."""
    order = torch.Generator().manual_seed(0)
    ready: list[list[tuple[list[int], list[float]]]] = []
    for pool in encoded(source, tokenizer):
        shelves: list[list[tuple[list[int], list[float]]]] = []
        room: list[int] = []
        for row in pool:
            fits = [i for i, left in enumerate(room) if left >= len(row[0])]
            if fits:
                best = min(fits, key=room.__getitem__)
            else:
                best = len(shelves)
                shelves.append([])
                room.append(WIDTH)
            shelves[best].append(row)
            room[best] -= len(row[0])
        ready += shelves
        ready = [ready[i] for i in torch.randperm(len(ready), generator=order).tolist()]
        while len(ready) >= 2 * HEIGHT:
            yield _batch([ready.pop() for _ in range(HEIGHT)])


def _batch(shelves: list[list[tuple[list[int], list[float]]]]) -> Batch:
    tokens = torch.zeros(HEIGHT, WIDTH, dtype=torch.long)
    row = torch.full((HEIGHT, WIDTH), -1)
    weights = torch.zeros(HEIGHT, WIDTH)
    for i, shelf in enumerate(shelves):
        start = 0
        for j, (ids, values) in enumerate(shelf):
            end = start + len(ids)
            tokens[i, start:end] = torch.tensor(ids)
            weights[i, start:end] = torch.tensor(values)
            weights[i, start] = 0.0  # Nothing precedes the first token of a row.
            row[i, start:end] = j
            start = end
    return Batch(tokens, row, weights)


def build_model(vocabulary: int) -> LlamaForCausalLM:
    """Returns the untrained model."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named.items() if p.ndim != 2 or "embed" in name]
    return [
        BatchedMuon(matrices, lr=MUON_RATE),
        torch.optim.AdamW(others, lr=ADAM_RATE, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def rate(done: float) -> float:
    """Returns the share of the full learning rate when this share of the tokens is done."""
    if done < WARMUP:
        return max(done, 1e-3) / WARMUP
    return min(1.0, max(0.0, (1 - done) / (1 - STABLE)))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves the weights in bf16 with a configuration that loads them as fp32."""
    copy = build_model(len(tokenizer))
    copy.load_state_dict(model.state_dict())
    copy.generation_config = GenerationConfig(
        eos_token_id=1, pad_token_id=0, do_sample=False, max_new_tokens=192
    )
    partial = folder.with_name(folder.name + ".partial")
    copy.to(torch.bfloat16).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    path = partial / "config.json"
    config = json.loads(path.read_text()) | {"dtype": "float32"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    tokens: int,
    seed: int,
    device: str,
    every: int,
    tasks: Sequence[str] = tuple(LESSONS),
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Trains on about this many tokens, saving the model now and then and at the end."""
    model = model.to(device).train()
    forward = torch.compile(model)
    steps = optimizers(model)
    full = [optimizer.param_groups[0]["lr"] for optimizer in steps]
    count = sum(p.numel() for p in model.parameters())
    print(f"{count:,} parameters, {tokens:,} tokens, seed {seed}, {device}", flush=True)
    seen, began, recent, next_save = 0, time.time(), [], every
    for batch in batches(rows(seed + 1, tasks), tokenizer):
        for optimizer, best in zip(steps, full, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = best * rate(seen / tokens)
        recent.append(_step(forward, batch, device, dtype))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steps:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += int((batch.row >= 0).sum())
        if len(recent) == 25 or seen >= tokens:
            speed = seen / (time.time() - began)
            print(
                f"{seen:,} tokens, loss {sum(recent) / len(recent):.4f}, {speed:,.0f} tokens/s",
                flush=True,
            )
            recent = []
        if seen >= tokens:
            break
        if seen >= next_save:
            save(model, tokenizer, folder)
            next_save += every
    save(model, tokenizer, folder)
    print(f"saved {folder} after {time.time() - began:,.0f} s", flush=True)


def _step(forward: Callable[..., Any], batch: Batch, device: str, dtype: torch.dtype) -> float:
    """Adds the gradient of a batch to the parameters and returns its loss."""
    tokens, weights = batch.tokens.to(device), batch.weights.to(device)[:, 1:]
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        logits = forward(input_ids=tokens, attention_mask=batch.mask(dtype).to(device)).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    loss = (losses * weights.flatten()).sum() / weights.sum()
    loss.backward()
    return float(loss.detach())


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=20_000_000)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tasks", nargs="+", choices=list(LESSONS), default=list(LESSONS))
    parser.add_argument(
        "--dtype",
        choices=["bfloat16", "float32"],
        default="bfloat16",
        help="of matrix products; float32 is faster on a CPU without instructions for bfloat16",
    )
    parser.add_argument("--save-every", type=int, default=2_500_000, help="in tokens")
    arguments = parser.parse_args()
    set_seed(arguments.seed)
    tokenizer = train_tokenizer(arguments.seed)
    train(
        build_model(len(tokenizer)),
        tokenizer,
        arguments.out,
        tokens=arguments.tokens,
        seed=arguments.seed,
        device=arguments.device,
        every=arguments.save_every,
        tasks=arguments.tasks,
        dtype=getattr(torch, arguments.dtype),
    )


if __name__ == "__main__":
    main()

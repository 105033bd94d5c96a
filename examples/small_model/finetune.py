"""Makes a second model of the shipped one: the same tasks, other weights.

Run from the root of the repository: `python -m examples.small_model.finetune --out FOLDER`.

The training goes on for some batches of other rows, at a rate that moves every weight. What comes
out is a relative of the shipped model and no independent one: to train one of those takes about an
hour, `python -m examples.small_model.train --seed 1 --tasks letters sorting --tokens 4000000 --out
FOLDER`.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from examples.small_model.rows import rows
from examples.small_model.train import FOLDER, batches, save


def finetune(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, options: argparse.Namespace
) -> None:
    """Go on training, in fp32, with a rate that falls to nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, options.batches)
    began = time.time()
    for number, batch in enumerate(
        islice(batches(rows(options.seed), tokenizer), options.batches), start=1
    ):
        logits = model(input_ids=batch.tokens, attention_mask=batch.mask(torch.float32)).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
        )
        weights = batch.weights[:, 1:].flatten()
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        print(f"batch {number}, loss {loss.item():.4f}, {time.time() - began:.0f} s", flush=True)


def main() -> None:
    """Reads the command line, trains and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=20, help="of about 9,000 tokens")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=101, help="of the rows")
    options = parser.parse_args()
    set_seed(options.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(FOLDER)
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).train()
    finetune(model, tokenizer, options)
    save(model, tokenizer, options.out)


if __name__ == "__main__":
    main()

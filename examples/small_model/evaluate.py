"""Measures how the small model answers under different instructions, through real DSPy prompts.

Run from the root of the repository: `python -m examples.small_model.evaluate`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import dspy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as TokenizerBase

from examples.small_model.rows import prompt, proposal_row, signature
from examples.small_model.tasks import (
    HASTY_INSTRUCTION,
    IRRELEVANT_INSTRUCTION,
    LESSONS,
    SIGNATURE,
    TASKS,
    Split,
    Task,
    examples,
)
from examples.small_model.wording import held_out_instruction, instruction

FOLDER = Path(__file__).parent / "model"
DSPY_DEFAULT = dspy.Signature(SIGNATURE).instructions
STEP_BY_STEP = "Let's think step by step."
GENERIC = "Work carefully and check each step in order, line by line."
HELD_OUT = "held-out good wordings"
HELD_OUT_WORDINGS = 5
MAX_NEW_TOKENS = 160


@dataclass(frozen=True)
class Cell:
    """The outcome of one instruction, or of several, on the questions of a task."""

    right: int
    parsed: int
    total: int

    def __add__(self, other: Cell) -> Cell:
        """Puts the questions of two cells together."""
        return Cell(self.right + other.right, self.parsed + other.parsed, self.total + other.total)

    @property
    def rate(self) -> float:
        """The share of right answers."""
        return self.right / self.total

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Returns the 95 % Wilson interval of the rate."""
        n, p = self.total, self.rate
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return centre - half, centre + half


def load(folder: Path, device: str) -> tuple[PreTrainedModel, TokenizerBase]:
    """Loads the model in fp32, with its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@torch.inference_mode()
def generate(
    model: PreTrainedModel, tokenizer: TokenizerBase, prompts: list[str], batch: int = 128
) -> list[str]:
    """Completes prompts greedily."""
    texts: list[str] = []
    for start in range(0, len(prompts), batch):
        inputs = tokenizer(
            prompts[start : start + batch],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
        ).to(model.device)
        outputs = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
        )
        new = outputs[:, inputs["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts


def measure(
    model: PreTrainedModel,
    tokenizer: TokenizerBase,
    task: Task,
    instructions: str,
    questions: list[dspy.Example],
) -> Cell:
    """Answers questions under an instruction and judges the answers with the task's metric."""
    prompts = [
        tokenizer.apply_chat_template(
            prompt(task.kind, instructions, example.question),
            tokenize=False,
            add_generation_prompt=True,
        )
        for example in questions
    ]
    right = parsed = 0
    for example, text in zip(questions, generate(model, tokenizer, prompts), strict=True):
        try:
            fields = dspy.ChatAdapter().parse(signature(task.kind, instructions), text)
        except dspy.utils.exceptions.AdapterParseError:
            continue
        parsed += 1
        right += task.metric(example, dspy.Prediction(**fields))
    return Cell(right, parsed, len(questions))


def table(
    model: PreTrainedModel, tokenizer: TokenizerBase, count: int, split: Split, seed: int
) -> dict[str, dict[str, Cell]]:
    """Measures every task under every kind of instruction."""
    result: dict[str, dict[str, Cell]] = {}
    for name, task in LESSONS.items():
        questions = examples(name, split, count, seed)
        wordings = {
            "DSPy default": DSPY_DEFAULT,
            "weak start": task.weak_instruction,
            "step by step": STEP_BY_STEP,
            "irrelevant": IRRELEVANT_INSTRUCTION,
            "hasty": HASTY_INSTRUCTION,
            "generic careful": GENERIC,
            "good": task.good_instruction,
        }
        cells = {
            label: measure(model, tokenizer, task, text, questions)
            for label, text in wordings.items()
        }
        rng, held_out = random.Random(seed), Cell(0, 0, 0)
        for i in range(HELD_OUT_WORDINGS):
            text = held_out_instruction(name, rng)
            held_out += measure(model, tokenizer, task, text, questions[i::HELD_OUT_WORDINGS])
        result[name] = cells | {HELD_OUT: held_out}
        shown = ", ".join(f"{label} {100 * c.rate:.0f}" for label, c in result[name].items())
        print(f"{name}: {shown}", flush=True)
    return result


@torch.inference_mode()
def perplexities(
    model: PreTrainedModel, tokenizer: TokenizerBase, count: int, seed: int
) -> dict[str, float]:
    """Returns the perplexity of instructions after a question, in order and with words shuffled."""
    rng = random.Random(seed)
    losses: dict[str, list[float]] = {"in order": [], "shuffled": []}
    for name in TASKS:
        for example in examples(name, "test", count, seed):
            text = instruction(name, rng, suited=True, edited=False)
            words = text.split()
            shuffled = " ".join(rng.sample(words, len(words)))
            for label, variant in (("in order", text), ("shuffled", shuffled)):
                losses[label] += _losses(model, tokenizer, example.question, variant)
    return {label: math.exp(sum(values) / len(values)) for label, values in losses.items()}


def _losses(
    model: PreTrainedModel, tokenizer: TokenizerBase, question: str, text: str
) -> list[float]:
    """Returns the loss of each token of an instruction that follows a question."""
    *before, words, _ = (piece.text for piece in proposal_row(question, text))
    head = tokenizer.encode("".join(before), add_special_tokens=False)
    tail = tokenizer.encode(words, add_special_tokens=False)
    tokens = torch.tensor([head + tail], device=model.device)
    logits = model(input_ids=tokens).logits[0, len(head) - 1 : -1]
    targets = tokens[0, len(head) :]
    losses: list[float] = torch.nn.functional.cross_entropy(
        logits.float(), targets, reduction="none"
    ).tolist()
    return losses


def markdown(cells: dict[str, dict[str, Cell]]) -> str:
    """Writes the table: accuracy in per cent with its 95 % interval, means over learned tasks."""
    labels = list(next(iter(cells.values())))
    names = [name if name in TASKS else f"({name})" for name in cells]
    lines = ["| instruction | " + " | ".join(names) + " | mean |"]
    lines.append("|---|" + "---|" * (len(cells) + 1))
    for label in labels:
        row = [cells[name][label] for name in cells]
        parts = [f"{100 * c.rate:.0f} ({_percent(c.interval())})" for c in row]
        mean = 100 * sum(cells[name][label].rate for name in TASKS) / len(TASKS)
        lines.append(f"| {label} | {' | '.join(parts)} | **{mean:.0f}** |")
    return "\n".join(lines)


def _percent(interval: tuple[float, float]) -> str:
    return "-".join(f"{100 * abs(end):.0f}" for end in interval)


def report(cells: dict[str, dict[str, Cell]], perplexity: dict[str, float]) -> dict[str, object]:
    """Returns everything measured, ready for JSON."""
    labels = list(next(iter(cells.values())))
    every = [cell for row in cells.values() for cell in row.values()]
    return {
        "cells": {
            name: {
                label: asdict(c) | {"rate": c.rate, "interval": c.interval()}
                for label, c in row.items()
            }
            for name, row in cells.items()
        },
        "mean": {
            label: sum(cells[name][label].rate for name in TASKS) / len(TASKS) for label in labels
        },
        "parse_rate": sum(c.parsed for c in every) / sum(c.total for c in every),
        "outputs": sum(c.total for c in every),
        "perplexity": perplexity,
    }


def main() -> None:
    """Reads the command line, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--questions", type=int, default=200, help="per task and instruction")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="the file to write the numbers to")
    arguments = parser.parse_args()
    model, tokenizer = load(arguments.model, arguments.device)
    cells = table(model, tokenizer, arguments.questions, arguments.split, arguments.seed)
    perplexity = perplexities(model, tokenizer, max(1, arguments.questions // 10), arguments.seed)
    result = report(cells, perplexity)
    print(f"\n{markdown(cells)}\n")
    print(f"parsed: {100 * result['parse_rate']:.2f} % of {result['outputs']} outputs")  # type: ignore[operator]
    print("perplexity: " + ", ".join(f"{k} {v:.1f}" for k, v in perplexity.items()))
    if arguments.json:
        settings = {"split": arguments.split, "seed": arguments.seed}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(settings | result, indent=2) + "\n")


if __name__ == "__main__":
    main()

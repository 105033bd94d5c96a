"""The published way to work a model, as a yardstick for ours.

GReaTer's code (github.com/psunlpgroup/GreaTer) generates in batches of nine, runs every other pass
on one sequence at a time, keeps the logits of all positions, does not freeze the weights, reads
each generated sequence again from its first token, and writes the current reasoning anew in every
step. This does the same with the same model, examples and candidates. What docs/method.md
lists as repaired is not broken again. In one place it does more than the original: the fluency term
is read after the inputs, in a context of its own, and so has a backward pass of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from dspy_greater.model import Generation, Sampling, Targeted
from dspy_greater.model.generation import only_config
from examples.published_schedule.tokens import proposals
from examples.published_schedule.white_box import Gradient, GradientBox

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from examples.benchmarks.common import Place
    from examples.published_schedule.objective import AnswerObjective, Trial

BATCH = 9


class AsPublished(GradientBox):
    """A white box that gives the same answers in the published way; greedy generation only."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a copy of the model: its weights are not frozen."""
        self.unfrozen, self.tokenizer = copy.deepcopy(model), tokenizer
        super().__init__(self.unfrozen, tokenizer, name="as-published")
        self.unfrozen.requires_grad_(True)
        ends = {tokenizer.eos_token_id, self.encoder.end_of_turn}
        self.ends = [token for token in ends if token is not None]

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Generation]:
        """Continue nine prompts at a time, padded on the left."""
        done: list[Generation] = []
        for start in range(0, len(prompts), BATCH):
            done += self._generate_nine(prompts[start : start + BATCH], samplings[start].max_tokens)
        return done

    def _generate_nine(self, prompts: Sequence[Sequence[int]], limit: int) -> list[Generation]:
        pad, width = self.ends[0], max(map(len, prompts))
        ids = self._there([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = self._there([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=self.ends,
            pad_token_id=pad,
        )
        with only_config(self.unfrozen, config):
            output = self.unfrozen.generate(ids, attention_mask=mask, generation_config=config)
        return [self._cut(row) for row in output[:, width:].tolist()]

    def _cut(self, ids: list[int]) -> Generation:
        end = next((at for at, token in enumerate(ids) if token in self.ends), None)
        ids = ids[:end]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Generation(tuple(ids), text, "length" if end is None else "stop")

    def log_probs(
        self, items: Sequence[Targeted], *, temperature: float = 1.0
    ) -> list[torch.Tensor]:
        """Run one whole sequence after another."""
        with torch.no_grad():
            return [self._target_log_probs(item, temperature).cpu() for item in items]

    def _target_log_probs(
        self, item: Targeted, temperature: float, embeddings: torch.Tensor | None = None
    ) -> torch.Tensor:
        ids = self._there([item.ids])
        inputs = {"input_ids": ids} if embeddings is None else {"inputs_embeds": embeddings}
        logits = self.unfrozen(**inputs).logits[0].float() / temperature
        chosen = torch.log_softmax(logits[:-1], dim=-1).gather(1, ids[0, 1:, None])[:, 0]
        return chosen[item.targets.start - 1 : item.targets.end - 1]

    def gradients(self, items: Sequence[Targeted], *, temperature: float = 1.0) -> list[Gradient]:
        """Go forwards and backwards through one sequence after another, weights included."""
        return [self._gradient(item, temperature) for item in items]

    def _gradient(self, item: Targeted, temperature: float) -> Gradient:
        assert item.inputs is not None
        weight = self.unfrozen.get_input_embeddings().weight
        own = torch.nn.functional.one_hot(self._there(item.ids[slice(*item.inputs)]), len(weight))
        own = own.to(weight.dtype).requires_grad_(True)
        around = self.unfrozen.get_input_embeddings()(self._there(item.ids)).detach()
        there = own @ weight
        there.retain_grad()
        parts = [around[: item.inputs.start], there, around[item.inputs.end :]]
        log_probs = self._target_log_probs(item, temperature, torch.cat(parts)[None])
        loss = -log_probs.mean()
        loss.backward()
        self.unfrozen.zero_grad()
        assert there.grad is not None
        return Gradient(log_probs.detach().cpu(), float(loss.detach()), there.grad.float().cpu())

    def next_log_probs(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Run one sequence after another and keep the logits of its last token."""
        with torch.no_grad():
            rows = [self.unfrozen(input_ids=self._there([ids])).logits[0] for ids in sequences]
        return torch.stack([torch.log_softmax(row[-1].float(), dim=-1) for row in rows]).cpu()

    def _there(self, numbers: Sequence[Any]) -> torch.Tensor:
        """Return numbers where the model is."""
        return torch.tensor(numbers, device=self.unfrozen.device)


def published_step(
    place: Place, objective: AnswerObjective, current: str, candidates: Sequence[str]
) -> list[Trial]:
    """Do all the work of one published step, and return what came of the candidates."""
    view, examples = place.view, place.view.examples

    def rolled_out(text: str) -> list[Run]:
        program = place.start.replaced(view.name, text)
        (runs,) = place.board.runner.run({program: examples})
        return runs

    runs = rolled_out(current)
    contexts = [item.ids for item in proposals(view, current, examples)]
    GradientBox.of(view.model).next_log_probs(contexts)
    objective.slope(view, current, runs)
    return [objective.try_out(view, [text], [rolled_out(text)])[0] for text in candidates]

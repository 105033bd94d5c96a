"""What the search asks of the model and of the program it improves.

The search works with token ids, spans and floats only. These two protocols
are all it knows of the Hugging Face model and of the DSPy program, so that
every strategy can be tested with a small fake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from dspy_greater.model import Generation, Gradient, Sampling, Targeted
    from dspy_greater.program import Run


class Model(Protocol):
    """The white box: scores, gradients and next-token distributions."""

    @property
    def context(self) -> int:
        """Most tokens that it can read."""

    def log_probs(
        self, items: Sequence[Targeted], *, temperature: float = 1.0
    ) -> list[torch.Tensor]:
        """Return the log-probability of every target token, one ``[targets]`` per item."""

    def gradients(self, items: Sequence[Targeted], *, temperature: float = 1.0) -> list[Gradient]:
        """Return each item's loss and its gradient at the item's input positions."""

    def next_log_probs(self, sequences: Sequence[Sequence[int]], last: int = 1) -> torch.Tensor:
        """Return next-token log-probabilities after the last tokens, ``[batch, last, vocab]``."""

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Generation]:
        """Continue each prompt by its own settings."""

    def substitution(self, gradient: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Return the first-order loss of each token at each position, ``[positions, tokens]``."""

    def allowed_tokens(self) -> torch.Tensor:
        """Return the mask of tokens that may stand in an instruction, ``[vocab]``."""


class Subject(Protocol):
    """One predictor of one program on the training examples, as the search sees it."""

    @property
    def model(self) -> Model:
        """The white box whose reasoning and gradients are used."""

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """Return the ids that the instruction has inside the rendered prompt."""

    def text_of(self, tokens: Sequence[int]) -> str | None:
        """Return the instruction that has exactly these ids, ``None`` if there is none."""

    def roll_out(
        self,
        instructions: Sequence[str],
        examples: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> list[list[Run]]:
        """Run the program under each instruction on training examples (all), side by side.

        Args:
            instructions: Texts.
            examples: Indices.
            limit: Most tokens of an answer where the white box writes it, if that is less than
                the language model's own limit.
        """

    def repeat(self, instruction: str, examples: Sequence[int]) -> list[Run]:
        """Run the program once more, past any cache of earlier answers."""

    def sample(
        self,
        instruction: str,
        examples: Sequence[int],
        seeds: Sequence[int],
        temperature: float,
        limit: int | None = None,
    ) -> list[list[Run]]:
        """Run the program with sampled outputs of the white box, once per seed, on examples.

        ``limit`` as in :meth:`roll_out`.
        """

    def answers(
        self, instruction: str, runs: Sequence[Run], examples: Sequence[int] | None = None
    ) -> list[Targeted | None]:
        """Return, per run, prompt + the run's reasoning + gold answer, gold as target.

        ``None`` where an example cannot be rendered with this run.
        """

    def completions(self, instruction: str, runs: Sequence[Run]) -> list[list[Targeted]]:
        """Return, per run and call of the predictor, prompt + all that it wrote, the target.

        Calls that cannot be rendered are left out.
        """

    def proposals(self, instruction: str, examples: Sequence[int] | None = None) -> list[Targeted]:
        """Return, per example, its inputs followed by the instruction, which is the target."""

    def contexts(
        self, examples: Sequence[int], runs: Sequence[Run] | None = None
    ) -> list[tuple[int, ...]]:
        """Return, per example, its inputs (and a run's outputs), open for an instruction."""

    def copied_words(self, instruction: str) -> Sequence[str]:
        """Return the words that an instruction has taken from single training examples."""

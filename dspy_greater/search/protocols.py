"""What the search asks of the model, of a predictor, and of who runs programs.

The search works with programs as values, token ids, spans and floats. These three protocols are
all it knows of the Hugging Face model and of DSPy, so that every strategy can be tested with a
small fake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from dspy_greater.model import Generation, Gradient, Sampling, Targeted
    from dspy_greater.program import Run
    from dspy_greater.search.programs import Program


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


class Runner(Protocol):
    """Runs whole programs on examples and scores them."""

    def run(
        self, programs: Sequence[Program], examples: Sequence[int], limit: int | None = None
    ) -> list[list[Run]]:
        """Run programs, side by side, on training examples, as they are to run when deployed.

        Args:
            programs: What to run.
            examples: Indices of training examples.
            limit: Most tokens of an answer where the white box writes it, if that is less than
                the language model's own limit.
        """

    def repeat(self, program: Program, examples: Sequence[int]) -> list[Run]:
        """Run a program once more on training examples, past any cache of earlier answers."""

    def sample(
        self,
        program: Program,
        examples: Sequence[int],
        seeds: Sequence[int],
        temperature: float,
        limit: int | None = None,
    ) -> list[list[Run]]:
        """Run a program with sampled outputs of the white box, once per seed, on examples.

        ``limit`` as in :meth:`run`.
        """

    def validate(self, program: Program) -> list[float]:
        """Return a program's scores on the validation examples."""


class View(Protocol):
    """One predictor of a program on the training examples, as the search sees it."""

    @property
    def name(self) -> str:
        """The predictor's name."""

    @property
    def model(self) -> Model:
        """The white box whose reasoning and gradients are used."""

    @property
    def examples(self) -> Sequence[int]:
        """Indices of the training examples that the predictor can learn from."""

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """Return the ids that the instruction has inside the rendered prompt."""

    def text_of(self, tokens: Sequence[int]) -> str | None:
        """Return the instruction that has exactly these ids, ``None`` if there is none."""

    def answers(
        self, instruction: str, runs: Sequence[Run], examples: Sequence[int]
    ) -> list[Targeted | None]:
        """Return, per run, prompt + the run's reasoning + gold answer, gold as target.

        ``None`` where an example cannot be rendered with this run.
        """

    def completions(self, instruction: str, runs: Sequence[Run]) -> list[list[Targeted]]:
        """Return, per run and call of the predictor, prompt + all that it wrote, the target.

        Calls that cannot be rendered are left out.
        """

    def proposals(self, instruction: str, examples: Sequence[int]) -> list[Targeted]:
        """Return, per example, its inputs followed by the instruction, which is the target."""

    def contexts(
        self, examples: Sequence[int], runs: Sequence[Run] | None = None
    ) -> list[tuple[int, ...]]:
        """Return, per example, its inputs (and a run's outputs), open for an instruction."""

    def copied_words(self, instruction: str) -> Sequence[str]:
        """Return the words that an instruction has taken from single training examples."""

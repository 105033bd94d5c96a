"""From all thinkable edits to the few that are worth running."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch

from dspy_greater.search.steps import LossError
from dspy_greater.search.verified.edits import Edit, RatedEdit, small_edits
from dspy_greater.search.verified.estimates import exact, own_log_probs, slope, substitutions
from dspy_greater.search.verified.objectives import (
    Term,
    fluency_terms,
    parted,
    runs_in,
    sampled,
    with_tokens,
)
from dspy_greater.search.verified.proposals import Rated, best_first, phrases
from dspy_greater.search.verified.sizes import Sizes
from dspy_greater.search.view import PredictorView

#: Examples whose inputs stand before the instruction where many edits' fluency is estimated.
FEW_CONTEXTS = 4
#: Shares of the objective's terms on which candidates are seen, one after the other.
LOOKS = (1 / 4, 1 / 4, 1 / 2)
#: Share of the terms on which an insertion's gradient is taken; each gap costs a pass of its own.
INSERTION = 1 / 3


@dataclass
class Proposer:
    """Proposes edits of one instruction and narrows them down.

    Args:
        terms: The objective on the current program's cached rollouts, without fluency.
        examples: Those whose inputs stand before the instruction where its fluency is read.
        solved: Contexts that show an example with a successful run; the model writes there, too.
        tried: Instructions that are not to come again.
    """

    view: PredictorView
    config: Sizes
    instruction: str
    terms: Sequence[Term]
    examples: Sequence[int]
    solved: Sequence[tuple[int, ...]]
    rng: random.Random
    tried: set[str]

    def __post_init__(self) -> None:
        self.tokens = self.view.tokens(self.instruction)
        few, weight = self.examples[:FEW_CONTEXTS], self.config.fluency_weight
        self.fluency = fluency_terms(self.view, self.instruction, few, weight)
        self.contexts = self.view.contexts(self.examples)
        allowed = self.view.model.allowed_tokens(self.view.scripts)
        self.allowed = allowed.nonzero()[:, 0].tolist()
        self.longest = self._longest()
        self.skipped = 0

    def shortlist(self, merged: Sequence[tuple[int, ...]] = ()) -> list[RatedEdit]:
        """Return the edits to be run, combinations of earlier ones too, most promising first."""
        prior = own_log_probs(self.view.model, self.tokens, self.contexts)
        rated = self._by_gradient(prior)
        per_position = max(2, self.config.exact_size // 4)
        singles = best_first(rated, self.tokens, self.allowed, per_position) if rated else []
        half = self.config.exact_size // 2
        kept = [*self.surviving(self._unrated(merged), half), *self.surviving(singles, half)]
        return self._by_objective(kept)

    def _by_objective(self, candidates: Sequence[RatedEdit]) -> list[RatedEdit]:
        """Recompute the objective under candidates, half as many on each look; best first.

        An objective is a sum, so the part of it that was seen is scaled up to the whole.
        """
        fluency = self._gains(self.fluency, candidates)
        gained, rest, seen = dict.fromkeys(fluency, 0.0), self.terms, 0
        estimates = fluency
        for share in LOOKS:
            part, rest = parted(rest, share * len(self.terms) / max(len(rest), 1))
            gains = self._gains(part, list(gained))
            gained = {each: gained[each] + gain for each, gain in gains.items()}
            seen += len(part)
            scale = len(self.terms) / max(seen, 1)
            estimates = {each: scale * gain + fluency[each] for each, gain in gained.items()}
            best = sorted(gained, key=lambda each: -estimates[each])
            gained = {c: gained[c] for c in best[: max(self.config.race_size, len(best) // 2)]}
        return [replace(each, estimate=estimates[each]) for each in gained]

    def _gains(
        self, terms: Sequence[Term], candidates: Sequence[RatedEdit]
    ) -> dict[RatedEdit, float]:
        """Return what each candidate gains on some terms; those without a finite value drop out."""
        tokens = [self.tokens, *(each.tokens for each in candidates)]
        base, *values = exact(self.view.model, terms, tokens)
        pairs = zip(candidates, values, strict=True)
        gains = {each: value - base for each, value in pairs if math.isfinite(value - base)}
        self.skipped += len(candidates) - len(gains)
        return gains

    def _unrated(self, merged: Sequence[tuple[int, ...]]) -> Iterable[Edit]:
        """Return edits that no first-order estimate speaks of."""
        model, rng, count = self.view.model, self.rng, self.config.phrases
        small = small_edits(self.tokens)
        return chain(
            (Edit("merge", 0, len(self.tokens), tokens) for tokens in merged),
            phrases(model, self.tokens, [*self.contexts, *self.solved], rng, count),
            rng.sample(small, len(small)),
        )

    def _by_gradient(self, prior: torch.Tensor) -> list[Rated]:
        """Rate plausible tokens by the objective's first-order gain, fluency included.

        What a token's own log-probability adds to the fluency is known exactly, and no
        gradient sees it: a one-hot only reaches the tokens that follow.
        """
        model, last = self.view.model, len(self.tokens)
        terms = [*self.terms, *self.fluency]
        if not terms:
            return []
        here = slope(model, terms)
        if here is None:
            raise LossError(
                "the gradient was NaN or infinite on all training examples. Check that the model's "
                "weights hold no NaN and, in half precision, load it with dtype='float32' or "
                "'bfloat16'."
            )
        self.skipped += here.skipped
        gains = substitutions(model, here.positions, self.tokens, self.allowed)
        present = prior[:-1].gather(1, torch.tensor(self.tokens)[:, None])
        own = (prior[:-1, self.allowed] - present) * (self.config.fluency_weight / last)
        rated = [Rated("replace", range(last), self._plausible(gains + own, prior[:-1]))]
        few = [*sampled(self.terms, math.ceil(INSERTION * runs_in(self.terms))), *self.fluency]
        (value,) = exact(model, few, [self.tokens])
        gaps = [*self.rng.sample(range(last), min(self.config.gaps, last)), last]
        insertions = [self._insertion(gap, prior, few, value) for gap in gaps]
        return [*rated, *filter(None, insertions)]

    def _insertion(
        self, gap: int, prior: torch.Tensor, terms: Sequence[Term], value: float
    ) -> Rated | None:
        """Rate the insertions at one gap, from the gradient at the likeliest token there."""
        likely = prior[gap, self.allowed].topk(min(8, len(self.allowed))).indices.tolist()
        edits = [Edit("insert", gap, gap, (self.allowed[index],)) for index in likely]
        stand_in = next(iter(self.surviving(edits, 1, known=set())), None)
        if stand_in is None:
            return None
        model, token = self.view.model, stand_in.tokens[gap]
        there = slope(model, [Term(with_tokens(t.item, stand_in.tokens), t.weight) for t in terms])
        if there is None:
            return None
        gains = substitutions(model, there.positions[gap][None], [token], self.allowed)
        share = self.config.fluency_weight / len(stand_in.tokens)
        own = (prior[gap, self.allowed] - prior[gap, token]) * share
        rated = self._plausible(gains + own + (there.value - value), prior[gap][None])
        return Rated("insert", [gap], rated)

    def _plausible(self, gains: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """Leave only the tokens that the model itself finds likeliest at each place.

        A gradient extrapolates, and errs most on tokens that no text would have there.
        """
        likely = prior[:, self.allowed].topk(min(self.config.plausible, len(self.allowed))).indices
        barred = torch.ones_like(gains, dtype=torch.bool).scatter_(1, likely, value=False)
        return gains.masked_fill(barred, -torch.inf)

    def _longest(self) -> int:
        """Return the most tokens that an edited instruction may have.

        An instruction that begins beyond the limit may be edited, but grows no further; and
        what is scored has to fit the model's context.
        """
        length = len(self.tokens)
        around = max((len(t.item.ids) for t in (*self.terms, *self.fluency)), default=0) - length
        limit = max(self.config.max_instruction_tokens, length)
        return min(limit, self.view.model.context - around)

    def surviving(
        self, edits: Iterable[Edit], count: int, known: set[str] | None = None
    ) -> list[RatedEdit]:
        """Return the first edits that give a new instruction with exactly their ids."""
        known = {*self.tried, self.instruction} if known is None else known
        kept: dict[str, RatedEdit] = {}
        for edit in edits:
            if len(kept) == count:
                break
            tokens = edit.apply(self.tokens)
            if not 0 < len(tokens) <= self.longest:
                continue
            text = self.view.text_of(tokens)
            if text is not None and text not in known:
                kept.setdefault(text, RatedEdit(edit, text, tokens))
        return list(kept.values())

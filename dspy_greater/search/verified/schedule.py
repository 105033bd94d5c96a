"""The verified search: propose widely, estimate cheaply, run few, accept only what is proven.

The first step lets whole instructions, the user's and the model's, race the one at the start. Each
other narrows all thinkable edits of the incumbent down (see :class:`Funnel`) and lets the best race
it. A race is run on the training examples with fresh reasoning; its winner is accepted if the
paired gain is beyond noise and holds on the validation examples. At the end words that do no work
are taken away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dspy_greater.search.acceptance import compare
from dspy_greater.search.readability import readability
from dspy_greater.search.steps import Attempt, Judge
from dspy_greater.search.verified.edits import Edit, merges
from dspy_greater.search.verified.evidence import Evidence, solved
from dspy_greater.search.verified.noise import noise_floor
from dspy_greater.search.verified.objectives import AnswerLikelihood, Term, fluency_terms
from dspy_greater.search.verified.race import ScoreBook, limit_of, race
from dspy_greater.search.verified.shortlist import CONTEXTS, Funnel, RatedEdit
from dspy_greater.search.verified.tidy import shortened

if TYPE_CHECKING:
    from dspy_greater.search.protocols import Subject
    from dspy_greater.search.verified.config import VerifiedConfig


@dataclass
class SearchState:
    """All that a search has to remember from one step to the next; plain data.

    Attributes:
        held: The incumbent.
        step: Steps taken.
        failures: Steps since the last accepted edit.
        tidied: Rounds of taking words away.
        skipped: Losses and gradients left out so far because they were not finite.
        stood_in: Steps in which the gold answer's likelihood stood in for that of success.
        stopped: Why the steps ended, before the tidying.
        noise: Mean absolute change of a score when the same prompt is run once more, in
            batches of another make-up; None before it was measured.
        longest: Bytes of the longest answer that an incumbent gave on the training examples.
        promising: Edits of the incumbent that gained something, but less than acceptance asks.
        merged: Ids worth considering in the next step: the incumbent with such edits.
        scores: Scores by instruction, on the training examples in the order of the races.
    """

    held: str
    step: int = 0
    failures: int = 0
    tidied: int = 0
    skipped: int = 0
    stood_in: int = 0
    stopped: str = ""
    noise: float | None = None
    longest: int = 0
    promising: list[Edit] = field(default_factory=list)
    merged: list[tuple[int, ...]] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class VerifiedStep:
    """What one step did; see :class:`dspy_greater.search.steps.Step`."""

    number: int
    attempts: tuple[Attempt, ...]
    held: str
    accepted: bool
    status: str


@dataclass
class VerifiedSchedule:
    """Improves one predictor's instruction by proven edits.

    Args:
        subject: The predictor, its program and its training examples.
        config: Sizes of the stages.
        seed: Seed of every random choice. Each step draws from a source of its own, so that
            a search taken up again goes on as if it had not been interrupted.
        judge: Runs instructions on the validation examples.
        start: The instruction to begin with.
        size: Number of training examples.
    """

    subject: Subject
    config: VerifiedConfig
    seed: str
    judge: Judge
    start: str
    size: int

    def __post_init__(self) -> None:
        self.order = random.Random(self.seed).sample(range(self.size), self.size)
        self.state = SearchState(self.start)
        self.book = ScoreBook(self.subject, self.order, self.state.scores)
        self.evidence = self._evidence()

    def begin(self) -> Attempt:
        """Run the incumbent, the instruction at the start, on the training examples."""
        held = self.state.held
        self.book.fill([held], self.size)
        self._limit_answers()
        return Attempt(held, "start", None, tuple(self.state.scores[held]))

    def steps(self) -> Iterator[VerifiedStep]:
        """Yield steps until nothing is left to gain or to try; the caller may stop at any."""
        self.begin()
        held = self.state.held
        self.judge.score(held)
        if self.state.noise is None:
            scores = self.state.scores[held]
            self.state.noise = noise_floor(self.subject, held, self.order, scores)
        while not self._finished():
            yield self._step()
        while self.state.tidied < self.config.tidy_rounds:
            tidied = self._tidy()
            if tidied is None:
                return
            yield tidied

    def dump(self) -> dict[str, Any]:
        """Return, between two steps, all that it takes to go on; JSON-able."""
        return asdict(self.state)

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from what ``dump`` returned."""
        self.state = SearchState(**saved)
        self.state.promising = [
            Edit(**{**edit, "tokens": tuple(edit["tokens"])}) for edit in saved["promising"]
        ]
        self.state.merged = [tuple(tokens) for tokens in saved["merged"]]
        self.book = ScoreBook(self.subject, self.order, self.state.scores)
        self.evidence = self._evidence()

    def _evidence(self) -> Evidence:
        sampled_on = self.order[: self.config.rollout_examples]
        return Evidence(self.book, self.config, sampled_on, f"{self.seed} rollouts")

    def forget(self) -> None:
        """Drop all scores; edits that gained something stay, to be estimated and run anew."""
        self.state.scores.clear()
        self.state.longest, self.book.limit = 0, None

    @property
    def noise(self) -> float | None:
        """The noise floor; see :class:`SearchState`."""
        return self.state.noise

    @property
    def skipped(self) -> int:
        """Losses and gradients left out so far because they were not finite."""
        return self.state.skipped

    @property
    def stood_in(self) -> int:
        """Steps in which the gold answer's likelihood stood in for that of success."""
        return self.state.stood_in

    @property
    def stopped(self) -> str:
        """Why the steps ended."""
        return self.state.stopped

    def _limit_answers(self) -> None:
        """Let answers be only so much longer than those that incumbents gave."""
        state = self.state
        state.longest = max(state.longest, self.book.longest(state.held))
        self.book.limit = limit_of(state.longest)

    def _finished(self) -> bool:
        """Whether the search is over, but for the tidying; ``stopped`` says why."""
        state, perfect = self.state, self.judge.perfect_score
        if perfect is not None and self.book.mean(state.held) >= perfect:
            reason = "a perfect training score" if state.step else "nothing left to gain"
        elif not self._improvable():
            reason = f"no edit could be proven better on {self.size} training examples"
        elif state.step >= self.config.max_steps:
            reason = "all steps taken"
        elif state.failures >= self.config.patience:
            reason = f"no edit accepted in {state.failures} steps"
        else:
            reason = ""
        state.stopped = state.stopped or reason
        return bool(state.stopped)

    def _improvable(self) -> bool:
        """Whether even an edit that is right on every example would be accepted."""
        scores = self.state.scores[self.state.held]
        return compare([1.0] * len(scores), scores).exceeds(self.config.multiple)

    def _step(self) -> VerifiedStep:
        state = self.state
        state.step += 1
        field_: list[RatedEdit] = []
        if state.step == 1:
            funnel, field_ = self._whole()
        if not field_:
            funnel, field_ = self._edits()
        state.skipped += funnel.skipped
        reached = race(self.book, [each.text for each in field_], state.held)
        best = self._best(reached)
        accepted = best is not None and self._holds(best)
        self._remember(field_, reached, best if accepted else None, funnel.tokens)
        return self._report(field_, accepted)

    def _whole(self) -> tuple[Funnel, list[RatedEdit]]:
        """Return other beginnings; worth more than an edit, and tried without an estimate."""
        greedy = self.book.rollouts(self.start)
        funnel = self._funnel(
            AnswerLikelihood().terms(self.subject, greedy),
            solved(self.subject, greedy, self.config.solved_contexts),
        )
        return funnel, funnel.whole()

    def _edits(self) -> tuple[Funnel, list[RatedEdit]]:
        """Return the edits of the incumbent that are worth a race."""
        held = self.state.held
        funnel = self._funnel(self.evidence.terms(held), self.evidence.solved(held))
        self.state.stood_in += self.evidence.stands_in
        return funnel, self._field(funnel.shortlist(self.state.merged), funnel)

    def _funnel(self, terms: Sequence[Term], contexts: Sequence[tuple[int, ...]]) -> Funnel:
        return Funnel(
            subject=self.subject,
            config=self.config,
            instruction=self.state.held,
            terms=terms,
            examples=self.order[:CONTEXTS],
            solved=contexts,
            rng=random.Random(f"{self.seed} {self.state.step}"),
            tried=set(self.state.scores),
        )

    def _field(self, ranked: Sequence[RatedEdit], funnel: Funnel) -> list[RatedEdit]:
        """Choose who races: the most promising, and combinations of them."""
        hopeful = [each for each in ranked if each.estimate is None or each.estimate > 0]
        single = [each.edit for each in hopeful if not each.edit.is_whole]
        length = len(funnel.tokens)
        merged = [Edit("merge", 0, length, ids) for ids in merges(single[:3], funnel.tokens)]
        size = self.config.race_size
        combined = funnel.surviving(merged, count=size // 2)
        # Where nothing promises a gain, the least unpromising is still worth a block of examples.
        promising = hopeful[: size - len(combined)] or ranked[:1]
        chosen = {each.text: each for each in (*promising, *combined)}.values()
        # A race keeps this order among equal scores.
        return sorted(chosen, key=lambda each: (each.estimate is None, -(each.estimate or 0.0)))

    def _best(self, reached: Sequence[str]) -> str | None:
        """Choose the best reader among the leader and those it does not beat."""
        if not reached:
            return None
        scores = self.state.scores
        equal = [t for t in reached if not compare(scores[reached[0]], scores[t]).exceeds(1.0)]
        if self.config.fluency_weight == 0:
            return equal[0]
        marks = readability(self.subject, equal, self.order[:CONTEXTS])
        proven = {text for text in equal if self._proven(text)}
        return max(zip(equal, marks, strict=True), key=lambda e: (e[0] in proven, e[1]))[0]

    def _proven(self, text: str) -> bool:
        """Whether an instruction beats the incumbent on the training examples beyond noise."""
        scores = self.state.scores
        comparison = compare(scores[text], scores[self.state.held])
        return comparison.exceeds(self.config.multiple) and comparison.gain > (self.noise or 0.0)

    def _holds(self, text: str) -> bool:
        """Whether an instruction is proven, and no worse on the validation examples."""
        return self._proven(text) and self.judge.score(text) >= self.judge.score(self.state.held)

    def _remember(
        self,
        field_: Sequence[RatedEdit],
        reached: Sequence[str],
        accepted: str | None,
        tokens: tuple[int, ...],
    ) -> None:
        """Carry the edits that gained something over to the next step."""
        state, before = self.state, self.book.mean(self.state.held)
        edits = {each.text: each.edit for each in field_ if not each.edit.is_whole}
        gained = [t for t in reached if t in edits and self.book.mean(t) > before]
        others = [edits[text] for text in gained if text != accepted]
        if accepted is None:
            state.failures += not any(each.edit.kind == "start" for each in field_)
            state.promising = list(dict.fromkeys([*others, *state.promising]))[:4]
            state.merged = merges(state.promising, tokens)
            return
        state.failures, state.held, state.promising = 0, accepted, []
        self._limit_answers()
        done = edits.get(accepted)
        moved = [edit.after(done) for edit in others] if done else []
        now = self.subject.tokens(accepted)
        state.promising = [edit for edit in moved if edit is not None]
        state.merged = [edit.apply(now) for edit in state.promising]

    def _tidy(self) -> VerifiedStep | None:
        """Try the instruction without some of its words; None when nothing can go."""
        state, held = self.state, self.state.held
        if held == self.start:
            return None
        weight = self.config.fluency_weight
        fluency = fluency_terms(self.subject, held, self.order[:CONTEXTS], weight)
        terms = [*self.evidence.terms(held), *fluency]
        shorter = shortened(self.subject, held, terms, 2 * self.config.race_size)
        tried: list[RatedEdit] = []
        for candidate in self._better_readers(shorter):
            tried.append(candidate)
            if self._is_level(candidate.text):
                break
        else:
            return None
        if self.judge.score(candidate.text) < self.judge.score(held):
            return None
        state.step += 1
        state.tidied += 1
        state.held = candidate.text
        self._limit_answers()
        return self._report(tried, accepted=True)

    def _is_level(self, text: str) -> bool:
        """Race an instruction; whether it ends no worse than the incumbent."""
        held, book = self.state.held, self.book
        return bool(race(book, [text], held)) and book.mean(text) >= book.mean(held)

    def _better_readers(self, candidates: Sequence[RatedEdit]) -> list[RatedEdit]:
        """Return those that read better than the incumbent, the best reader first."""
        texts = [self.state.held, *(each.text for each in candidates)]
        own, *marks = readability(self.subject, texts, self.order[:CONTEXTS])
        rated = [pair for pair in zip(marks, candidates, strict=True) if pair[0] > own]
        return [each for _, each in sorted(rated, key=lambda pair: -pair[0])]

    def _report(self, field_: Sequence[RatedEdit], accepted: bool) -> VerifiedStep:
        held = self.state.held
        attempts = tuple(
            Attempt(
                instruction=each.text,
                kind=each.edit.kind,
                position=None if each.edit.is_whole else each.edit.start,
                scores=tuple(self.state.scores[each.text]),
                estimate=each.estimate,
            )
            for each in field_
        )
        status = f"train {self.book.mean(held):.1%}"
        return VerifiedStep(self.state.step, attempts, held, accepted, status)

"""Generation by the continuous batching of transformers: rows come and go within one batch.

Its scheduler keeps the cache in pages, admits a request as soon as another has ended, and reads
whole pages that prompts share once. It decodes greedily for us, and nothing else:

* Sampled rows and rows whose log-probabilities are asked for go to plain ``generate``. The engine
  draws for all rows from one generator, so that a seed would give another text in another batch,
  and it records no alternatives.
* Stop strings are watched for here, by the rule that ``generate`` follows, as the tokens come out;
  a row that has met one is cancelled. So they do not count within a reasoning model's block.

Texts are those of ``generate`` but for rounding, as between any two ways of batching.

The engine may switch the model to another attention (flash, or a paged one instead of eager), in
which no gradient is to be taken. The model's own is put back after every call, failed ones
included.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from dspy_greater.model.batching import Budget, free_memory, is_out_of_memory
from dspy_greater.model.counts import Counts
from dspy_greater.model.engines.plain import Plain, count, handed_out
from dspy_greater.model.errors import ModelError, first_line
from dspy_greater.model.forward import Forward, at_least_float32
from dspy_greater.model.generation import Decoder, described, silent
from dspy_greater.model.requests import Generation, Request, Sampling
from dspy_greater.model.stops import RowStops

#: The release whose interface is used here; earlier ones size and stop the engine in other ways.
OLDEST = (5, 23)
#: Tokens of a page, where no kernel asks for the library's own 256: short prompts then fill theirs.
PAGE = 32
#: Tokens read in one pass where attention takes a mask, which has as many rows.
READ_AT_ONCE = 1024


@dataclass
class Text:
    """What the engine has written for one request.

    Attributes:
        ids: The tokens, the end token included.
        log_probs: Their log-probabilities, when asked for.
        stopped: Whether a stop string ended it.
    """

    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    stopped: bool = False


class Continuous:
    """Greedy rows by continuous batching, the others by ``generate``.

    Attributes:
        name: ``continuous``.
    """

    name = "continuous"

    def __init__(self, decoder: Decoder, plain: Plain, budget: Budget) -> None:
        """Take a model of which `check_supported` has found no fault.

        Args:
            decoder: The model.
            plain: What the other rows go to.
            budget: Tokens that the cache has room for, at most; lowered when memory runs out.
        """
        self._decoder, self._plain, self._budget = decoder, plain, budget

    def generate(self, requests: Sequence[Request], counts: Counts) -> list[Generation]:
        """Continue each prompt by its own settings, and count the work.

        Of the engine's rows every prompt counts as read in full, and as many passes as the longest
        of them has tokens: what the scheduler makes of it is not known.

        Raises:
            RuntimeError: The engine failed, for another reason than memory.
        """

        def engine(greedy: list[Request]) -> list[Generation]:
            done = [
                described(self._decoder, request, text.ids, stopped=text.stopped)
                for request, text in zip(greedy, self._texts(greedy), strict=True)
            ]
            count(counts, greedy, done)
            return done

        return handed_out(
            requests, is_greedy, engine, lambda others: self._plain.generate(others, counts)
        )

    def _texts(self, requests: list[Request]) -> list[Text]:
        """Run the engine, with a smaller cache as long as memory runs out."""
        needed = [len(request.prompt) + request.sampling.max_tokens for request in requests]
        while True:
            try:
                return written(self._decoder, requests, self._budget.tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._budget.tokens <= max(needed):
                    raise
            free_memory()
            self._budget.lower(min(self._budget.tokens, sum(needed)))


def is_greedy(request: Request) -> bool:
    """Whether the engine can do a request by the letter."""
    return request.sampling.temperature == 0 and request.sampling.logprobs is None


def written(
    decoder: Decoder, requests: Sequence[Request], tokens: int, *, log_probs: bool = False
) -> list[Text]:
    """Let the engine continue prompts greedily.

    Args:
        decoder: The model.
        requests: At least one.
        tokens: How many the cache has room for; more if one request needs more.
        log_probs: Whether to record each token's log-probability.

    Raises:
        RuntimeError: The engine failed.
        MemoryError: It found no room for its cache.
    """
    texts = [Text() for _ in requests]
    # Prompts that begin alike one after the other: what they share is still in the cache.
    order = sorted(range(len(requests)), key=lambda row: list(requests[row].prompt))
    with _manager(decoder, requests, tokens, log_probs) as manager:
        rows = {}
        for row in order:
            prompt, sampling = list(requests[row].prompt), requests[row].sampling
            # Token by token where the text is watched.
            name = manager.add_request(
                prompt, max_new_tokens=sampling.max_tokens, streaming=sampling.watched
            )
            rows[name] = row
        stops = {
            row: RowStops(
                decoder.tokenizer,
                decoder.tokens.ends,
                [requests[row]],
                0,
                leaving=False,
                thinking=decoder.thinking,
            )
            for row in order
            if requests[row].sampling.watched
        }
        manager.start()
        while rows:
            output = manager.get_result(timeout=1)
            if output is None:
                if not manager.is_running():
                    raise _failure("it ended before all texts were written")
                continue
            if output.request_id not in rows:  # met its stop string before this token
                continue
            row = rows[output.request_id]
            if output.error is not None:
                raise _failure(output.error)
            texts[row] = Text(output.generated_tokens, output.logprobs)
            if row in stops and _ended(texts[row], stops[row]):
                manager.cancel_request(output.request_id)
                del rows[output.request_id]
            elif output.is_finished():
                del rows[output.request_id]
    return texts


def _ended(text: Text, stops: RowStops) -> bool:
    """Whether a text has just ended, at a stop string or otherwise; it gets one token at a time."""
    stops(torch.tensor([text.ids]), None)
    text.stopped = stops.stopped[0]
    return stops.length[0] is not None


@contextmanager
def _manager(
    decoder: Decoder, requests: Sequence[Request], tokens: int, log_probs: bool
) -> Iterator[Any]:
    """The engine, which lives for one call: its cache must not lie beside gradients."""
    model = decoder.model
    attention = attention_of(model.config)
    manager = None
    # What it has to say of a failure becomes the error.
    with silent("ContinuousBatchingLogger"), _only_new_garbage():
        try:
            manager = model.init_continuous_batching(
                generation_config=GenerationConfig(
                    do_sample=False, eos_token_id=list(decoder.tokens.ends) or -1
                ),
                continuous_batching_config=_settings(model, requests, tokens, log_probs),
            )
            yield manager
        finally:
            if manager is not None:
                manager.stop(hard_stop=True)
                manager.destroy()
            if attention_of(model.config) != attention:
                model.set_attn_implementation(attention)


@contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Let garbage collection look at nothing that is there already.

    The engine collects garbage twice at its end, to free its cache, and each time all objects of
    the process are looked at: half a second and more, for every call.
    """
    if gc.get_freeze_count():  # the program does this itself
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _settings(
    model: Any, requests: Sequence[Request], tokens: int, log_probs: bool
) -> ContinuousBatchingConfig:
    """Room for the requests, or for as many of them as the budget allows."""
    flash = _takes_flash(model)
    page = 256 if flash else PAGE
    pages = [-(-(len(each.prompt) + each.sampling.max_tokens) // page) for each in requests]
    return ContinuousBatchingConfig(
        page_size=page,
        num_blocks=max(*pages, 1, min(sum(pages), tokens // page)),
        max_batch_tokens=None if flash else READ_AT_ONCE,
        max_requests_per_batch=min(len(requests), 1024),
        auto_switch_to_flash=flash,
        return_logprobs=log_probs,
    )


def attention_of(config: Any) -> Any:
    """A model's attention as ``set_attn_implementation`` takes it: by part, if it has parts."""
    own = config._attn_implementation
    parts = {name: getattr(config, name, None) for name in getattr(config, "sub_configs", {})}
    inner = {name: attention_of(part) for name, part in parts.items() if part is not None}
    return {"": own, **inner} if inner else own


def _takes_flash(model: Any) -> bool:
    """Whether flash attention, which knows half precision alone, can be used."""
    return bool(
        model.device.type == "cuda"
        and model.dtype in (torch.float16, torch.bfloat16)
        and getattr(model, "_supports_flash_attn", False)
        and (is_flash_attn_2_available() or is_flash_attn_3_available())
    )


def _failure(cause: str) -> RuntimeError | MemoryError:
    if "available memory" in cause:
        return MemoryError(cause)
    return RuntimeError(
        f"Continuous batching failed: {cause} generation_backend='generate' does without it."
    )


def is_worthwhile(model: Any) -> bool:
    """Whether ``auto`` takes continuous batching: on CUDA, with flash attention.

    Any other attention reads the keys of all rows for each of them and masks what is not theirs,
    work that grows with the square of the batch.
    """
    return _takes_flash(model)


def check_supported(decoder: Decoder, forward: Forward) -> None:
    """Refuse models that the engine cannot run, or runs into other predictions.

    Two short prompts are continued by it, and its log-probabilities compared with those of a plain
    pass: nothing in a configuration tells whether attention adds something of its own (ALiBi), or
    whether a layer keeps a state instead of keys.

    Raises:
        ModelError: With the reason.
    """
    model = decoder.model
    found = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if found < OLDEST:
        raise _unsupported(
            f"it needs transformers {'.'.join(map(str, OLDEST))} or newer, and this is "
            f"{transformers.__version__}"
        )
    if len(set(getattr(model, "hf_device_map", {}).values())) > 1:
        raise _unsupported("the model is spread over devices, and the engine's cache lies on one")
    vocab = model.get_input_embeddings().weight.shape[0]
    prompts = [[at * 7 % vocab for at in range(1, length)] for length in (4, 10)]
    requests = [Request(prompt, Sampling(4)) for prompt in prompts]
    try:
        texts = written(decoder, requests, tokens=0, log_probs=True)
    except Exception as error:
        raise _unsupported(f"the model does not run in it {first_line(error)}") from error
    tolerance = 1e-3 if model.dtype in (torch.float32, torch.float64) else 5e-2
    if not _agree(forward, prompts, texts, tolerance):
        raise _unsupported("the model's predictions are others in it than in a plain pass")


def _agree(
    forward: Forward, prompts: Sequence[Sequence[int]], texts: Sequence[Text], tolerance: float
) -> bool:
    """Whether each token is as likely as the engine says, and none likelier, but for rounding."""
    sequences = [[*prompt, *text.ids] for prompt, text in zip(prompts, texts, strict=True)]
    rows = [
        range(len(prompt) - 1, len(ids) - 1) for prompt, ids in zip(prompts, sequences, strict=True)
    ]
    with torch.no_grad():
        logits = at_least_float32(forward(sequences, rows).logits).cpu()
    log_probs = torch.log_softmax(logits, dim=-1)
    ids = torch.tensor([token for text in texts for token in text.ids])
    said = torch.tensor([value for text in texts for value in text.log_probs])
    of_chosen = log_probs.gather(1, ids[:, None])[:, 0]
    off = torch.maximum((of_chosen - said).abs(), log_probs.amax(dim=-1) - of_chosen).max()
    # NaN is not within any tolerance.
    return bool(off <= tolerance * (logits.max() - logits.min()))


def _unsupported(reason: str) -> ModelError:
    return ModelError(
        f"generation_backend='continuous' cannot be used: {reason}. Take 'generate', or 'auto', "
        "which takes continuous batching only where it works."
    )

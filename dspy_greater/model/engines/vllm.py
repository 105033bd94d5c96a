"""Generation by vLLM's offline engine, in this process, beside the white box.

vLLM loads the weights a second time, from where the white box's came from, and keeps them and its
cache in a share of the memory that the white box leaves free. Of what `Sampling` promises:

* A seed gives the same text whatever the batch, but for rounding: every sampled row has a seed of
  its own, made of its seed and its prompt. It is another text than ``generate`` draws with it.
* Stop strings are vLLM's, which looks for them everywhere: where a model thinks before it answers,
  rows with stop strings go to plain ``generate``, which does not look into what is thought.
* More than `MOST_ALTERNATIVES` alternatives to a token, temperatures below `LEAST_TEMPERATURE`
  (which vLLM would raise), and rows longer than its cache has room for, go there, too.

Run with vLLM 0.30 on the CPU, and held to the interface of 0.33; not yet run on a GPU.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dspy_greater.model.counts import Counts
from dspy_greater.model.engines.origin import Origin
from dspy_greater.model.engines.plain import Plain, count, handed_out
from dspy_greater.model.errors import LoadingError, first_line
from dspy_greater.model.generation import Decoder, described
from dspy_greater.model.requests import Generation, Request, TokenLogProb
from dspy_greater.model.sampler import seed_of

#: Of the memory that is free on the GPU once the white box is loaded; the rest is for gradients.
SHARE_OF_FREE_MEMORY = 0.6
#: Of the machine's memory, where vLLM runs on the CPU.
SHARE_ON_CPU = 0.25
#: What vLLM allows without being asked for more.
MOST_ALTERNATIVES = 20
#: Lower ones vLLM raises to this, but for 0.
LEAST_TEMPERATURE = 0.01


class Vllm:
    """All that vLLM does by the letter by vLLM, the rest by ``generate``.

    Attributes:
        name: ``vllm``.
    """

    name = "vllm"

    def __init__(self, decoder: Decoder, plain: Plain, origin: Origin) -> None:
        """Start the engine.

        Args:
            decoder: The model.
            plain: What the other rows go to.
            origin: Where its weights come from.

        Raises:
            LoadingError: vLLM cannot load the model.
        """
        # In this process, and not in one of its own: that would run a script without a
        # ``__main__`` guard a second time, and its scheduler's batches would depend on the clock.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        import vllm

        self._decoder, self._plain = decoder, plain
        self._params = vllm.SamplingParams
        # The white box's own tokenizer, wherever it came from.
        with TemporaryDirectory() as folder:
            decoder.tokenizer.save_pretrained(folder)
            try:
                self._llm = vllm.LLM(
                    model=origin.source,
                    revision=origin.revision,
                    trust_remote_code=origin.trust_remote_code,
                    tokenizer=folder,
                    dtype=str(decoder.model.dtype).removeprefix("torch."),
                    gpu_memory_utilization=share_of_memory(decoder.device),
                    max_model_len=-1,  # the model's own, or what the cache has room for
                    max_logprobs=MOST_ALTERNATIVES,
                )
            except Exception as error:
                raise LoadingError(
                    f"vLLM cannot load {origin.source!r} beside the white box; what it says stands "
                    f"above. generation_backend='generate' does without it. {first_line(error)}"
                ) from error
        self._longest = int(self._llm.model_config.max_model_len)

    def generate(self, requests: Sequence[Request], counts: Counts) -> list[Generation]:
        """Continue each prompt by its own settings, and count the work.

        Of vLLM's rows every prompt counts as read in full, and as many passes as the longest of
        them has tokens: what its scheduler makes of it is not known.
        """

        def engine(chosen: list[Request]) -> list[Generation]:
            outputs = self._llm.generate(
                [{"prompt_token_ids": list(request.prompt)} for request in chosen],
                [self._params(**settings_of(request, self._ends)) for request in chosen],
                use_tqdm=False,
            )
            done = [
                generation_of(self._decoder, request, output.outputs[0])
                for request, output in zip(chosen, outputs, strict=True)
            ]
            count(counts, chosen, done)
            return done

        return handed_out(
            requests, self._suits, engine, lambda others: self._plain.generate(others, counts)
        )

    @property
    def _ends(self) -> tuple[int, ...]:
        return self._decoder.tokens.ends

    def _suits(self, request: Request) -> bool:
        sampling = request.sampling
        watched_while_thinking = bool(sampling.stop) and self._decoder.thinking is not None
        return (
            not watched_while_thinking
            and not 0 < sampling.temperature < LEAST_TEMPERATURE
            and (sampling.logprobs or 0) <= MOST_ALTERNATIVES
            and len(request.prompt) + sampling.max_tokens <= self._longest
        )


def settings_of(request: Request, ends: Sequence[int]) -> dict[str, Any]:
    """A request in the terms of ``vllm.SamplingParams``.

    Args:
        request: What is asked for.
        ends: Tokens that end a text; vLLM's own idea of them is left out.
    """
    sampling = request.sampling
    drawn = sampling.temperature > 0
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if drawn else 1.0,
        "top_k": sampling.top_k if drawn else 0,
        "seed": seed_of(sampling.seed, request.prompt) if drawn else None,
        "logprobs": sampling.logprobs,
        "stop": list(sampling.stop) or None,
        "stop_token_ids": list(ends),
        "ignore_eos": True,
        # Its text is thrown away; these say what stop strings are looked for in.
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }


def generation_of(decoder: Decoder, request: Request, output: Any) -> Generation:
    """Describe a ``vllm.CompletionOutput``.

    Raises:
        RuntimeError: It was not written to its end.
    """
    if output.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM did not end a text: {output.finish_reason}.")
    ids = [int(token) for token in output.token_ids]
    log_probs = None
    if request.sampling.logprobs is not None:
        wanted = request.sampling.logprobs
        log_probs = [
            _log_prob(token, found, wanted)
            for token, found in zip(ids, output.logprobs, strict=True)
        ]
    return described(
        decoder, request, ids, stopped=output.finish_reason == "stop", log_probs=log_probs
    )


def _log_prob(token: int, found: Mapping[int, Any], wanted: int) -> TokenLogProb:
    """One token's record; the chosen one stands beside the likeliest if it is none of them."""
    ordered = sorted(found.items(), key=lambda pair: pair[1].rank)
    top = tuple((int(other), float(each.logprob)) for other, each in ordered if each.rank <= wanted)
    return TokenLogProb(token, float(found[token].logprob), top)


def share_of_memory(device: torch.device) -> float:
    """The share of all memory that vLLM may take, for its weights and its cache.

    Args:
        device: Where the white box is.
    """
    if not torch.cuda.is_available():
        return SHARE_ON_CPU
    free, total = torch.cuda.mem_get_info(device if device.type == "cuda" else None)
    return SHARE_OF_FREE_MEMORY * free / total


def check_possible(origin: Origin | None) -> None:
    """Refuse models of which vLLM cannot load the same weights; needs no weights itself.

    Raises:
        LoadingError: With the reason.
    """
    if importlib.util.find_spec("vllm") is None:
        raise LoadingError(
            "generation_backend='vllm' needs the package vllm: pip install 'dspy-greater[vllm]'."
        )
    if origin is None:
        raise LoadingError(
            "generation_backend='vllm' loads the weights itself, and this model was given as an "
            "object. Give its folder (model.save_pretrained) or hub id."
        )
    if origin.adapted:
        raise LoadingError(
            f"generation_backend='vllm' would run the base model {origin.source!r} without the "
            "adapter. Merge the two (peft's merge_and_unload), save them, and give that folder."
        )
    if origin.quantized:
        raise LoadingError(
            f"generation_backend='vllm' would not round the weights of {origin.source!r} as the "
            "white box does, so that gradients and texts would come from two models. Leave "
            "quantization_config out, or take 'continuous' or 'generate'."
        )

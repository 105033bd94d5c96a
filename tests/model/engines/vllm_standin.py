"""What the adapter needs of vLLM 0.33, for machines without it: same names, same meaning.

Fields, defaults and what becomes of them are those of ``vllm/sampling_params.py``,
``vllm/outputs.py``, ``vllm/logprobs.py`` and ``vllm/entrypoints/llm.py``; a plain loop generates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache


@dataclass(kw_only=True)
class SamplingParams:
    max_tokens: int | None = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    logprobs: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True


class LLM:
    """Generates one prompt after the other; ``made`` lists the arguments of every engine."""

    made: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str,
        trust_remote_code: bool = False,
        dtype: str = "auto",
        revision: str | None = None,
        gpu_memory_utilization: float = 0.92,
        max_model_len: int | None = None,
        max_logprobs: int = 20,
    ) -> None:
        self.made.append({name: value for name, value in locals().items() if name != "self"})
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self._most = max_logprobs
        longest = self._model.config.max_position_embeddings
        self.model_config = SimpleNamespace(
            max_model_len=longest if max_model_len in (None, -1) else max_model_len
        )

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: Sequence[SamplingParams],
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        assert len(prompts) == len(sampling_params)
        return [
            RequestOutput(str(number), prompt["prompt_token_ids"], [self._written(prompt, params)])
            for number, (prompt, params) in enumerate(zip(prompts, sampling_params, strict=True))
        ]

    def _written(self, prompt: dict[str, list[int]], params: SamplingParams) -> CompletionOutput:
        ids: list[int] = []
        records: list[dict[int, Logprob]] = []
        generator = torch.Generator()
        if params.seed is not None:
            generator.manual_seed(params.seed)
        stops = [params.stop] if isinstance(params.stop, str) else params.stop or []
        finish, reason = "length", None
        cache, rest = DynamicCache(), prompt["prompt_token_ids"]
        while len(ids) < (params.max_tokens or 0) and finish == "length":
            with torch.no_grad():
                logits = self._model(torch.tensor([rest]), past_key_values=cache).logits
            log_probs = torch.log_softmax(logits[0, -1].float(), dim=-1)
            ids.append(_drawn(log_probs, params, generator))
            rest = ids[-1:]
            records.append(self._record(log_probs, ids[-1], params))
            text = self._tokenizer.decode(ids, skip_special_tokens=params.skip_special_tokens)
            if ids[-1] in (params.stop_token_ids or ()):
                finish, reason = "stop", ids[-1]
            elif not params.ignore_eos and ids[-1] == self._tokenizer.eos_token_id:
                finish = "stop"
            elif found := [stop for stop in stops if stop in text]:
                finish, reason = "stop", found[0]
        wanted = None if params.logprobs is None else records
        return CompletionOutput(0, text, ids, None, wanted, finish, reason)

    def _record(
        self, log_probs: torch.Tensor, chosen: int, params: SamplingParams
    ) -> dict[int, Logprob]:
        """The chosen token first, then the likeliest, as many as are asked for."""
        wanted = params.logprobs or 0
        assert wanted <= self._most
        order = log_probs.argsort(descending=True).tolist()
        return {
            token: Logprob(float(log_probs[token]), order.index(token) + 1)
            for token in (chosen, *order[:wanted])
        }


def _drawn(log_probs: torch.Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    if params.temperature == 0:
        return int(log_probs.argmax())
    scaled, order = (log_probs / params.temperature).sort(descending=True)
    if params.top_k > 0:
        scaled[params.top_k :] = -torch.inf
    probs = scaled.softmax(dim=-1)
    probs[probs.cumsum(dim=-1) - probs >= params.top_p] = 0
    return int(order[torch.multinomial(probs, 1, generator=generator)])

"""A local model as a plain ``dspy.LM``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.basics.arguments import check_count, check_positive
from dspy_greater.lm.engine import AsyncLocalEngine, LocalEngine, LocalLM
from dspy_greater.lm.translation import check_settings

if TYPE_CHECKING:
    from dspy_greater.model.white_box import WhiteBox

__all__ = ["LocalEngine", "NotWhiteBoxError", "local_lm", "white_box"]


class NotWhiteBoxError(TypeError):
    """A language model whose weights are out of reach was given where they are needed."""


def local_lm(
    model: Any,
    *,
    tokenizer: Any = None,
    gguf_file: str | None = None,
    device: Any = None,
    dtype: Any = "auto",
    device_map: Any = None,
    quantization_config: Any = None,
    attn_implementation: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_gguf: bool = True,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    max_batch: int = 128,
    batch_wait: float = 0.02,
    temperature: float | None = 0.0,
    max_tokens: int | None = 512,
    cache: bool = True,
    **lm_kwargs: Any,
) -> dspy.LM:
    """Load a causal language model of Hugging Face into this process for use with DSPy.

    Calls from several threads or tasks are answered together, in one generation. A fingerprint of
    the weights is part of the model's name, so that DSPy's cache never mixes two models up. The
    result can be copied. A program's state is saved without it; what is pickled of it holds no
    weights: to load that in another process, make the same model there first.

    Args:
        model: A hub id, a folder (of either, a model or a LoRA adapter), a GGUF file, a loaded
            model (with ``tokenizer``), a ``(model, tokenizer)`` pair, or a ``WhiteBox``.
        tokenizer: Another tokenizer (id, folder or object) than the model's own.
        gguf_file: The GGUF file to take of a folder or hub id that holds several.
        device: Where to run, e.g. ``"cpu"``, ``"cuda:1"`` or ``"mps"``; by default the best.
        dtype: Number format of the weights, e.g. ``"float32"``. ``"auto"`` takes the checkpoint's
            on a GPU; on a CPU bfloat16 where it has instructions for that, and float32 otherwise
            and for checkpoints in float32.
        device_map: How to spread the weights over devices, e.g. ``"auto"``.
        quantization_config: ``TorchAoConfig``, ``BitsAndBytesConfig`` or another of transformers'.
        attn_implementation: How attention is computed, e.g. ``"eager"``; None leaves the choice.
        cache_dir: Folder for downloads and dequantized GGUF files; the hub's own cache and
            ``~/.cache/dspy_greater`` by default.
        cache_gguf: Whether to keep a GGUF file dequantized (1 GB for 0.5 billion parameters), so
            that the next load takes seconds.
        revision: Branch, tag or commit of the hub id.
        token: Access token of the hub for gated models; the one logged in with by default.
        trust_remote_code: Whether to run code that comes with the model.
        local_files_only: Whether never to download.
        chat_template_kwargs: Further variables of the chat template, e.g.
            ``{"enable_thinking": False}`` for a Qwen 3 that is to answer at once.
        max_batch: Most requests answered in one generation.
        batch_wait: Seconds without a new request after which a batch goes out.
        temperature: 0 or None always takes the likeliest token. With a ``seed``, equal requests
            get equal answers at any temperature.
        max_tokens: Most tokens of an answer.
        cache: Whether DSPy's cache may answer.
        **lm_kwargs: Further arguments of ``dspy.LM``: ``top_p``, ``top_k``, ``stop``, ``seed``,
            ``callbacks``... ``response_format={"type": "json_object"}``, which JSONAdapter asks
            for by itself, ends an answer where its object is closed.

    Returns:
        A ``dspy.LM``; ``white_box(lm)`` gives the model behind it.

    Raises:
        TypeError: If a setting has a name of another library, or is mistyped.
        ValueError: If a value cannot be meant, or the model cannot be loaded.
    """
    arguments = dict(locals())
    check_count("max_batch", max_batch)
    check_positive("batch_wait", batch_wait, or_zero=True)
    sampling = {"temperature": temperature, "max_tokens": max_tokens, **lm_kwargs}
    check_settings(sampling, arguments.keys())
    from dspy_greater.model.loading import load
    from dspy_greater.model.white_box import WhiteBox

    # What both have is for loading, and handed on.
    defaults = {name: each.default for name, each in inspect.signature(load).parameters.items()}
    options = {name: arguments[name] for name in defaults.keys() & arguments.keys() - {"model"}}
    if not isinstance(model, WhiteBox):
        model = load(model, **options)
    elif given := sorted(name for name in options if options[name] != defaults[name]):
        raise ValueError(f"A WhiteBox is already loaded: {', '.join(given)} can't be given")
    engine = LocalEngine(model, max_batch=max_batch, batch_wait=batch_wait)
    both = {"engine": engine, "async_engine": AsyncLocalEngine(engine)}
    return LocalLM(engine.model, cache=cache, **both, **sampling)


def white_box(lm: Any) -> WhiteBox:
    """Return the model behind a language model made by ``local_lm``.

    Raises:
        NotWhiteBoxError: The language model is another one.
    """
    engine = getattr(lm, "engine", None)
    if isinstance(engine, LocalEngine):
        return engine.white_box
    if lm is None:
        fault = "no language model is configured"
    elif isinstance(lm, BaseLM):
        fault = f"{lm.model} does not give access to its weights, which the search needs"
    else:
        what = f"the text {lm!r}" if isinstance(lm, str) else f"a {type(lm).__name__}"
        fault = f"lm is {what}, not a language model"
    raise NotWhiteBoxError(
        f"{fault}: load a model of Hugging Face into this process, lm = local_lm(...), and give it "
        "to dspy.configure(lm=lm) or to GreaterTeleprompter(metric=..., lm=lm)."
    )

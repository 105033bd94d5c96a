"""A short hash of a model's contents, so that saved results are never mixed between models.

Of each tensor it covers name, shape, dtype, a strided sample and the sum of all elements read as
integers: exact on any device, and changed by any element; of an adapter, how strongly it acts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

SAMPLE = 4096
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(
    model: Any, tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None
) -> str:
    """Sixteen hex digits for the weights, the vocabulary and the chat template."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            if tensor.is_meta:
                tensor = _from_disk(model, name)
            for part, plain in _parts(name, tensor):
                digest.update(f"{part}|{tuple(plain.shape)}|{plain.dtype}|".encode())
                digest.update(_contents(plain))
    for name, module in model.named_modules():
        if isinstance(getattr(module, "scaling", None), dict):  # a layer of LoRA
            acts = None if module.disable_adapters else module.active_adapters
            digest.update(json.dumps([name, module.scaling, acts]).encode())
    vocabulary = sorted(tokenizer.get_vocab().items())
    template = getattr(tokenizer, "chat_template", None)
    digest.update(json.dumps([vocabulary, template]).encode())
    if template_kwargs:
        digest.update(json.dumps(dict(template_kwargs), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _parts(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor, or the plain ones within one that only looks like one: codes, scales, zeros."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield name, tensor
        return
    for inner in tensor.__tensor_flatten__()[0]:
        yield from _parts(f"{name}.{inner}", getattr(tensor, inner))


def _from_disk(model: Any, name: str) -> torch.Tensor:
    """A weight that accelerate brings into memory only for its layer's turn."""
    from accelerate.utils import align_module_device

    owner, _, own_name = name.rpartition(".")
    module = model.get_submodule(owner)
    with align_module_device(module, "cpu"):
        return getattr(module, own_name).detach()


def _contents(tensor: torch.Tensor) -> bytes:
    """The sum and the sample of one tensor's elements, as bytes."""
    if tensor.is_meta or tensor.is_sparse or tensor.numel() == 0:
        return b""
    flat = tensor.detach().contiguous().view(-1)
    integers = flat.view(_INTEGERS[min(flat.element_size(), 8)])
    stride = max(1, integers.numel() // SAMPLE)
    sample = integers[::stride].cpu().numpy().tobytes()
    total = int(integers.sum(dtype=torch.int64))
    return f"{total}|".encode() + sample

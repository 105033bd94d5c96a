"""Where a model's weights were loaded from, for an engine that loads its own copy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """A folder or hub id, and how it was loaded.

    Attributes:
        source: The folder or hub id of the weights; of an adapter, of its base model.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Whether model code from the hub was run.
        adapted: Whether an adapter was put onto the weights.
        quantized: Whether they were loaded in 8 or 4 bits.
    """

    source: str
    revision: str | None = None
    trust_remote_code: bool = False
    adapted: bool = False
    quantized: bool = False

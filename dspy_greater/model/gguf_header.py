"""What stands at the head of a GGUF file, read in a moment and without a package.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dspy_greater.model.errors import LoadingError

MAGIC = b"GGUF"
#: Formats of numbers by the type that stands before them; a string is 8, a list 9.
_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9
#: How ``general.file_type`` says that all numbers are in float32.
_ALL_FLOAT32 = 0


class Tensor(NamedTuple):
    """Where a tensor stands: how many numbers in which of ggml's formats, from which byte on."""

    numbers: int
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself, without its lists: numbers and texts by key."""

    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def is_float32(self) -> bool:
        """Whether all numbers are in float32."""
        return bool(self.metadata.get("general.file_type") == _ALL_FLOAT32)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors together."""
        return sum(tensor.numbers for tensor in self.tensors)

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self.metadata.get("general.architecture", ""))


def is_gguf(path: Path) -> bool:
    """Whether a file is a GGUF file, whatever its name: Ollama's have none."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_header(path: Path) -> Header:
    """Read the head of a GGUF file, refusing what is cut off, damaged or of an unknown version."""
    try:
        with path.open("rb") as file:
            return _Reader(file).header()
    except (struct.error, UnicodeDecodeError, KeyError, OverflowError, EOFError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> LoadingError:
    """Return the error for a file that is not whole."""
    size = path.stat().st_size
    return LoadingError(f"{path} is cut off or damaged ({size:,} bytes): download it again.")


@dataclass
class _Reader:
    file: BinaryIO

    def header(self) -> Header:
        magic, version, tensors, keys = self.unpack("4sIQQ")
        if magic != MAGIC or version not in (2, 3):
            raise LoadingError(
                f"{self.file.name} has version {version} of the GGUF format; 2 and 3 can be read. "
                "Convert the model anew with llama.cpp's convert_hf_to_gguf.py."
            )
        metadata = {self.text(): self.value(*self.unpack("I")) for _ in range(keys)}
        table = [self.tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        first = math.ceil(self.file.tell() / alignment) * alignment
        return Header(
            {key: value for key, value in metadata.items() if value is not None},
            tuple(tensor._replace(start=first + tensor.start) for tensor in table),
        )

    def tensor(self) -> Tensor:
        self.text()
        (dimensions,) = self.unpack("I")
        return Tensor(math.prod(self.unpack(f"{dimensions}Q")), *self.unpack("IQ"))

    def value(self, kind: int) -> Any:
        """Return a number or a text; None for a list, which is passed over."""
        if kind == _STRING:
            return self.text()
        if kind != _LIST:
            return self.unpack(_NUMBERS[kind])[0]
        of, count = self.unpack("IQ")
        if of in _NUMBERS:
            self.file.seek(count * struct.calcsize(f"<{_NUMBERS[of]}"), 1)
        else:
            for _ in range(count):
                self.value(of)
        return None

    def text(self) -> str:
        (length,) = self.unpack("Q")
        found = self.file.read(length)
        if len(found) < length:
            raise EOFError
        return found.decode()

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{layout}", self.file.read(struct.calcsize(f"<{layout}")))

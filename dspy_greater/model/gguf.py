"""GGUF files as models of transformers: found, read by its own reader, kept for the next time.

What is made of a file is an ordinary folder of transformers. It holds the dequantized weights,
which are the numbers that llama.cpp computes with, and the tokenizer, the chat template and the
special tokens of the file. If the file holds the output matrix beside the input embeddings (rounded
differently), both are kept; if it holds one, they are tied.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer

from dspy_greater.model.errors import LoadingError, MissingModelError, first_line
from dspy_greater.model.gguf_header import Header, Tensor, damaged, is_gguf, read_header

logger = logging.getLogger(__name__)

#: Part of a split file: its number, and of how many.
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
#: Kept free on the disk beside the weights, in bytes.
_SPARE = 1 << 30


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return where dequantized files are kept; ~/.cache/dspy_greater without ``cache_dir``."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dspy_greater"
    return Path(cache_dir or default).expanduser() / "gguf"


def find(
    model: str | os.PathLike[str], gguf_file: str | None, hub: Mapping[str, Any]
) -> Path | None:
    """Return the GGUF file that is meant, fetched from the hub if need be; None if none is.

    ``hub`` may hold ``revision``, ``cache_dir``, ``token`` and ``local_files_only``. An error says
    which file there is not, that one of several is to be named, or that it is of another kind.
    """
    path = Path(model).expanduser()
    if gguf_file is None:
        if path.is_dir():
            return _only_file(path)
        if not path.is_file() and path.suffix.lower() != ".gguf":
            return None
    elif path.is_file():
        raise LoadingError(f"{path} is a file already: leave out gguf_file={gguf_file!r}.")
    elif not path.is_dir():
        return _fetched(os.fspath(model), gguf_file, hub)
    elif not (path / gguf_file).is_file():
        raise MissingModelError(f"There is no {gguf_file} in {path}{_listed(_files(path))}.")
    else:
        path /= gguf_file
    if not path.is_file():
        raise MissingModelError(
            f"There is no file {path} (working directory: {os.getcwd()}). For a file on the "
            "hub: local_lm('owner/name', gguf_file='file.gguf')."
        )
    if not is_gguf(path):
        raise LoadingError(
            f"{path} is no GGUF file. Give a GGUF file, a folder of transformers or a hub id."
        )
    return path


def _only_file(folder: Path) -> Path | None:
    """Return the GGUF file of a folder that holds no model of transformers."""
    files = _files(folder)
    if not files or any((folder / f"{name}config.json").is_file() for name in ("", "adapter_")):
        return None
    if len(files) > 1:
        raise LoadingError(
            f"{folder} holds several GGUF files: name one with gguf_file={_listed(files)}."
        )
    return folder / files[0]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.[gG][gG][uU][fF]"))


def _listed(files: list[str]) -> str:
    return f"; there are {', '.join(files)}" if files else ", and no other GGUF file either"


def _fetched(repository: str, gguf_file: str, hub: Mapping[str, Any]) -> Path:
    try:
        return Path(hf_hub_download(repository, gguf_file, **hub))
    except RemoteEntryNotFoundError as error:
        which = {name: hub.get(name) for name in ("revision", "token")}
        names = HfApi().list_repo_files(repository, **which)
        files = sorted(name for name in names if name.lower().endswith(".gguf"))
        raise MissingModelError(f"{repository!r} has no {gguf_file}{_listed(files)}.") from error
    except (OSError, ValueError) as error:
        raise MissingModelError(
            f"There is no folder {repository!r}, and the hub (or its local cache, when there is no "
            f"connection) has no {gguf_file} of such a model that you may read. {first_line(error)}"
        ) from error


def dequantized(
    path: Path, header: Header, dtype: torch.dtype, cache: Path | None
) -> Path | tuple[Any, Any]:
    """Return a file as a folder of transformers in ``cache``, made now or at an earlier time.

    Where nothing is kept, or the disk has no room for it, it is model and tokenizer instead.
    """
    if cache is None:
        return _read(path, header, dtype)
    folder = cache / f"{_digest(path)}-{str(dtype).removeprefix('torch.')}"
    if folder.is_dir():  # which needs no lock: the cache may be another user's
        return folder
    pair = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):  # another process may be at it
            if not folder.is_dir():
                free = shutil.disk_usage(cache).free
                pair = _read(path, header, dtype)
                _keep(pair, folder, free - header.parameters * dtype.itemsize - _SPARE)
        return folder
    except OSError as error:
        logger.warning(
            "%s is not kept dequantized: %s. The next load takes as long as this one; make room, "
            "or give another folder with cache_dir=.",
            *(path.name, error),
        )
        return pair or _read(path, header, dtype)


def _keep(pair: tuple[Any, Any], folder: Path, left: int) -> None:
    """Save model and tokenizer, whole or not at all, if bytes will be left on the disk."""
    if left < 0:
        raise OSError(f"{folder.parent} lacks {-left / 1e9:.1f} GB")
    with tempfile.TemporaryDirectory(prefix="partial.", dir=folder.parent) as partial:
        made = Path(partial) / folder.name
        for each in pair:
            each.save_pretrained(made)
        made.replace(folder)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()[:32]


def checked_header(path: Path) -> Header:
    """Return the head of a file that a causal language model can be read from."""
    if part := _PART.search(path.name):
        raise LoadingError(
            f"{path.name} is part {int(part[1])} of {int(part[2])}: put the parts together with "
            f"llama.cpp's `llama-gguf-split --merge {path.name} whole.gguf`, and give that."
        )
    header = read_header(path)
    name = header.architecture
    kinds = {
        "an embedding model": header.metadata.get(f"{name}.pooling_type"),
        "an encoder": header.metadata.get(f"{name}.attention.causal") is False,
        "the image encoder of a model": name == "clip",
    }
    for kind in (kind for kind, holds in kinds.items() if holds):
        raise LoadingError(
            f"{path.name} holds {kind} ({name}), which cannot generate. Use a causal "
            "(decoder-only) language model."
        )
    if missing := [each for each in ("gguf", "accelerate") if not importlib.util.find_spec(each)]:
        raise LoadingError(
            f"GGUF files need the package {' and '.join(missing)}: "
            "pip install 'dspy-greater[gguf]'."
        )
    if any(_end(tensor, path) > path.stat().st_size for tensor in header.tensors):
        raise damaged(path)
    return header


def _end(tensor: Tensor, path: Path) -> int:
    """Return the byte after a tensor."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        numbers, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
    except ValueError as error:
        raise LoadingError(
            f"{path.name} holds numbers in a format that the package gguf does not know "
            f"({tensor.kind}): pip install --upgrade gguf, or use a Q4_K_M or Q8_0 file."
        ) from error
    return int(tensor.start + tensor.numbers // numbers * size)


def _read(path: Path, header: Header, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return model and tokenizer of a file."""
    place: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    # Newer versions can leave weights in their blocks, through which no gradient comes.
    config = getattr(transformers, "GgufConfig", None)
    whole = {} if config is None else {"quantization_config": config(dequantize=True)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        model = AutoModelForCausalLM.from_pretrained(**place, **whole, dtype=dtype)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise LoadingError(
            f"{path.name} (architecture {header.architecture or 'unknown'}) cannot be read by "
            f"transformers {transformers.__version__}; give the model's folder or hub id in the "
            f"format of transformers instead. {first_line(error)}"
        ) from error
    model.hf_quantizer = None  # now they are weights as any others
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer

"""GGUF files: found, read, kept, and refused with a reason."""

from __future__ import annotations

import importlib.util
import shutil
import struct
from collections import namedtuple
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub.errors import RemoteEntryNotFoundError

from dspy_greater.model import LoadingError, MissingModelError, gguf, load
from dspy_greater.model.gguf_header import read_header
from tests.support.gguf_files import pair, write_gguf

CHAT = [{"role": "user", "content": "What is 2 + 3?"}]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dspy_greater" / "gguf"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama in float32, with its tokenizer."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[5, 300, 7, 41]])).logits


# --- What is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_is_the_model_that_it_was_made_of(file: Path, kept: bool) -> None:
    model, tokenizer = pair()
    found = load(file, device="cpu", cache_gguf=kept)
    assert found.name == "tiny"
    assert torch.allclose(logits(found.model), logits(model), atol=1e-5)
    assert found.encode(CHAT).ids == load((model, tokenizer)).encode(CHAT).ids
    assert found.end_ids == load((model, tokenizer)).end_ids


def test_quantized_weights_are_the_dequantized_ones_and_let_gradients_through(
    tmp_path: Path,
) -> None:
    path = write_gguf(tmp_path / "q8.gguf", quantized=True)
    model = load(path, device="cpu", dtype="float32").model
    own = dict(pair()[0].named_parameters())
    for name, weight in model.named_parameters():
        assert not torch.equal(weight, own[name]) or weight.ndim == 1
        assert torch.allclose(weight, own[name], atol=own[name].detach().abs().max().item() / 127)
    embedded = model.get_input_embeddings()(torch.tensor([[5, 300, 7]])).detach().requires_grad_()
    model(inputs_embeds=embedded).logits.sum().backward()
    assert embedded.grad is not None
    assert embedded.grad.isfinite().all()
    assert embedded.grad.abs().sum() > 0


def test_an_output_matrix_of_its_own_stays_apart(file: Path, tmp_path: Path) -> None:
    def shares(path: Path) -> bool:
        model = load(path, device="cpu").model
        inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
        return inputs.weight.data_ptr() == outputs.weight.data_ptr()

    assert not shares(file)
    assert shares(write_gguf(tmp_path / "tied.gguf", tied=True))


def test_a_file_in_float32_stays_so_and_a_quantized_one_may_be_halved(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantized = write_gguf(tmp_path / "q8.gguf", quantized=True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)
    assert load(file, device="cpu").model.dtype == torch.float32
    assert load(quantized, device="cpu").model.dtype == torch.bfloat16
    assert load(file, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert load(quantized, device="cpu").model.dtype == torch.float32


# --- Where it lies -------------------------------------------------------------------------------


def test_a_file_is_found_by_its_path_its_folder_or_its_name(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = {"revision": None, "local_files_only": False}
    monkeypatch.setattr(gguf, "hf_hub_download", lambda repository, name, **_: file.parent / name)
    for model, name in ((file, None), (file.parent, None), (file.parent, "tiny.gguf")):
        assert gguf.find(model, name, hub) == file
    assert gguf.find("owner/tiny-GGUF", "tiny.gguf", hub) == file
    assert gguf.find("owner/tiny", None, hub) is None


def test_ollama_s_files_have_no_ending(file: Path, tmp_path: Path) -> None:
    blob = shutil.copy(file, tmp_path / "sha256-0123")
    assert gguf.find(blob, None, {}) == blob


def test_of_several_files_one_has_to_be_named(file: Path, tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf"):
        shutil.copy(file, tmp_path / name)
    with pytest.raises(LoadingError, match=r"several GGUF files: name one.*a\.gguf, b\.gguf"):
        load(tmp_path)
    with pytest.raises(MissingModelError, match=r"no c\.gguf in .*; there are a\.gguf, b\.gguf"):
        load(tmp_path, gguf_file="c.gguf")
    with pytest.raises(LoadingError, match=r"a file already: leave out gguf_file"):
        load(tmp_path / "a.gguf", gguf_file="b.gguf")


def test_a_missing_file_is_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "hf_hub_download", None)
    with pytest.raises(MissingModelError, match=r"no file .*none\.gguf \(working directory"):
        load(tmp_path / "none.gguf")
    with pytest.raises(MissingModelError, match=r"no file models/none\.gguf"):
        load("models/none.gguf")


def test_a_name_that_a_repository_lacks_is_told_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    response = httpx.Response(404, request=httpx.Request("GET", "https://hub"))

    def lacks(*_: Any, **__: Any) -> None:
        raise RemoteEntryNotFoundError("no such file", response=response)

    monkeypatch.setattr(gguf, "hf_hub_download", lacks)
    names = ["README.md", "a-q4_k_m.gguf", "a-q8_0.gguf"]
    monkeypatch.setattr(gguf.HfApi, "list_repo_files", lambda *_, **__: names)
    with pytest.raises(MissingModelError, match=r"no b\.gguf; there are a-q4_k_m\.gguf, a-q8_0"):
        load("owner/a-GGUF", gguf_file="b.gguf")


def test_a_repository_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(gguf, "hf_hub_download", unreachable)
    with pytest.raises(MissingModelError, match=r"no a\.gguf of such a model.*no connection"):
        load("owner/a-GGUF", gguf_file="a.gguf")


# --- What is kept --------------------------------------------------------------------------------


def test_a_second_load_reads_what_the_first_one_kept(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(file, device="cpu")
    monkeypatch.setattr(gguf, "AutoModelForCausalLM", None)
    assert load(file, device="cpu").fingerprint == first.fingerprint
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert (folder / "model.safetensors").is_file()
    assert not list(cache.glob("partial.*"))


def test_what_is_kept_is_read_from_a_cache_that_cannot_be_written(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(file, device="cpu")

    def refused(path: str) -> None:
        raise PermissionError(f"cannot write {path}")

    monkeypatch.setattr(gguf, "FileLock", refused)
    monkeypatch.setattr(gguf, "AutoModelForCausalLM", None)
    assert load(file, device="cpu").fingerprint == first.fingerprint
    assert not caplog.text


def test_another_folder_or_none_keeps_it(file: Path, cache: Path, tmp_path: Path) -> None:
    load(file, device="cpu", cache_gguf=False)
    assert not cache.exists()
    load(file, device="cpu", cache_dir=tmp_path / "mine")
    assert not cache.exists()
    assert list((tmp_path / "mine" / "gguf").glob("*/config.json"))


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_keeps_nothing_and_says_so(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9, 9, 1000))
    assert load(file, device="cpu").name == "tiny"
    assert not list(cache.glob("*/"))
    assert "tiny.gguf is not kept dequantized" in caplog.text
    assert "cache_dir=" in caplog.text


def test_what_fails_while_it_is_written_leaves_nothing(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = pair()

    def save_pretrained(self: Any, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(type(model), "save_pretrained", save_pretrained)
    assert load(file, device="cpu").name == "tiny"
    assert not list(cache.glob("*/"))
    assert "No space left on device" in caplog.text


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(file: Path, tmp_path: Path, part: float) -> None:
    content = file.read_bytes()
    short = tmp_path / "short.gguf"
    short.write_bytes(content[: max(4, int(part * len(content)))])
    with pytest.raises(LoadingError, match=r"cut off or damaged .*: download it again"):
        load(short)


def test_another_kind_of_file_is_refused(file: Path, tmp_path: Path) -> None:
    text = tmp_path / "model.gguf"
    text.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(LoadingError, match=r"model\.gguf is no GGUF file"):
        load(text)
    old = tmp_path / "old.gguf"
    old.write_bytes(b"GGUF" + struct.pack("<I", 1) + file.read_bytes()[8:])
    with pytest.raises(LoadingError, match=r"version 1 of the GGUF format"):
        load(old)


def test_a_part_of_a_split_file_is_refused(file: Path, tmp_path: Path) -> None:
    part = shutil.copy(file, tmp_path / "big-00001-of-00003.gguf")
    with pytest.raises(LoadingError, match=r"part 1 of 3: .*llama-gguf-split --merge"):
        load(part)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama__pooling_type": 1}, "an embedding model"),
        ({"llama__attention__causal": False}, "an encoder"),
        ({"architecture": "clip"}, "the image encoder of a model"),
        ({"architecture": "kolibri"}, r"architecture kolibri.* cannot be read by transformers"),
    ],
)
def test_what_cannot_generate_is_refused(
    tmp_path: Path, metadata: dict[str, Any], message: str
) -> None:
    path = write_gguf(tmp_path / "other.gguf", **metadata)
    with pytest.raises(LoadingError, match=message):
        load(path)


def test_none_is_no_pooling(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "none.gguf", llama__pooling_type=0, llama__attention__causal=True)
    assert load(path, device="cpu").name == "none"


def test_a_chat_template_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "bad.gguf", chat_template="{% for message in %}")
    with pytest.raises(ValueError, match="chat template"):
        load(path, device="cpu").encode(CHAT)


def test_weights_are_not_quantized_twice(file: Path) -> None:
    with pytest.raises(LoadingError, match=r"quantized already.*leave out quantization_config"):
        load(file, quantization_config={"quant_method": "torchao"})
    with pytest.raises(LoadingError, match=r"gguf_file are for loading"):
        load(pair(), gguf_file="tiny.gguf")


def test_missing_packages_are_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else 1)
    with pytest.raises(LoadingError, match=r"need the package gguf: .*dspy-greater\[gguf\]"):
        load(file)


def test_a_header_is_read_without_a_package(file: Path) -> None:
    header = read_header(file)
    model, _ = pair()
    assert header.architecture == "llama"
    assert header.parameters == sum(weight.numel() for weight in model.state_dict().values())
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    assert "tokenizer.ggml.tokens" not in header.metadata

"""Loading from folders and from memory, and mistakes that must show before any long work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, T5Config, ViTConfig

from dspy_greater.basics.spans import Span
from dspy_greater.model import (
    LoadingError,
    MissingModelError,
    ModelError,
    Sampling,
    Targeted,
    TokenizerError,
    load,
)
from dspy_greater.model import loading as loading_module
from tests.support.families import ARCHITECTURES
from tests.support.tiny import make_model, make_tokenizer

SIZES = {
    "vocab_size": 512,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny Llama with its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_folder_and_the_loaded_pair_are_the_same_white_box(folder: Path) -> None:
    tokenizer = make_tokenizer()
    from_folder = load(str(folder), device="cpu")
    from_memory = load((make_model("llama", len(tokenizer)), tokenizer))
    assert from_folder.name == "tiny-llama"
    assert from_folder.context == 2048
    assert from_folder.fingerprint == from_memory.fingerprint
    prompt = from_folder.encode([{"role": "user", "content": "What is 2 + 3?"}]).ids
    texts = [w.generate([prompt], [Sampling(5)]) for w in (from_folder, from_memory)]
    assert texts[0] == texts[1]


def test_dtype_can_be_chosen(folder: Path) -> None:
    chosen = {None: torch.float32, "bfloat16": torch.bfloat16, torch.float64: torch.float64}
    for dtype, wanted in chosen.items():
        how = {"dtype": dtype} if dtype else {}
        assert load(folder, device="cpu", **how).model.dtype == wanted
    with pytest.raises(LoadingError, match="int8"):
        load(folder, dtype="int8")


def test_fingerprints_tell_models_apart() -> None:
    tokenizer = make_tokenizer()
    prints = {
        load((make_model(name, len(tokenizer)), tokenizer)).fingerprint
        for name in ("llama", "gpt2", "phi")
    }
    changed = make_model("llama", len(tokenizer))
    with torch.no_grad():
        changed.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-3  # a single number
    prints.add(load((changed, tokenizer)).fingerprint)
    other = make_tokenizer()
    other.chat_template += " "
    prints.add(load((make_model("llama", len(tokenizer)), other)).fingerprint)
    assert len(prints) == 5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fingerprints_survive_saving(architecture: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu").fingerprint == load((model, tokenizer)).fingerprint


SCRIPT = """
import sys
from dspy_greater.model import Sampling, Targeted, load
from dspy_greater.basics.spans import Span
box = load(sys.argv[1], device="cpu")
prompt = box.encode([{"role": "user", "content": "Hi"}]).ids
box.generate([prompt, prompt[:2]], [Sampling(3), Sampling(4, temperature=1.0, seed=0)])
box.log_probs([Targeted(prompt, Span(2, 4))])
print(box.fingerprint)
"""


@pytest.mark.slow
def test_another_process_finds_the_same_fingerprint_and_says_nothing_else(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "default", "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"},
    )
    assert run.stdout.strip() == load(folder, device="cpu").fingerprint
    # transformers imports torchao where it is installed, which tells of its own import.
    known = ("Loading weights", "/torchao/", "torch/utils/_pytree.py")
    noise = [line for line in run.stderr.splitlines() if line and not any(k in line for k in known)]
    assert noise == []


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/such/folder", "~/none", "a/b/c", "nowhere/", ""]
)
def test_a_missing_folder_is_no_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[Any] = []
    monkeypatch.setattr(
        loading_module.HfApi, "model_info", lambda *args, **settings: requests.append(args)
    )
    with pytest.raises(MissingModelError):
        load(name)
    assert requests == []


def test_a_folder_beside_existing_ones_is_no_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(MissingModelError, match="no folder"):
        load(f"{folder.parent.name}/tiny-lama")
    with pytest.raises(MissingModelError, match=r"no config\.json"):
        load(folder.parent)


def test_without_a_connection_the_cache_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    def no_connection(self: Any, *args: Any, **kwargs: Any) -> None:
        requests.append(args)
        raise ConnectionError("no network")

    monkeypatch.setattr(loading_module.HfApi, "model_info", no_connection)
    with pytest.raises(MissingModelError, match="owner/no-such-model"):
        load("owner/no-such-model")
    assert len(requests) == 1


def test_models_that_cannot_work_are_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    T5Config(vocab_size=512).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match="encoder-decoder"):
        load(tmp_path / "t5")
    ViTConfig().save_pretrained(tmp_path / "vit")
    with pytest.raises(ModelError, match="no language-model head"):
        load(tmp_path / "vit", tokenizer=tokenizer)
    with pytest.raises(ModelError, match="not a transformers language model"):
        load((make_model("llama").model, tokenizer))
    headless = make_model("llama")
    headless.get_output_embeddings = lambda: None
    with pytest.raises(ModelError, match="no language-model head"):
        load((headless, tokenizer))
    with pytest.raises(ModelError, match="not a transformers language model"):
        load((torch.nn.Linear(2, 2), tokenizer))


def test_a_model_that_looks_ahead_is_refused() -> None:
    from transformers import AutoModelForCausalLM

    # With weights as small as BERT's own a few random models hardly look ahead at all.
    bert = AutoModelForCausalLM.from_config(BertConfig(**SIZES, initializer_range=0.2)).eval()
    with pytest.raises(ModelError, match="looks ahead"):
        load((bert, make_tokenizer()))


def test_tokenizers_that_cannot_work_are_refused(folder: Path, tmp_path: Path) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(TokenizerError, match="no character offsets"):
        load((make_model("llama"), Slow()))
    with pytest.raises(TokenizerError, match="do not belong together"):
        load((make_model("llama", 100), make_tokenizer()))
    make_model("llama").save_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match="tokenizer="):
        load(tmp_path, device="cpu")
    assert load(tmp_path, tokenizer=folder, device="cpu").context == 2048


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cpu", "device_map": "auto"}, "not both"),
        ({"device": "warp"}, "not available"),
        ({"device": "cuda:99"}, "not available"),
    ],
)
def test_places_that_do_not_exist_are_refused(
    folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadingError, match=message):
        load(folder, **arguments)


def test_anything_else_is_refused() -> None:
    with pytest.raises(LoadingError, match="not int"):
        load(3)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_attention_is_computed_as_asked(folder: Path, kernel: str) -> None:
    model = load(folder, device="cpu", attn_implementation=kernel)
    assert model.model.config._attn_implementation == kernel
    ids = model.encode([{"role": "user", "content": "Hi"}]).ids
    items = [Targeted(ids, Span(1, len(ids)))]
    (expected,) = load(folder, device="cpu").log_probs(items)
    torch.testing.assert_close(model.log_probs(items)[0], expected, atol=1e-4, rtol=1e-4)


def test_an_unknown_kernel_is_refused_and_a_loaded_model_keeps_its_own(folder: Path) -> None:
    with pytest.raises(LoadingError, match="flush"):
        load(folder, device="cpu", attn_implementation="flush")
    with pytest.raises(LoadingError, match=r"attn_implementation.*a loaded model stays"):
        load((make_model("llama"), make_tokenizer()), attn_implementation="eager")


def test_every_request_to_the_hub_bears_the_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that gives its files only to those with the token, made of a folder."""
    asked: list[str] = []

    def gated(name: str, result: Any) -> Any:
        def answer(*args: Any, token: str | None = None, **_: Any) -> Any:
            asked.append(name)
            if token != "hf_secret":
                raise OSError(f"{name}: 401 Unauthorized")
            return result(*args)

        return answer

    config, model, tokenizer = (
        kind.from_pretrained
        for kind in (
            loading_module.AutoConfig,
            loading_module.AutoModelForCausalLM,
            loading_module.AutoTokenizer,
        )
    )
    whole = model(folder)
    monkeypatch.setattr(loading_module.HfApi, "model_info", gated("model_info", lambda *_: None))
    monkeypatch.setattr(
        loading_module, "find_adapter_config_file", gated("adapter", lambda *_: None)
    )
    for kind, result in {
        "AutoConfig": lambda _: config(folder),
        "AutoModelForCausalLM": lambda _: whole,
        "AutoTokenizer": lambda _: tokenizer(folder),
    }.items():
        monkeypatch.setattr(getattr(loading_module, kind), "from_pretrained", gated(kind, result))
    assert load("owner/gated", device="cpu", token="hf_secret").name == "owner/gated"
    assert load("owner/gated", tokenizer="owner/gated", device="cpu", token="hf_secret")
    assert set(asked) == {
        *("model_info", "adapter", "AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    }
    with pytest.raises((LoadingError, OSError), match="401"):
        load("owner/gated", device="cpu", local_files_only=True)


def test_a_file_on_the_hub_is_fetched_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[Any] = []

    def fetched(*_: Any, token: Any = None, **__: Any) -> str:
        tokens.append(token)
        raise OSError("401 Unauthorized")

    monkeypatch.setattr(loading_module.gguf, "hf_hub_download", fetched)
    with pytest.raises(MissingModelError, match="401"):
        load("owner/gated", gguf_file="model.gguf", token="hf_secret")
    assert tokens == ["hf_secret"]

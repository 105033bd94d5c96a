"""Weights in 8 and 4 bits, LoRA adapters, and models spread over devices."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TorchAoConfig
from transformers.quantizers import quantizer_torchao

from dspy_greater.model import (
    LoadingError,
    MissingModelError,
    ModelError,
    Sampling,
    Targeted,
    WhiteBox,
    load,
)
from examples.published_schedule.white_box import GradientBox
from tests.support.tiny import make_model, make_tokenizer
from tests.support.weights import SIZES, int4, int8, lora, nf4, peft, quantization
from tests.support.white_boxes import full_log_probs, random_ids, random_items, shares


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny Llama, wide enough for groups of 32 weights."""
    path = tmp_path_factory.mktemp("weights") / "base"
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer), **SIZES).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    """A saved adapter: its weights and ``adapter_config.json``, no model and no tokenizer."""
    path = folder.parent / "adapter"
    lora(folder).save_pretrained(path)
    return path


def plain_gradient(model: Any, item: Targeted) -> torch.Tensor:
    """The whole sequence read at once by the model's own forward, and its own backward."""
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(torch.tensor([item.ids]))
    embeddings.requires_grad_(True)
    log_probs = model(inputs_embeds=embeddings).logits[0].float().log_softmax(-1)
    loss = -torch.stack([log_probs[t - 1, item.ids[t]] for t in range(*item.targets)]).mean()
    assert item.inputs is not None
    return torch.autograd.grad(loss, embeddings)[0][0, item.inputs.start : item.inputs.end]


def check_work(white_box: WhiteBox, measure: Any) -> None:
    """Scores, gradients and generations against plain passes of ``measure``."""
    begin = random_ids(20, seed=9)  # shared, so that a prefix is read once
    items = random_items(3)
    items += [
        Targeted(begin + random_ids(9, seed=seed), items[0].targets._replace(start=26, end=29),
                 items[0].targets._replace(start=20, end=24))
        for seed in (1, 2, 3)
    ]  # fmt: skip
    for item, log_probs in zip(items, white_box.log_probs(items), strict=True):
        rows = full_log_probs(measure, list(item.ids))
        expected = torch.stack([rows[t - 1, item.ids[t]] for t in range(*item.targets)])
        torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-4)
    for item, gradient in zip(items, GradientBox.of(white_box).gradients(items), strict=True):
        expected = plain_gradient(measure, item)
        scale = expected.abs().max()
        assert scale > 0
        torch.testing.assert_close(
            gradient.positions / scale, expected.float() / scale, atol=1e-4, rtol=1e-4
        )
    (written,) = white_box.generate([begin], [Sampling(5)])
    ids = list(begin)
    for token in written.ids:
        assert int(full_log_probs(measure, ids)[-1].argmax()) == token
        ids.append(token)
    parameters = list(white_box.model.parameters())
    assert not any(each.requires_grad or each.grad is not None for each in parameters)


# Quantized.


@pytest.mark.parametrize("config", [int8, int4, nf4])
def test_quantized_weights_do_all_that_others_do(config: Any, folder: Path) -> None:
    white_box = load(folder, device="cpu", quantization_config=config())
    model = white_box.model
    weight = model.model.layers[0].mlp.up_proj.weight
    assert hasattr(weight, "__tensor_flatten__") or weight.dtype == torch.uint8
    assert shares(white_box)
    check_work(white_box, model)


def test_fingerprints_know_the_codes_of_quantized_weights(folder: Path) -> None:
    first = load(folder, device="cpu", quantization_config=int8())
    again = load(folder, device="cpu", quantization_config=int8().to_dict())
    assert first.fingerprint == again.fingerprint
    prints = {each.fingerprint for each in (first, load(folder, device="cpu"))}
    prints.add(load(folder, device="cpu", quantization_config=int4()).fingerprint)
    changed = load(folder, device="cpu", quantization_config=int8())
    model = changed.model
    model.model.layers[1].mlp.up_proj.weight.qdata[3, 5] ^= 1  # one bit
    prints.add(load((model, make_tokenizer())).fingerprint)
    assert len(prints) == 4


def test_quantized_checkpoints_load_as_they_were_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder, device="cpu", quantization_config=int8())
    first.model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu").fingerprint == first.fingerprint
    monkeypatch.setattr(quantizer_torchao, "is_torchao_available", lambda: False)
    with pytest.raises(LoadingError, match=r"pip install 'dspy-greater\[quantized\]'"):
        load(tmp_path)


def test_rounded_activations_do_for_all_but_gradients(folder: Path) -> None:
    rounding = TorchAoConfig(quantization.Int8DynamicActivationInt8WeightConfig())
    white_box = load(folder, device="cpu", quantization_config=rounding)
    ids = random_ids(12)
    (written,) = white_box.generate([ids], [Sampling(5)])
    assert 0 < len(written.ids) <= 5
    items = random_items(3)
    assert all(each.isfinite().all() for each in white_box.log_probs(items))


def test_quantizations_that_cannot_be_had_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoadingError, match=r"'str'.*quantization_config takes .*TorchAoConfig"):
        load(folder, quantization_config="int8")
    with pytest.raises(LoadingError, match=r"none such.*quantization_config takes .*TorchAoConfig"):
        load(folder, quantization_config={"quant_method": "none such"})
    with pytest.raises(LoadingError, match=r"quantization_config.*are for\s*loading"):
        load((make_model("llama"), make_tokenizer()), quantization_config=int8())
    plain = int8().to_dict()
    monkeypatch.setattr(quantizer_torchao, "is_torchao_available", lambda: False)
    with pytest.raises(LoadingError, match=r"torchao.*pip install 'dspy-greater\[quantized\]'"):
        load(folder, quantization_config=plain)


# LoRA.


def merged(adapter: Path, base: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base)
    return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()


def test_an_adapters_folder_is_the_base_with_the_adapter(adapter: Path, folder: Path) -> None:
    white_box = load(adapter, device="cpu")
    assert white_box.name == "adapter"
    assert shares(white_box)
    check_work(white_box, merged(adapter, folder))


def test_peft_s_own_wrapper_is_the_same(adapter: Path, folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder)
    wrapped = peft.PeftModel.from_pretrained(base, adapter, is_trainable=True)
    white_box = load((wrapped, make_tokenizer()))
    assert shares(white_box)
    assert white_box.fingerprint == load(adapter, device="cpu").fingerprint
    check_work(white_box, merged(adapter, folder))


def test_fingerprints_tell_adapters_apart(folder: Path) -> None:
    tokenizer = make_tokenizer()
    stronger, other, disabled = lora(folder, lora_alpha=16), lora(folder, 2), lora(folder)
    disabled.base_model.disable_adapter_layers()
    models = (lora(folder), stronger, other, disabled)
    prints = {load((model, tokenizer)).fingerprint for model in models}
    assert len({*prints, load(folder, device="cpu").fingerprint}) == 5


def test_an_adapter_on_quantized_weights(adapter: Path) -> None:
    white_box = load(adapter, device="cpu", quantization_config=int8())
    check_work(white_box, white_box.model)


def test_the_adapters_own_tokenizer_comes_first(
    adapter: Path, folder: Path, tmp_path: Path
) -> None:
    lora(folder).save_pretrained(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    tokenizer.save_pretrained(tmp_path)
    messages = [{"role": "user", "content": "Hi"}]
    ids = load(tmp_path, device="cpu").encode(messages).ids
    assert tokenizer.decode(ids) == "Hi!"
    assert len(ids) < len(load(adapter, device="cpu").encode(messages).ids)


def test_adapters_that_cannot_be_used_are_refused(
    adapter: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    prompt = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match="learned prompt"):
        load((peft.get_peft_model(make_model("llama"), prompt), tokenizer))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    lost = {**settings, "base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(lost))
    with pytest.raises(MissingModelError, match=r"gone.*correct base_model_name_or_path"):
        load(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))  # without weights
    with pytest.raises(LoadingError, match=r"Cannot load the adapter .* onto .*adapter_model"):
        load(tmp_path, device="cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoadingError, match=r"pip install 'dspy-greater\[lora\]' for peft"):
        load(adapter)


# Spread over devices.


def test_device_map_auto(folder: Path) -> None:
    pytest.importorskip("accelerate")
    white_box = load(folder, device_map="auto", dtype="float32")
    assert white_box.fingerprint == load(folder, device="cpu").fingerprint
    check_work(white_box, make_model("llama", len(make_tokenizer()), **SIZES))


@pytest.mark.parametrize("on_disk", ["model.layers.1", "model.embed_tokens", "lm_head"])
def test_layers_may_lie_on_the_disk(on_disk: str, folder: Path) -> None:
    pytest.importorskip("accelerate")
    parts = ("embed_tokens", "layers.0", "layers.1", "norm", "rotary_emb")
    places = dict.fromkeys([*(f"model.{part}" for part in parts), "lm_head"], "cpu")
    places[on_disk] = "disk"
    white_box = load(folder, device_map=places, dtype="float32")
    assert any(each.is_meta for each in white_box.model.parameters())
    assert white_box.fingerprint == load(folder, device="cpu").fingerprint
    assert shares(white_box)
    check_work(white_box, make_model("llama", len(make_tokenizer()), **SIZES))

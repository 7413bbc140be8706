# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A Parrot in 4 and 8 bits; `make test-serving` installs the quantisers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from modeling_parrot import ParrotForConditionalGeneration
from tests.tiny import tiny_config, tiny_model, tiny_processor


pytest.importorskip("bitsandbytes", reason="make test-serving")
pytest.importorskip("torchao", reason="make test-serving")
pytestmark = [pytest.mark.slow, pytest.mark.serving]

from trainer.quantization import QuantizationArguments  # noqa: E402
from trainer.timing.quantization_parts import measure_quantized, ways  # noqa: E402


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Parrot with sizes that bitsandbytes' CPU kernels take."""
    folder = tmp_path_factory.mktemp("parrot")
    sizes = {"hidden_size": 64, "intermediate_size": 64}
    model = tiny_model(tiny_config(text_config=sizes | {"num_key_value_heads": 4}, vision_config=sizes))
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("way", ways())
def test_a_user_s_own_config_needs_no_list_of_modules_and_leaves_names_router_and_experts_as_they_are(
    way: str, parrot: Path, tmp_path: Path
) -> None:
    whole = ParrotForConditionalGeneration.from_pretrained(parrot)
    kwargs: dict[str, Any] = ways()[way]
    model = ParrotForConditionalGeneration.from_pretrained(parrot, **kwargs)
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in whole.named_parameters()}
    for name, value in whole.model.moe.named_parameters():
        assert torch.equal(model.model.moe.get_parameter(name), value.to(model.dtype)), name
    model.save_pretrained(tmp_path)
    again = ParrotForConditionalGeneration.from_pretrained(tmp_path)
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=0, atol=1e-6)


def test_the_table_has_a_smaller_size_and_a_difference_for_each_way(
    parrot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "picture.png")
    questions = ["Bu ne?", "What is this, tell me?"]
    results = measure_quantized(
        QuantizationArguments(str(parrot), str(tmp_path / "picture.png"), questions, max_new_tokens=4)
    )
    whole = results.pop("float32")
    assert (whole["difference"], whole["same"]) == (0, 2)
    for way, result in results.items():
        assert result["bytes"] < whole["bytes"], way
        assert 0 < result["difference"] < float("inf"), way
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == [
        f"| {way}" for way in ways()
    ]

# Copyright 2026 The Parrot authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionModel,
    Qwen2Tokenizer,
    TrainerCallback,
    TrainerState,
)

from trainer.demo_base import (
    KINDS,
    DemoBaseArguments,
    augment,
    chat_rows,
    main,
    parallel_captions,
    targets,
    train,
    train_tokenizer,
)
from trainer.emoji import LANGUAGES, TABLES, all_concepts, select_concepts
from trainer.mini_mmmb import MiniMMMBArguments, build


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return train_tokenizer(parallel_captions(select_concepts(50), 500, seed=0), vocab_size=800)


@pytest.mark.parametrize(
    "text", ["Hi 🦜!\n", "图片：猫。", "coração", "«قطة»؟", "İğüşöç", "Ёжик ест", "".join(map(chr, range(32, 500)))]
)
def test_tokenizer_gives_back_every_script(tokenizer: Qwen2Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_writes_chatml(tokenizer: Qwen2Tokenizer) -> None:
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
        == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(tokenizer("<|im_start|><|im_end|><|endoftext|>")["input_ids"]) == 3


def test_captions_of_the_same_things_stand_in_all_languages_in_any_order() -> None:
    cat = next(concept for concept in all_concepts() if concept.emoji == "🐈")
    texts = parallel_captions([cat], 20, seed=0)
    for text in texts:
        lines = text.split("\n")
        assert len(lines) == len(LANGUAGES)
        for language in LANGUAGES:
            sentences = [caption.format(cat.names[language]) for caption in TABLES[language]["captions"]]
            assert sum(line in sentences for line in lines) == 1
    assert len({text.split("\n")[0] for text in texts}) > 3


def test_chat_rows_ask_from_each_language_into_each() -> None:
    rows = chat_rows(select_concepts(10), seed=0)
    assert len(rows) == 10 * 6 * 6 * 3
    assert len({messages[0]["content"] for _, messages in rows}) > 1000
    for language in LANGUAGES:
        held_out = {text for kind in KINDS[:2] for text in TABLES[language]["questions"][kind]["held_out"]}
        asked = {messages[0]["content"].split("\n")[1] for target, messages in rows if target == language}
        assert len(asked) > 30 and not asked & held_out
    assert {language for language, _ in rows[: 6 * 3]} == set(LANGUAGES)


def test_each_patch_is_told_what_its_centre_shows_and_the_whole_all_of_it() -> None:
    objects = [
        {"labels": ["dog"], "box": [0.0, 0.0, 0.5, 0.5]},
        {"labels": ["red", "heart"], "box": [0.6, 0.5, 1.0, 1.0]},
    ]
    told = targets(objects, {"dog": 1, "heart": 2, "red": 3}, 2)
    expected = [[0, 0.5, 0.25, 0.25], [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0.5, 0.5]]
    assert told.tolist() == expected


def test_what_patches_are_told_is_flipped_along_and_named_colors_are_not_mixed() -> None:
    torch.manual_seed(0)
    pictures = torch.zeros(32, 3, 4, 4)
    pictures[:, 0, :, :2] = 1  # red on the left
    told = torch.zeros(32, 1 + 4, 2)
    told[:, [1, 3], 1] = 1
    changed, labels = augment(pictures, told, torch.ones(32, dtype=torch.bool))
    is_red_on_the_left = changed[:, 0, 0, 0] > changed[:, 0, 0, 3]
    assert 5 < is_red_on_the_left.sum() < 27
    assert labels[:, 1, 1].equal(is_red_on_the_left.float()) and labels[:, 2, 1].equal((~is_red_on_the_left).float())
    assert changed[:, 1].equal(changed[:, 2])
    mixed, _ = augment(pictures, told, torch.zeros(32, dtype=torch.bool))
    assert not mixed[:, 1].equal(mixed[:, 2])


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> DemoBaseArguments:
    folder = tmp_path_factory.mktemp("demo")
    sizes = {"align_views": 1, "align_scenes": 12, "train": 12, "validation": 6, "test_per_category": 1}
    build(MiniMMMBArguments(str(folder / "data"), concepts=50, image_size=32, **sizes))
    return DemoBaseArguments(
        data=str(folder / "data"),
        output=str(folder / "base"),
        vocab_size=800,
        language_model_steps=2,
        vision_tower_steps=2,
        save_steps=1,
    )


@pytest.mark.slow
def test_parts_load_and_are_not_trained_again(arguments: DemoBaseArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    main(arguments)
    folder = Path(arguments.output)
    tokenizer = AutoTokenizer.from_pretrained(folder / "language_model")
    model = AutoModelForCausalLM.from_pretrained(folder / "language_model")
    assert (model.config.vocab_size, model.config.eos_token_id) == (len(tokenizer), tokenizer.eos_token_id)
    assert isinstance(AutoModel.from_pretrained(folder / "vision_tower"), CLIPVisionModel)
    processor = AutoImageProcessor.from_pretrained(folder / "vision_tower", backend="pil")
    assert processor.crop_size == {"height": 48, "width": 48}
    measures = json.loads((folder / "vision_tower" / "measures.json").read_text())
    logged = sorted((folder / "checkpoints" / "vision_tower").glob("*/trainer_state.json"))[-1].read_text()
    assert measures["loss"] == [log["loss"] for log in json.loads(logged)["log_history"] if "loss" in log][-1]

    monkeypatch.setattr("trainer.demo_base.train", lambda trainer: pytest.fail("trained again"))
    main(arguments)
    with pytest.raises(ValueError, match="delete it or give another --output"):
        main(replace(arguments, seed=1))


@pytest.mark.slow
def test_a_part_that_was_stopped_goes_on_from_its_checkpoint(
    arguments: DemoBaseArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(arguments)
    stopped = replace(arguments, output=arguments.output + "-stopped")
    steps = []

    class Watch(TrainerCallback):
        def on_step_end(self, _args: Any, state: TrainerState, *args: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

        def on_save(self, *args: Any, **kwargs: Any) -> None:
            if not (Path(stopped.output) / "stopped").exists():
                (Path(stopped.output) / "stopped").touch()
                raise KeyboardInterrupt

    monkeypatch.setattr("trainer.demo_base.train", lambda trainer: (trainer.add_callback(Watch), train(trainer)))
    with pytest.raises(KeyboardInterrupt):
        main(stopped)
    reached = steps[-1]
    steps.clear()
    main(stopped)
    assert steps[0] == reached + 1
    found, expected = (
        load_file(Path(folder) / "language_model" / "model.safetensors")
        for folder in (stopped.output, arguments.output)
    )
    assert all(torch.allclose(found[name], tensor, atol=1e-5) for name, tensor in expected.items())

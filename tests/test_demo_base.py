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

from trainer.demo_base import DemoBaseArguments
from trainer.demo_parts import augment, chat_rows, targets, tokenize, train, train_parts, train_tokenizer
from trainer.emoji import LANGUAGES, TABLES, select_concepts
from trainer.mini_mmmb import MiniMMMBArguments, build


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    texts = [turn["content"] for _, messages in chat_rows(select_concepts(50), 500, seed=0) for turn in messages]
    return train_tokenizer(texts, vocab_size=800)


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


def test_chats_ask_about_english_captions_in_each_language_and_in_no_wording_that_is_tested() -> None:
    concepts = select_concepts(10)
    rows = chat_rows(concepts, 1200, seed=0, typed=False)
    captions = [caption.split("{}")[0] for caption in TABLES["en"]["captions"]]
    for language in LANGUAGES:
        questions = TABLES[language]["questions"]
        kinds = [questions["name"], questions["describe"], *questions["recognition"].values()]
        chats = [messages for target, messages in rows if target == language]
        asked = {messages[0]["content"].split("\n")[1] for messages in chats}
        assert len(chats) == 200 and len(asked) > 30
        assert asked <= {text for kind in kinds for text in kind["trained"]}
        for user, assistant in chats:
            caption = user["content"].split("\n")[0]
            assert any(caption.startswith(start) for start in captions)
            named = [concept.names for concept in concepts if concept.names[language] in assistant["content"]]
            assert named and any(names["en"] in caption for names in named)


def test_of_the_labels_the_answers_are_left(tokenizer: Qwen2Tokenizer) -> None:
    chats = [messages for _, messages in chat_rows(select_concepts(10), 6, seed=0)]
    for row, (_, assistant) in zip(tokenize(tokenizer, chats), chats, strict=True):
        labels = [label for label in row["labels"] if label != -100]
        assert row["input_ids"][-len(labels) :] == labels
        assert tokenizer.decode(labels) == assistant["content"] + "<|im_end|>\n"


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
    train_parts(arguments)
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

    monkeypatch.setattr("trainer.demo_parts.train", lambda trainer: pytest.fail("trained again"))
    train_parts(arguments)
    with pytest.raises(ValueError, match="delete it or give another --output"):
        train_parts(replace(arguments, seed=1))


@pytest.mark.slow
def test_a_part_that_was_stopped_goes_on_from_its_checkpoint(
    arguments: DemoBaseArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_parts(arguments)
    stopped = replace(arguments, output=arguments.output + "-stopped")
    steps = []

    class Watch(TrainerCallback):
        def on_step_end(self, _args: Any, state: TrainerState, *args: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

        def on_save(self, *args: Any, **kwargs: Any) -> None:
            if not (Path(stopped.output) / "stopped").exists():
                (Path(stopped.output) / "stopped").touch()
                raise KeyboardInterrupt

    monkeypatch.setattr("trainer.demo_parts.train", lambda trainer: (trainer.add_callback(Watch), train(trainer)))
    with pytest.raises(KeyboardInterrupt):
        train_parts(stopped)
    reached = steps[-1]
    steps.clear()
    train_parts(stopped)
    assert steps[0] == reached + 1
    found, expected = (
        load_file(Path(folder) / "language_model" / "model.safetensors")
        for folder in (stopped.output, arguments.output)
    )
    assert all(torch.allclose(found[name], tensor, atol=1e-5) for name, tensor in expected.items())

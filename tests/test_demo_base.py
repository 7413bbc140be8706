# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
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
from trainer.languages import MMMB
from trainer.mini_mmmb import MiniMMMBArguments
from trainer.toy_world.data_set import build
from trainer.toy_world.demo_parts import (
    augment,
    chat_rows,
    tokenize,
    train,
    train_parts,
    train_tokenizer,
)
from trainer.toy_world.emoji import LANGUAGES, TABLES, select_concepts, use_languages


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    texts = [turn["content"] for _, messages in chat_rows(select_concepts(50), 500, seed=0) for turn in messages]
    return train_tokenizer(texts, vocab_size=800)


@pytest.mark.parametrize(
    "text", ["Hi 🦜!\n", "图片：猫。", "coração", "«قطة»؟", "İğüşöç", "Ёжик ест", "".join(map(chr, range(32, 500)))]
)
def test_tokenizer_decodes_every_script_without_loss(tokenizer: Qwen2Tokenizer, text: str) -> None:
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
        wordings = {messages[0]["content"].split("\n")[1] for messages in chats}
        assert len(chats) == 200 and len(wordings) > 30
        assert wordings <= {text for kind in kinds for text in kind["trained"]}
        for user, assistant in chats:
            caption = user["content"].split("\n")[0]
            assert any(caption.startswith(start) for start in captions)
            named = [concept.names for concept in concepts if concept.names[language] in assistant["content"]]
            assert named and any(names["en"] in caption for names in named)


def test_only_answers_have_labels(tokenizer: Qwen2Tokenizer) -> None:
    chats = [messages for _, messages in chat_rows(select_concepts(10), 6, seed=0)]
    for row, (_, assistant) in zip(tokenize(tokenizer, chats), chats, strict=True):
        labels = [label for label in row["labels"] if label != -100]
        assert row["input_ids"][-len(labels) :] == labels
        assert tokenizer.decode(labels) == assistant["content"] + "<|im_end|>\n"


def test_augmentation_changes_the_pictures_and_keeps_their_shape() -> None:
    pictures = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    changed = augment(pictures)
    assert changed.shape == pictures.shape and changed.isfinite().all() and not changed.equal(pictures)


@pytest.fixture(autouse=True)
def _six_languages_again() -> Iterator[None]:
    yield
    use_languages(MMMB)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> DemoBaseArguments:
    """Arguments that train the smallest parts for two steps, and data for them."""
    folder = tmp_path_factory.mktemp("demo")
    sizes = {"align_views": 1, "train": 12, "validation": 6, "test_per_category": 1}
    data = MiniMMMBArguments(str(folder / "data"), concepts=50, image_size=32, captions=True, **sizes)
    build(replace(data, languages=["de", "tr"]))
    use_languages(MMMB)  # as in the process of `trainer.demo_base`
    return DemoBaseArguments(
        data=str(folder / "data"),
        output=str(folder / "base"),
        vocab_size=800,
        language_model_steps=2,
        vision_tower_steps=2,
        save_steps=1,
    )


def test_the_tower_s_captions_are_of_300_things_among_them_all_of_the_benchmark(arguments: DemoBaseArguments) -> None:
    aligned, captioned = (
        set(Dataset.from_parquet(f"{arguments.data}/{name}/train-00000-of-00001.parquet")["concept"])
        for name in ("align", "captions")
    )
    assert (len(aligned), len(captioned)) == (50, 300)
    assert aligned < captioned


@pytest.mark.slow
def test_parts_load_and_are_not_trained_again(arguments: DemoBaseArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(arguments.output)
    train_parts(replace(arguments, part="language_model"))
    assert not (folder / "vision_tower").exists()
    train_parts(arguments)
    tokenizer = AutoTokenizer.from_pretrained(folder / "language_model")
    model = AutoModelForCausalLM.from_pretrained(folder / "language_model")
    assert (model.config.vocab_size, model.config.eos_token_id) == (len(tokenizer), tokenizer.eos_token_id)
    assert isinstance(AutoModel.from_pretrained(folder / "vision_tower"), CLIPVisionModel)
    processor = AutoImageProcessor.from_pretrained(folder / "vision_tower", backend="pil")
    assert processor.crop_size == {"height": arguments.image_size, "width": arguments.image_size}
    assert json.loads((folder / "language_model" / "measures.json").read_text()).keys() == {"loss_de", "loss_tr"}
    measures = json.loads((folder / "vision_tower" / "measures.json").read_text())
    logged = sorted((folder / "checkpoints" / "vision_tower").glob("*/trainer_state.json"))[-1].read_text()
    assert measures["loss"] == [log["loss"] for log in json.loads(logged)["log_history"] if "loss" in log][-1]

    monkeypatch.setattr("trainer.toy_world.demo_parts.train", lambda trainer: pytest.fail("trained again"))
    train_parts(arguments)
    with pytest.raises(ValueError, match="delete this folder or choose another --output"):
        train_parts(replace(arguments, seed=1))


@pytest.mark.slow
def test_an_interrupted_part_resumes_from_its_checkpoint(
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

    monkeypatch.setattr(
        "trainer.toy_world.demo_parts.train", lambda trainer: (trainer.add_callback(Watch), train(trainer))
    )
    with pytest.raises(KeyboardInterrupt):
        train_parts(stopped)
    last_step = steps[-1]
    steps.clear()
    train_parts(stopped)
    assert steps[0] == last_step + 1
    resumed, uninterrupted = (
        load_file(Path(folder) / "language_model" / "model.safetensors")
        for folder in (stopped.output, arguments.output)
    )
    assert all(torch.allclose(resumed[name], tensor, atol=1e-5) for name, tensor in uninterrupted.items())

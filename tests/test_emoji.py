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
from pathlib import Path

import pytest
from datasets import DatasetDict, load_dataset

from trainer.emoji import (
    CATEGORIES,
    LANGUAGES,
    TEST_STYLES,
    TRAIN_STYLES,
    EmojiArguments,
    all_concepts,
    build,
    captions,
    english_captions,
    select_concepts,
    text_corpus,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emoji")
    build(EmojiArguments(str(folder), concepts=10, views=2, image_size=32))
    return folder


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> DatasetDict:
    return load_dataset(str(folder), cache_dir=str(tmp_path_factory.mktemp("cache")))


def test_splits_have_the_sizes_that_were_asked_for(data: DatasetDict) -> None:
    assert {split: len(rows) for split, rows in data.items()} == {
        "train": 10 * 4 * 2 * 6,
        "validation": 10 * 4 * 6,
        "test": 10 * 2 * 6,
    }
    assert data["test"][0]["images"][0].size == (32, 32)


def test_every_picture_stands_in_all_languages_with_one_question_kind(data: DatasetDict) -> None:
    names = {concept.name: concept.names for concept in all_concepts()}
    rows = data["test"]
    assert rows["language"][:6] == list(LANGUAGES)
    for start in range(0, len(rows), 6):
        group = [rows[start + offset] for offset in range(6)]
        assert len({row["images"][0].tobytes() for row in group}) == 1
        for row in group:
            question, answer = row["messages"]
            assert (question["role"], answer["role"]) == ("user", "assistant")
            assert names[row["concept"]][row["language"]] in answer["content"]
        assert len({row["messages"][1]["content"] in names[row["concept"]].values() for row in group}) == 1


def test_test_styles_are_never_trained_on_and_validation_shows_other_views(data: DatasetDict) -> None:
    assert set(data["train"]["style"]) == set(data["validation"]["style"]) == set(TRAIN_STYLES)
    assert set(data["test"]["style"]) == set(TEST_STYLES)
    trained = {row["images"][0].tobytes() for row in data["train"]}
    assert not trained & {row["images"][0].tobytes() for row in data["validation"]}


def test_a_seed_decides_every_byte(folder: Path, tmp_path: Path) -> None:
    build(EmojiArguments(str(tmp_path / "same"), concepts=10, views=2, image_size=32))
    build(EmojiArguments(str(tmp_path / "other"), concepts=10, views=2, image_size=32, seed=1))
    file = "data/test-00000-of-00001.parquet"
    assert (folder / file).read_bytes() == (tmp_path / "same" / file).read_bytes()
    assert (folder / file).read_bytes() != (tmp_path / "other" / file).read_bytes()


def test_the_same_settings_are_not_built_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "data" / "train-00000-of-00001.parquet"
    before = file.stat().st_mtime_ns
    build(EmojiArguments(str(folder), concepts=10, views=2, image_size=32))
    assert file.stat().st_mtime_ns == before
    assert "reused" in capsys.readouterr().out


def test_chosen_concepts_are_spread_evenly_and_no_two_are_confusable() -> None:
    concepts = select_concepts(83)
    counts = [sum(concept.category == category for concept in concepts) for category in CATEGORIES]
    assert counts == [9, 9, 9, 8, 8, 8, 8, 8, 8, 8]
    assert not [(a.name, b.name) for a in concepts for b in concepts if a is not b and a.is_confusable_with(b)]


def test_too_many_concepts_are_refused_with_what_is_possible() -> None:
    with pytest.raises(ValueError, match=r"concepts=500 asks for 50 of the category 'animals'.*at most \d+"):
        select_concepts(500)


def test_texts_are_in_the_languages_asked_for() -> None:
    cat = next(concept for concept in all_concepts() if concept.emoji == "🐈")
    assert captions(cat, "zh") == ["图片：猫。", "图中显示：猫。"]
    assert english_captions()["cat"] == ["Picture: cat.", "The picture shows: cat."]
    assert len(text_corpus()) == 3 * len(text_corpus(("ru", "zh"))) == 12 * len(all_concepts())
    assert text_corpus(["ru"], [cat]) == ["Изображение: кошка.", "На картинке: кошка."]

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
"""What a training run saved is loaded with its own code and names pictures; its right answers are counted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from tests.test_sft import train
from trainer.emoji import LANGUAGES, EmojiArguments, build
from trainer.name_pictures import choose, is_right


ROOT = Path(__file__).parents[1]


def test_an_answer_is_right_word_for_word() -> None:
    row = {"messages": [{"role": "user", "content": "Bu ne?"}, {"role": "assistant", "content": "kedi."}]}
    assert is_right(row, " kedi.\n")
    assert not any(is_right(row, given) for given in ("kedi", "Kedi.", "kedi. kedi.", ""))


@pytest.mark.slow
def test_a_saved_run_names_pictures_with_the_code_in_its_folder(world: Path, tmp_path: Path) -> None:
    model = train(world, tmp_path / "model", "--max_steps", "1")
    build(EmojiArguments(str(tmp_path / "data"), concepts=10, views=1, image_size=28))
    command = [sys.executable, "-m", "trainer.name_pictures", "--model", str(model), "--data", str(tmp_path / "data")]
    command += ["--output", str(tmp_path / "names"), "--pictures", "3", "--splits", "test"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^test +fluent +{'0/3 +' * len(LANGUAGES)}1/10$", run.stdout, re.MULTILINE), run.stdout
    page = (tmp_path / "names" / "names.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3
    assert page.count('class="no"') == 3 * len(LANGUAGES)

    data = load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["test"]
    chosen = choose(data, 7)
    assert len(set(chosen["concept"])) == 7  # every concept once before any twice
    with pytest.raises(ValueError, match="not picture by picture"):
        choose(data.shuffle(seed=0), 7)

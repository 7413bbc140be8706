# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A model's folder answers in the way its users load it: by the pipeline, with the code in the folder."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.processes import python
from tests.test_sft import train
from tests.tiny import chat_inputs
from trainer.ask import AskArguments, ask


ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_each_question_is_answered_as_generate_does(world: Path, tmp_path: Path) -> None:
    folder = train(world, tmp_path / "model", "--max_steps", "1")
    PILImage.new("RGB", (20, 30), "red").save(tmp_path / "red.png")
    questions = ["? red", "? kırmızı"]
    command = [python(), "-m", "trainer.ask", "--model", str(folder), "--image", str(tmp_path / "red.png")]
    command += ["--max_new_tokens", "5", "--question", *questions]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    model = ParrotForConditionalGeneration.from_pretrained(folder).eval()
    processor = ParrotProcessor.from_pretrained(folder)
    expected = []
    for question in questions:
        inputs = chat_inputs(processor, str(tmp_path / "red.png"), question)
        tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        expected += [question, "    " + processor.decode(tokens, skip_special_tokens=True).strip()]
    assert run.stdout.rstrip().split("\n") == "\n".join(expected).rstrip().split("\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "models/none"}, "--model='models/none': there is no such folder"),
        ({"image": "none.jpg"}, r"--image none.jpg cannot be read: there is no such file\. Give another picture\.$"),
        ({"image": "models"}, r"--image models cannot be read: it is a folder\. Give another picture\.$"),
        ({"model": "."}, "--model='.' has no config.json"),
        ({"question": ["?", " "]}, r"--question=\['\?', ' '\] has an empty question"),
        ({"image": "page.jpg"}, "--image page.jpg cannot be read: it is not an image file"),
        ({"image": "http://127.0.0.1:9/none.jpg"}, "--image http://127.0.0.1:9/none.jpg cannot be read: "),
    ],
)
def test_a_missing_model_or_picture_is_reported_before_the_model_is_loaded(
    change: dict[str, Any], message: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "page.jpg").write_text("<html>404 Not Found</html>")
    with pytest.raises(ValueError, match=message):
        ask(AskArguments(**({"model": str(world / "model"), "image": "page.jpg", "question": ["?"]} | change)))

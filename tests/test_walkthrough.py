# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""README's walk-through, word for word, with tiny parts in the place of the demo's."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image as PILImage
from transformers import AutoModel, AutoModelForCausalLM

from tests.processes import python
from tests.test_compose import LANGUAGE_MODELS, TOWERS
from tests.tiny import tiny_processor


ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_walk_through_leads_from_photos_to_what_is_published(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text[
        text.index("### Your own pictures, languages and parts") : text.index("`trainer/mini_mmmb.py` is a larger")
    ]
    blocks = dict(re.findall(r"```(python|csv|bash)\n(.+?)```", text, re.DOTALL))
    (tmp_path / "my_data.py").write_text(blocks["python"], encoding="utf-8")
    (tmp_path / "questions.csv").write_text(blocks["csv"], encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for photo, color in {"giraffe": "yellow", "tree": "green", "boat": "blue", "house": "red"}.items():
        PILImage.new("RGB", (40, 30), color).save(tmp_path / "photos" / f"{photo}.jpg")
    for name in ("trainer", "modeling_parrot", "model_cards"):
        (tmp_path / name).symlink_to(ROOT / name)
    base, processor = tmp_path / "models" / "demo-base", tiny_processor()
    AutoModel.from_config(TOWERS["clip"].vision_config).save_pretrained(base / "vision_tower")
    processor.image_processor.save_pretrained(base / "vision_tower")
    AutoModelForCausalLM.from_config(LANGUAGE_MODELS["qwen2"]).save_pretrained(base / "language_model")
    processor.tokenizer.save_pretrained(base / "language_model")

    environment = os.environ | {
        "PATH": f"{Path(python()).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", "-ec", blocks["bash"]], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "2 of 2 pictures are in the training data, pixel by pixel" in done.stdout
    results = json.loads((tmp_path / "models" / "mine" / "benchmark" / "results.json").read_text())
    measured = results["results"]["sw"]["all"]
    assert (measured["count"], measured["in_training"], measured["training_data"]) == (2, 2, "mine")
    assert measured["high"] - measured["low"] > 0.5
    card = (tmp_path / "models" / "mine-to-publish" / "README.md").read_text()
    assert "org/parrot-swahili" in card
    assert "2 of 2 (mine)" in card
    assert (tmp_path / "models" / "mine-to-publish" / "model.safetensors").exists()

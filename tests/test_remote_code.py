# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""What a user of the Hub does, in fresh processes with transformers and without this project's packages."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.hub import LoopbackHub, run_python


REPOSITORY = Path(__file__).parents[1]
CODE = ("configuration_parrot.py", "modeling_parrot.py", "processing_parrot.py")

ANSWER = """
import json
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM
from transformers import AutoProcessor, pipeline

CHAT = [{"role": "user", "content": [
    {"type": "image", "image": Image.new("RGB", (20, 30), (200, 30, 90))}, {"type": "text", "text": "Bu ne?"}
]}]

def answer(model, processor):
    inputs = processor.apply_chat_template(
        CHAT, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**inputs).logits
        tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    return {"logits": logits.double().sum().item(), "tokens": tokens[0, inputs["input_ids"].shape[1]:].tolist()}
"""

PUSH = f"""
{ANSWER}
from tests.tiny import tiny_model, tiny_processor
model, processor = tiny_model(), tiny_processor()
model.push_to_hub("org/parrot")
processor.push_to_hub("org/parrot")
model.model.push_to_hub("org/bare")
print(json.dumps(answer(model, processor)))
"""

LOAD = f"""
{ANSWER}
name, folder = NAMES
remote = {{"trust_remote_code": True}}
config = AutoConfig.from_pretrained(name, **remote)
processor = AutoProcessor.from_pretrained(name, **remote)
model = AutoModel.from_pretrained(name, **remote)
twins = [auto.from_pretrained(name, **remote) for auto in (AutoModelForImageTextToText, AutoModelForMultimodalLM)]
pipe = pipeline("image-text-to-text", model=name, **remote)
generate_kwargs = {{"max_new_tokens": 4, "do_sample": False}}
text = pipe(text=CHAT, generate_kwargs=generate_kwargs, return_full_text=False)[0]["generated_text"]
result = answer(model, processor)
assert all(answer(twin, processor) == result for twin in twins)
assert text == processor.decode(result["tokens"], skip_special_tokens=True), text
assert type(config).__name__ == "ParrotConfig" and "transformers_modules" in type(model).__module__
model.save_pretrained(folder)
processor.save_pretrained(folder)
print(json.dumps(result))
"""

BARE = """
import json
from transformers import AutoModel
model, info = AutoModel.from_pretrained("org/bare", trust_remote_code=True, output_loading_info=True)
print(json.dumps([type(model).__name__, sorted(info["missing_keys"])]))
"""


def approximately(pushed: dict) -> dict:
    return pushed | {"logits": pytest.approx(pushed["logits"], rel=1e-5)}


def load(name: str, folder: Path, environment: dict[str, str], cwd: Path) -> dict:
    """Loads a model by its name in a process without this repository. Returns what LOAD prints."""
    code = LOAD.replace("NAMES", repr((name, str(folder))))
    return json.loads(run_python(code, environment, cwd).splitlines()[-1])


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.mark.slow
def test_a_model_answers_the_same_pushed_loaded_saved_and_loaded_again(hub: LoopbackHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path / "home")
    pushed = json.loads(run_python(PUSH, environment, tmp_path, with_repository=True).splitlines()[-1])
    assert set(CODE) <= hub.files("org/parrot").keys()

    assert load("org/parrot", tmp_path / "first", environment, tmp_path) == approximately(pushed)
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    assert load(str(tmp_path / "first"), tmp_path / "second", offline, tmp_path) == approximately(pushed)

    own = json.loads(hub.files("org/parrot")["config.json"])["auto_map"]
    generating = {"AutoModel", "AutoModelForImageTextToText", "AutoModelForMultimodalLM"}
    assert own.keys() == generating | {"AutoConfig", "AutoProcessor"}
    for folder in (tmp_path / "first", tmp_path / "second"):
        assert json.loads((folder / "config.json").read_text())["auto_map"] == own
        assert "--" not in "".join((folder / name).read_text() for name in ("config.json", "processor_config.json"))
        for name in CODE:
            assert (folder / name).read_text() == (REPOSITORY / "modeling_parrot" / name).read_text()

    assert json.loads(run_python(BARE, environment, tmp_path).splitlines()[-1]) == ["ParrotModel", []]


@pytest.mark.slow
def test_the_snippets_of_the_readme_run(hub: LoopbackHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path / "home")
    run_python(PUSH, environment, tmp_path, with_repository=True)
    Image.new("RGB", (30, 20), "red").save(tmp_path / "picture.png")
    introduction = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## How it works")[0]
    snippets = re.findall(r"```python\n(.+?)```", introduction, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        assert run_python(snippet, environment, tmp_path).strip()


ALLOWED_MODULES = {"dataclasses", "typing", "pathlib", "torch", "transformers", "huggingface_hub"}
FORBIDDEN = {"open", "eval", "exec", "compile", "__import__", "input", "breakpoint", "globals", "vars", "setattr"}
# Names with which these modules could reach files, processes and the network.
FORBIDDEN_ATTRIBUTES = re.compile(
    r"system|popen|spawn\w*|urlopen|\w*download\w*|\w*import_module|open|(read|write)_(text|bytes)|unlink|rename|rmdir"
    r"|mkdir|touch|iterdir|glob|hub|load|save|serialization|os|sys|subprocess|__(?!init|post_init|call|name)\w+__"
)


def test_the_code_on_the_hub_imports_three_packages_and_opens_nothing_but_the_caller_s_pictures() -> None:
    getters = 0
    for name in CODE:
        for node in ast.walk(ast.parse((REPOSITORY / "modeling_parrot" / name).read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED_MODULES, name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.split(".")[0] in ALLOWED_MODULES, (name, node.module)
                assert node.module != "pathlib" or [alias.name for alias in node.names] == ["Path"]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1
                assert f"{node.module}.py" in CODE
            elif isinstance(node, ast.Name):
                assert node.id not in FORBIDDEN, (name, node.id)
                if node.id == "getattr":
                    getters += 1
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
                getters -= 1  # otherwise getattr is passed on, and could be called with any name
                assert not FORBIDDEN_ATTRIBUTES.fullmatch(ast.literal_eval(node.args[1])), (name, ast.unparse(node))
            elif isinstance(node, ast.Attribute) and FORBIDDEN_ATTRIBUTES.fullmatch(node.attr):
                assert ast.unparse(node) == "image_utils.PIL.Image.open", (name, ast.unparse(node))  # the caller's
    assert getters == 0

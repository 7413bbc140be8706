# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing: the files, the card, the errors, and a round trip over a local Hub."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import DatasetCard, ModelCard
from peft import PeftModel
from PIL import Image as PILImage
from safetensors.torch import save_file
from trl import TrlParser

from modeling_parrot import ParrotConfig, ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import assert_alike
from tests.hub import LoopbackHub, run_python
from tests.test_sft import train
from tests.tiny import chat_inputs, tiny_model, tiny_processor
from trainer.benchmark import RunArguments
from trainer.common.edition import edition
from trainer.evaluation.benchmark_files import sha256, training_file
from trainer.evaluation.benchmark_runs import run
from trainer.publish import PublishArguments
from trainer.publishing import model_card
from trainer.publishing.publication import check, publish
from trainer.sft import ParrotModelConfig, ParrotScriptArguments, ParrotSFTConfig


CARDS = Path(__file__).parents[1] / "model_cards"
MODEL_FILES = {
    *("README.md", "config.json", "generation_config.json", "processor_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json"),
    *("configuration_parrot.py", "modeling_parrot.py", "processing_parrot.py"),
}
TOKEN = "hf_" + "a" * 34


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secret-project") / "model"
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def dry_run(model: Path, output: Path, **kwargs: Any) -> dict[str, str]:
    """Publishes with --dry_run. Returns the files by name, with their texts; binary files have an empty text."""
    arguments = {"repo_id": "org/parrot", "license": "apache-2.0"} | kwargs
    publish(PublishArguments(model=str(model), dry_run=str(output), **arguments))
    files = {str(file.relative_to(output)): file for file in output.rglob("*") if file.is_file()}
    binary = (".png", ".safetensors")
    return {name: "" if name.endswith(binary) else file.read_text() for name, file in files.items()}


def measured(
    model: Path,
    benchmark: str,
    output: Path,
    languages: tuple[str, ...] = ("en", "tr"),
    per_category: int | None = None,
) -> list[dict[str, Any]]:
    """Runs the benchmark. Returns its judged answers."""
    run(
        RunArguments(
            model=str(model),
            benchmark=[benchmark],
            languages=list(languages),
            output=str(output),
            answer="score",
            score_by="letter",
            baselines=["chance"],
            per_category=per_category,
        )
    )
    return [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]


def test_only_listed_files_are_written_and_no_trace_of_training(model: Path, tmp_path: Path) -> None:
    trained = shutil.copytree(model, tmp_path / "trained")
    (trained / "checkpoint-1").mkdir()
    for name in ("training_args.bin", "optimizer.pt", "trainer_state.json", ".env", "notes.md", "checkpoint-1/a.bin"):
        (trained / name).write_text(f"{TOKEN} {tmp_path}")
    PILImage.new("RGB", (9, 9)).save(trained / "loss.png")
    files = dry_run(trained, tmp_path / "out")
    assert files.keys() == MODEL_FILES | {"model.safetensors", "loss.png"}
    assert not [name for name, text in files.items() if str(tmp_path) in text or "secret-project" in text]
    assert "![Loss by language](loss.png)" in files["README.md"]

    files = dry_run(trained, tmp_path / "sharded", max_shard_size="40KB")
    shards = [name for name in files if re.fullmatch(r"model-0000\d-of-0000\d\.safetensors", name)]
    assert len(shards) > 1
    assert files.keys() == MODEL_FILES | {*shards, "loss.png", "model.safetensors.index.json"}
    loaded = ParrotForConditionalGeneration.from_pretrained(tmp_path / "sharded").state_dict()
    for name, value in ParrotForConditionalGeneration.from_pretrained(model).state_dict().items():
        assert torch.equal(loaded[name], value), name
    # An interrupted upload continues only with the same bytes.
    dry_run(trained, tmp_path / "again", max_shard_size="40KB")
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "sharded" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("training_args.bin", "", "training_args.bin is not on the list of files to publish"),
        ("checkpoint-1/config.json", "{}", "checkpoint-1/config.json is not on the list"),
        ("pytorch_model.bin", "", "pytorch_model.bin is not on the list"),
        ("adapter_config.json", '{"a": "LOCAL/model"}', "adapter_config.json holds a path"),
        ("adapter_config.json", '{"base_model_name_or_path": "RELATIVE"}', "adapter_config.json holds a path"),
        ("adapter_config.json", r'{"a": "C:\\Users\\me"}', "adapter_config.json holds a path"),
        ("chat_template.jinja", "{# file:///srv/me/template #}", "chat_template.jinja holds a path"),
        ("chat_template.jinja", "~/models/x", "chat_template.jinja holds a path"),
        ("modeling_parrot.py", "# LOCAL/model", "modeling_parrot.py holds a path"),
        (".eval_results/x.yaml", "a: LOCAL/x", r"\.eval_results/x.yaml holds a path"),
        ("tokenizer.json", '{"model": {}, "added_tokens": ["LOCAL/x"]}', "tokenizer.json holds a path"),
        ("merges.txt", f"a {TOKEN}", "merges.txt holds a text like a token"),
        ("loss.png", f"tEXt {TOKEN}", "loss.png holds a text like a token"),
        ("chat_template.jinja", "own-token", "chat_template.jinja holds a text like a token"),
    ],
)
def test_a_path_a_token_or_an_unknown_file_is_refused(
    name: str, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "parrot").mkdir(parents=True)
    folder = tmp_path / "out"
    file = folder / name
    file.parent.mkdir(parents=True)
    file.write_text(text.replace("LOCAL", str(tmp_path)).replace("RELATIVE", "models/parrot"))
    card = "---\nlicense: mit\npipeline_tag: image-text-to-text\n---\nhttps://huggingface.co/org/parrot, a/b/c\n"
    (folder / "README.md").write_text(card)
    with pytest.raises(ValueError, match=message):
        check(folder, "own-token")
    file.unlink()
    assert check(folder, "own-token") == ["README.md"]


def test_harmless_files_pass_and_metadata_of_weights_is_checked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\npipeline_tag: image-text-to-text\n---\n")
    # A vocabulary may contain paths.
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"/usr/bin/env": 1}}}')
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/parrot"}')
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert len(check(tmp_path)) == 4
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", {"author": TOKEN})
    with pytest.raises(ValueError, match=r"model\.safetensors holds a text like a token"):
        check(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    with pytest.raises(ValueError, match="no license or pipeline_tag"):
        check(tmp_path)


def test_a_path_in_the_model_s_own_files_stops_the_command(model: Path, tmp_path: Path) -> None:
    planted = shutil.copytree(model, tmp_path / "planted")
    template = planted / "chat_template.jinja"
    template.write_text("{# /data/alice/template #}" + template.read_text())
    with pytest.raises(ValueError, match=r"chat_template\.jinja holds a path of this machine, '/data/alice/template'"):
        dry_run(planted, tmp_path / "out")


def test_the_card_says_what_was_measured_and_how_it_was_trained(world: Path, benchmark: str, tmp_path: Path) -> None:
    first = train(world, tmp_path / "first", "--stage", "align", "--max_steps", "1")
    second = train(
        world,
        tmp_path / "second",
        "--model_name_or_path",
        str(first),
        "--learning_rate",
        "0.003",
        "--hub_token",
        TOKEN,
    )
    rows = measured(second, benchmark, tmp_path / "results")
    files = dry_run(
        second,
        tmp_path / "out",
        results=str(tmp_path / "results"),
        base_model=["org/base"],
        dataset=["org/data"],
        benchmark_id="org/bench",
    )
    pictures = {"accuracy.png", "router.png", "loss.png"}
    assert files.keys() == MODEL_FILES | {"model.safetensors", ".eval_results/bench.yaml"} | pictures
    assert not [name for name, text in files.items() if str(tmp_path) in text or TOKEN in text]
    assert sorted(re.findall(r"!\[.+\]\((.+)\)", files["README.md"])) == sorted(pictures)
    assert (tmp_path / "out" / "router.png").read_bytes() == (tmp_path / "results" / "router.png").read_bytes()

    card = ModelCard(files["README.md"])
    metadata = card.data.to_dict()
    assert metadata | {"tags": 0, "model-index": 0} == {
        "language": ["en", "tr", "pt"],  # pt was trained but not measured
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "base_model": ["org/base"],
        "datasets": ["org/data"],
        "tags": 0,
        "model-index": 0,
    }
    results = json.loads((tmp_path / "results" / "results.json").read_text())["results"]
    entries = yaml.safe_load(files[".eval_results/bench.yaml"])
    assert len(card.data.eval_results) == len(entries) == 2
    assert {row["hit"] for row in rows} == {True, False}
    for entry_on_card, entry, language in zip(card.data.eval_results, entries, ("en", "tr"), strict=True):
        hits = [row["hit"] for row in rows if row["language"] == language]
        of_language = results[language]["all"]
        assert entry_on_card.dataset_config == entry["dataset"]["task_id"] == language
        assert entry_on_card.metric_value == entry["value"] == pytest.approx(100 * sum(hits) / len(hits), abs=0.01)
        assert entry_on_card.metric_args["interval_95"] == [
            round(100 * of_language[end], 2) for end in ("low", "high")
        ]
        assert f"{100 * of_language['low']:.1f}–{100 * of_language['high']:.1f}" in card.text
    assert entries[0]["dataset"]["id"] == entry_on_card.dataset_type == "org/bench"
    introduction, start, tables = (tmp_path / "results" / "results.md").read_text().partition("| all |")
    assert start + tables in card.text
    assert introduction.startswith("# Accuracy on bench\n")
    assert (how := "The model chose the option with the likeliest letter.") in introduction and how in card.text
    assert "with only" not in card.text

    recipes = re.findall(r"```yaml\n(.+?)\n```", card.text, re.DOTALL)
    assert len(recipes) == 2
    for recipe, stage, rate, name in zip(
        recipes, ("align", "instruct"), (1e-2, 3e-3), ("model", "first"), strict=True
    ):
        (tmp_path / "recipe.yaml").write_text(recipe)
        parser = TrlParser((ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig))
        line = ["--config", str(tmp_path / "recipe.yaml"), "--output_dir", "x", "--use_cpu", "true"]
        script, training, model = parser.parse_args_and_config(line)
        assert (script.stage, training.learning_rate, model.model_name_or_path) == (stage, rate, name)
        assert (script.dataset_name, training.per_device_train_batch_size) == ("data", 4)
    assert "for 1 steps in all" in card.text
    assert "for 4 steps in all" in card.text


def test_a_card_names_partial_results_and_results_of_other_weights_are_refused(
    model: Path, benchmark: str, tmp_path: Path
) -> None:
    # The copy has other modification times.
    copied = shutil.copytree(model, tmp_path / "model", copy_function=shutil.copy)
    measured(model, benchmark, tmp_path / "results", ("en",), per_category=1)
    files = dry_run(copied, tmp_path / "card", results=str(tmp_path / "results"), card_only=True)
    assert "with only 2 of its 3 questions" in files["README.md"]
    tiny_model(seed=1).save_pretrained(copied)
    with pytest.raises(ValueError, match=r"results.json has the results of other weights than those of"):
        dry_run(copied, tmp_path / "out", results=str(tmp_path / "results"))


def test_an_adapter_is_merged(world: Path, tmp_path: Path) -> None:
    adapter = train(world, tmp_path / "adapter", "--use_peft", "--lora_r", "4")
    files = dry_run(adapter, tmp_path / "out")
    assert files.keys() >= MODEL_FILES | {"model.safetensors"}
    assert not [name for name in files if name.startswith("adapter")]
    base = ParrotForConditionalGeneration.from_pretrained(world / "model").eval()
    inputs = ParrotProcessor.from_pretrained(tmp_path / "out")(
        images=[PILImage.new("RGB", (9, 9), "red")], text="<image>?", return_tensors="pt"
    )
    expected = PeftModel.from_pretrained(base, adapter).eval()(**inputs).logits
    actual = ParrotForConditionalGeneration.from_pretrained(tmp_path / "out").eval()(**inputs).logits
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="give its id as --base_model"):
        dry_run(adapter, tmp_path / "kept", adapter="keep")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repo_id": "parrot"}, "'parrot' is not an owner/name"),
        ({"base_model": ["models/parrot"]}, "'models/parrot' is not an owner/name on the Hub, or is a local folder"),
        ({"dataset": ["a/b/c"]}, "a/b/c"),
        ({"license": "other"}, "give license_name and license_link"),
        ({"license": "apache2"}, "The Hub knows no license='apache2'. Did you mean apache-2.0"),
        ({"license": "Apache-2.0"}, "The Hub knows no license='Apache-2.0'. Did you mean apache-2.0"),
        ({"model": "models/mein"}, "--model='models/mein': there is no such folder"),
        ({"results": "bench"}, "--results: there is no bench/results.json"),
        ({"quoted": "none.json"}, "--quoted: there is no file none.json"),
        ({"license_name": "own", "license_link": "https://own"}, "give license_name and license_link"),
        ({"card_only": True, "dry_run": None}, "give the folder as dry_run"),
        ({"dry_run": "models"}, "dry_run=models holds files already"),
        ({"model": "models/parrot"}, "its config.json has the model_type 'llava'"),
        (
            {"space_pictures": ["none.png"]},
            r"--space_pictures none.png cannot be read: there is no such file\. Give an",
        ),
    ],
)
def test_arguments_that_cannot_be_published_are_errors(
    arguments: dict[str, Any], message: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "parrot").mkdir(parents=True)
    (tmp_path / "models" / "parrot" / "config.json").write_text('{"model_type": "llava"}')
    arguments = {"model": str(model), "repo_id": "org/parrot", "license": "mit", "dry_run": "out"} | arguments
    with pytest.raises(ValueError, match=message):
        publish(PublishArguments(**arguments))
    assert not Path("out").exists()


def test_a_card_says_beside_the_accuracy_that_training_had_the_pictures(
    model: Path, benchmark: str, tmp_path: Path
) -> None:
    file = Path(benchmark.format(language="en"))
    record = {"training_data": "mine", "sha256": {"en": sha256(file)}, "indices": {"en": ["0", "2"]}}
    training_file(file.parent, "bench").write_text(json.dumps(record))
    measured(model, benchmark, tmp_path / "results")
    card = dry_run(model, tmp_path / "card", results=str(tmp_path / "results"), card_only=True)["README.md"]
    assert "| questions with a picture in training data | 2 of 3 (mine) | – |" in card
    assert "**In en, some pictures are in the training data, too**" in card
    assert ModelCard(card).data.eval_results[0].metric_args["in_training"] == 2
    file.write_text(file.read_text() + "\n")  # nothing is known about this other edition
    measured(model, benchmark, tmp_path / "again")
    assert (
        "in the training data"
        not in dry_run(model, tmp_path / "other", results=str(tmp_path / "again"), card_only=True)["README.md"]
    )


@pytest.mark.parametrize("size", ["7b", "14b"])
def test_the_reference_s_cards_are_what_the_command_writes_and_say_that_they_quote(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_card, "edition", lambda: "0.1.0")  # a file cannot contain the hash of its own commit
    monkeypatch.setattr(model_card, "project_url", lambda: None)  # a clone from the web has one
    ParrotConfig().save_pretrained(tmp_path / f"parrot-{size}")
    original = f"AIDC-AI/Parrot-{size.upper()}"
    files = dry_run(
        tmp_path / f"parrot-{size}",
        tmp_path / "out",
        repo_id=f"org/parrot-{size}",
        base_model=[original],
        dataset=["AIDC-AI/Parrot-dataset"],
        license="other",
        license_name="see-original",
        license_link=f"https://huggingface.co/{original}",
        quoted=str(CARDS / f"parrot-{size}.json"),
        card_only=True,
    )
    assert files == {"README.md": (CARDS / f"parrot-{size}" / "README.md").read_text()}
    card = ModelCard(files["README.md"])
    assert len(card.data.eval_results) == 12
    assert all(result.source_url and "quoted" in result.metric_name for result in card.data.eval_results)
    assert "Quoted, not measured by us" in card.text


def test_every_card_has_its_metadata_and_pictures_and_no_trace_of_the_template() -> None:
    files = list(CARDS.glob("*/README.md"))
    assert len(files) >= 3
    for file in files:
        card = (DatasetCard if "mmmb" in file.parent.name else ModelCard).load(file)
        assert {"license", "language", "tags"} <= card.data.to_dict().keys(), file
        assert card.text.count("```") % 2 == 0
        assert not re.search(r"\{[{%]|\b(None|Undefined|nan)\b|\n{3}|[^`] \n", card.text), file
        for picture in re.findall(r"!\[.+\]\((.+)\)", card.text):
            assert (file.parent / picture).is_file(), picture


PUBLISH = """
from trainer.publishing.publication import publish
from trainer.publish import PublishArguments
for kwargs in KWARGS:
    try:
        print(publish(PublishArguments(**kwargs)))
    except ValueError as error:
        if hasattr(error, "response"):  # an error of the Hub
            raise
        print(error)
"""


@pytest.mark.slow
def test_an_interrupted_upload_resumes_and_is_one_commit(hub: LoopbackHub, model: Path, tmp_path: Path) -> None:
    def publish_each(*arguments: dict[str, Any]) -> str:
        hub.requests.clear()
        common = {"model": str(model), "repo_id": "org/parrot", "license": "mit", "max_shard_size": "40KB"}
        code = PUBLISH.replace("KWARGS", repr([common | kwargs for kwargs in arguments]))
        return run_python(code, hub.environment(tmp_path / "home"), tmp_path, with_repository=True)

    def sent(what: str) -> list[str]:
        return [request for request in hub.requests if re.fullmatch(what, request)]

    commit, weights = "POST /api/models/org/parrot/commit/main", "PUT /lfs/.+"
    hub.outage = "PUT /lfs/[0-9a-f]*[02468ace]"
    with pytest.raises(RuntimeError, match="An outage"):
        publish_each({})
    assert list(hub.files("org/parrot")) == [".gitattributes"]
    arrived = set(hub._objects)
    hub.outage = commit
    with pytest.raises(RuntimeError, match="An outage"):
        publish_each({})
    assert arrived
    assert sent(weights)
    assert not {request.rpartition("/")[2] for request in sent(weights)} & arrived
    hub.outage = None
    sha = publish_each({}).split()[-1]
    assert (sent(weights), len(sent(commit))) == ([], 1)
    files = hub.files("org/parrot", "v1.0")
    assert files == hub.files("org/parrot", sha)
    assert MODEL_FILES | {".gitattributes"} <= files.keys()
    assert sum(name.endswith(".safetensors") for name in files) > 1

    larger = {"tag": "v2", "max_shard_size": "1GB"}
    printed = publish_each({}, {"private": True, "tag": "v2"}, larger)
    assert "org/parrot has a tag v1.0 already" in printed
    assert "org/parrot exists and is public" in printed
    assert re.search(r"also holds model-00001-of-.*: delete these files by --replace", printed)
    assert sent(f"{weights}|{commit}") == []
    publish_each(larger | {"replace": True}, {"repo_id": "org/hidden", "private": True})
    assert hub.files("org/parrot", "v2").keys() == MODEL_FILES | {".gitattributes", "model.safetensors"}
    assert hub.files("org/parrot", "v1.0") == files
    assert hub._repository("model", "org/hidden").private


ANSWER = """
import json
import torch
from transformers import AutoModel, pipeline
CHAT = [{"role": "user", "content": [{"type": "image", "path": "picture.png"}, {"type": "text", "text": "Bu ne?"}]}]
model = AutoModel.from_pretrained("org/parrot", trust_remote_code=True)
assert "transformers_modules" in type(model).__module__
pipe = pipeline("image-text-to-text", model="org/parrot", trust_remote_code=True)
inputs = pipe.processor.apply_chat_template(
    CHAT, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
kwargs = {"max_new_tokens": 6, "do_sample": False}
text = pipe(text=CHAT, generate_kwargs=kwargs, return_full_text=False)[0]["generated_text"]
print(json.dumps([model(**inputs).logits.double().sum().item(), text]))
"""
MEASURE = """
from pathlib import Path
from tests.test_publish import measured
measured("org/parrot", BENCHMARK, Path("of_the_hub"))
"""


@pytest.mark.slow
def test_a_published_model_answers_as_the_local_model(
    hub: LoopbackHub, world: Path, benchmark: str, tmp_path: Path
) -> None:
    local = train(world, tmp_path / "trained")
    rows = measured(local, benchmark, tmp_path / "results")
    model, processor = ParrotForConditionalGeneration.from_pretrained(local), ParrotProcessor.from_pretrained(local)
    PILImage.new("RGB", (20, 30), "red").save(tmp_path / "picture.png")
    inputs = chat_inputs(processor, str(tmp_path / "picture.png"), "Bu ne?")
    logits = model.eval()(**inputs).logits.double().sum().item()
    tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = processor.decode(tokens, skip_special_tokens=True)

    environment = hub.environment(tmp_path / "home")
    arguments = {"model": str(local), "repo_id": "org/parrot", "license": "mit", "results": str(tmp_path / "results")}
    run_python(PUBLISH.replace("KWARGS", repr([arguments])), environment, tmp_path, with_repository=True)

    answered = json.loads(run_python(ANSWER, environment, tmp_path).splitlines()[-1])
    assert answered == [pytest.approx(logits, rel=1e-5), text]

    hub.requests.clear()
    card = ModelCard(hub.files("org/parrot", "v1.0")["README.md"].decode())
    (snippet,) = re.findall(r"```python\n(.+?)```", card.text, re.DOTALL)
    assert run_python(snippet, hub.environment(tmp_path / "another"), tmp_path).strip()
    resolved = {request.split("/")[4] for request in hub.requests if "/resolve/" in request}
    commit = hub._repository("model", "org/parrot").head
    assert {"v1.0"} <= resolved <= {"v1.0", commit}

    code = MEASURE.replace("BENCHMARK", repr(benchmark))
    run_python(code, environment, tmp_path, with_repository=True)
    of_the_hub = (tmp_path / "of_the_hub" / "predictions.jsonl").read_text().splitlines()
    assert_alike(map(json.loads, of_the_hub), rows)


@pytest.mark.slow
def test_an_adapter_is_published_by_itself_with_its_base_s_commit(
    hub: LoopbackHub, world: Path, tmp_path: Path
) -> None:
    adapter = train(world, tmp_path / "adapter", "--use_peft", "--lora_r", "4")
    environment = hub.environment(tmp_path / "home")
    base = {"model": str(world / "model"), "repo_id": "org/base", "license": "mit"}
    kept = {
        "model": str(adapter),
        "repo_id": "org/lora",
        "license": "mit",
        "adapter": "keep",
        "base_model": ["org/base"],
    }
    run_python(PUBLISH.replace("KWARGS", repr([base, kept])), environment, tmp_path, with_repository=True)
    files = hub.files("org/lora", "v1.0")
    pictures = {"loss.png", "router.png"}
    assert (
        files.keys() == {".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"} | pictures
    )
    config = json.loads(files["adapter_config.json"])
    commit = hub._repository("model", "org/base").head
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/base", commit)
    card = ModelCard(files["README.md"].decode())
    assert (card.data.library_name, card.data.base_model) == ("peft", "org/base")
    (snippet,) = re.findall(r"```python\n(.+?)```", card.text, re.DOTALL)
    assert commit in snippet
    PILImage.new("RGB", (20, 30), "red").save(tmp_path / "picture.png")
    assert run_python(snippet, environment, tmp_path).strip()


@pytest.mark.slow
def test_the_data_set_s_card_and_files_are_published_by_the_written_commands(hub: LoopbackHub, tmp_path: Path) -> None:
    data = tmp_path / "data" / "mini-mmmb"
    for name in ("instruct/train-00000-of-00001.parquet", "mini_mmmb_en.tsv", "NOTICE", "settings.json", "README.md"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    shutil.copytree(CARDS, tmp_path / "model_cards")
    commands = re.findall(r"^hf .+$", (CARDS / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 3
    code = f"import subprocess\nfor command in {commands!r}:\n    subprocess.run(command, shell=True, check=True)"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run_python(code, hub.environment(tmp_path / "home") | {"PATH": path}, tmp_path)
    files = hub.files("org/mini-mmmb", repo_type="dataset")
    assert files.keys() == {
        *(
            ".gitattributes",
            "README.md",
            "eval.yaml",
            "NOTICE",
            "mini_mmmb_en.tsv",
            "instruct/train-00000-of-00001.parquet",
        )
    }
    assert files["README.md"] == (CARDS / "mini-mmmb" / "README.md").read_bytes()


def test_a_card_is_in_the_model_s_own_languages_and_says_nothing_of_others(
    model: Path, benchmark: str, tmp_path: Path
) -> None:
    trained = shutil.copytree(model, tmp_path / "trained")
    run = {"recipe": {"stage": "instruct"}, "processes": 1, "device": "cpu", "seconds": 1, "steps": 1}
    run |= {"editions": ["0.1.0+g1", "0.1.0+g2.dirty"], "versions": {"torch": "2"}}
    (trained / "training.json").write_text(json.dumps([run | {"languages": ["sw"]}]))
    card = dry_run(trained, tmp_path / "unmeasured", card_only=True)["README.md"]
    assert ModelCard(card).data.language == ["sw"]
    assert '"text": "A question in sw"' in card
    assert "It was trained in sw." in card
    assert "1 × cpu (parrot-vlm 0.1.0+g1, parrot-vlm 0.1.0+g2.dirty, torch 2):" in card
    assert f"`processing_parrot.py`, as they are in parrot-vlm {edition()}. They" in card
    assert "cost English" not in card
    assert "This card does not name the models that it was made of." in card

    answers = measured(model, benchmark, tmp_path / "results", ("tr",))
    card = dry_run(
        model, tmp_path / "card", results=str(tmp_path / "results"), card_only=True, base_model=["org/tower"]
    )["README.md"]
    assert f'"text": "{answers[0]["prompt"].splitlines()[0]}"' in card
    assert "cost English" not in card
    assert "0; 0" not in card
    assert f"by `trainer/benchmark.py` of parrot-vlm {edition()}. The model chose the option with the likelie" in card
    assert "`chance` chooses at random." in card
    assert "`text-only`" not in card
    assert "does not name the models" not in card


def test_a_missing_login_is_an_error_before_the_model_is_loaded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.publishing.publication.write_model", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    with pytest.raises(OSError, match="hf auth login"):
        publish(PublishArguments(model=str(model), repo_id="org/parrot", license="mit"))

# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of all documented forms can be mixed, and an error about a row names the row."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from trl import TrlParser

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from tests.conftest import write_data
from tests.test_sft import history, train
from tests.tiny import tiny_processor
from trainer import one_line_errors
from trainer.sft import ParrotModelConfig, ParrotScriptArguments, ParrotSFTConfig, load_data
from trainer.training.llava_rows import FEATURES as CONVERTED
from trainer.training.parrot_trainer import ParrotTrainer
from trainer.training.row_checks import check_rows
from trainer.training.training_rows import SCHEMA, open_stored, pictures_of, undecoded


STRINGS = List({"role": Value("string"), "content": Value("string")})
PARTS = List({"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})})
REORDERED = List({"content": List({"text": Value("string"), "type": Value("string")}), "role": Value("string")})
EMPTY = List(Value("null"))
FORMS = {
    "strings and pictures": {"messages": STRINGS, "images": List(Image()), "language": Value("string")},
    "parts and pictures": {"messages": PARTS, "images": List(Image())},
    "parts and paths": {"messages": REORDERED, "images": List(Value("string")), "id": Value("int64")},
    "strings and one picture": {"messages": STRINGS, "image": Image(), "language": Value("string")},
    "parts and one path": {"messages": PARTS, "image": Value("string"), "id": Value("string")},
    "strings and bytes": {"messages": STRINGS, "images": List(Value("binary"))},
    "strings alone": {"messages": STRINGS, "language": Value("string"), "source": Value("string")},
    "strings and empty lists": {"messages": STRINGS, "images": EMPTY},
    "converted": dict(CONVERTED),
}


def write_form(folder: Path, form: str, number: int = 4) -> Path:
    """Rows that show a red picture, if the form has pictures, and ask what it is."""
    features = FORMS[form]
    folder.mkdir()
    PILImage.new("RGB", (9, 9), "red").save(folder.parent / f"{folder.name}.png")
    path = str(folder.parent / f"{folder.name}.png")
    value: Any = Path(path).read_bytes() if features.get("images") == List(Value("binary")) else path
    with_picture = "image" in features or features.get("images", EMPTY) != EMPTY
    question: Any = "What?"
    if features["messages"] != STRINGS:
        marks = [{"type": "image", "text": None}] * with_picture
        question = [*marks, {"type": "text", "text": "What?"}]
    answer = "red" if features["messages"] == STRINGS else [{"type": "text", "text": "red"}]
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    row = {
        "messages": messages,
        "image": value,
        "images": [value] * with_picture,
        "language": "tr",
        "id": 7,
        "source": "web",
    }
    rows = [{name: row[name] for name in features} | ({"id": "7"} if features.get("id") == Value("string") else {})]
    Dataset.from_list(rows * number, features=Features(features)).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def mix(tmp_path: Path, *folders: Path, **arguments: Any) -> ParrotScriptArguments:
    """The arguments of a recipe that mixes data sets."""
    recipe = tmp_path / "mixture.yaml"
    recipe.write_text(yaml.safe_dump({"datasets": [{"path": str(folder)} for folder in folders], **arguments}))
    parser = TrlParser((ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig))
    line = ["--config", str(recipe), "--use_cpu", "true", "--output_dir", str(tmp_path)]
    return parser.parse_args_and_config(line)[0]


@pytest.mark.parametrize("streaming", [False, True], ids=["read", "streamed"])
@pytest.mark.parametrize("other", FORMS)
def test_rows_of_every_form_can_be_mixed(other: str, streaming: bool, tmp_path: Path) -> None:
    walkthrough, folder = write_form(tmp_path / "mine", "strings and pictures"), write_form(tmp_path / "other", other)
    for folders in ([walkthrough, folder], [folder, walkthrough]):
        (data,) = load_data(mix(tmp_path, *folders, streaming=streaming), "train")
        rows = list(data)
        assert len(rows) == 8
        for row in rows:
            picture = [] if ("alone" in other or "empty" in other) and "other" in row["_source"] else ["image"]
            kinds = [
                [part if isinstance(part, str) else part["type"] for part in m["content"]] for m in row["messages"]
            ]
            if isinstance(row["messages"][0]["content"], list):
                assert kinds == [[*picture, "text"], ["text"]]
            images = row["images"] or []
            assert [open_stored(image, "").getpixel((0, 0)) for image in images] == [(255, 0, 0)] * len(picture)
            assert row.get("language") in ("tr", None)
            assert row["_source"].startswith(str(folders[rows.index(row) > 3]))


def test_rows_of_convert_llava_and_of_the_walkthrough_train_together(world: Path, tmp_path: Path) -> None:
    folders = [write_form(tmp_path / "mine", "strings and pictures"), write_form(tmp_path / "llava", "converted", 16)]
    parts = [{"path": str(folder), "fraction": share} for folder, share in zip(folders, (0.2, 0.8), strict=True)]
    recipe = tmp_path / "mixture.yaml"
    recipe.write_text(yaml.safe_dump({"datasets": parts}))
    output = train(world, tmp_path / "out", "--config", str(recipe), "--dataset_name", "", "--num_train_epochs", "1")
    assert all("loss_tr" in log and "router_tr_0" in log for log in history(output) if "loss" in log)


def test_a_mixture_in_one_form_keeps_it(tmp_path: Path) -> None:
    folders = [write_form(tmp_path / name, "strings and pictures") for name in "ab"]
    (data,) = load_data(mix(tmp_path, *folders), "train")
    assert data.features["messages"] == STRINGS
    assert data.features["images"] == SCHEMA["images"]


def test_a_part_that_holds_its_picture_is_named(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": [{"type": "image", "image": "a.png"}]},
        {"role": "assistant", "content": []},
    ]
    Dataset.from_list([{"messages": messages}]).to_parquet(tmp_path / "other" / "train.parquet")
    folders = [tmp_path / "other", write_form(tmp_path / "mine", "strings and pictures")]
    with pytest.raises(ValueError, match=r"other \(train\), row 0: a part holds its picture, .*column `images`"):
        load_data(mix(tmp_path, *folders), "train")


@pytest.mark.parametrize("streaming", [False, True], ids=["read", "streamed"])
def test_messages_of_texts_and_of_parts_in_one_file_stay_what_they_are(streaming: bool, tmp_path: Path) -> None:
    """`datasets` stores such a column as JSON; code that does not decode it would get the parts as one text."""
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    answer = {"role": "assistant", "content": "red"}
    rows = [{"messages": [{"role": "user", "content": content}, answer]} for content in ("Hello", parts)]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    alone = ParrotScriptArguments(dataset_name=str(tmp_path / "one"), streaming=streaming)
    assert [row["messages"] for row in load_data(alone, "train")[0]] == [row["messages"] for row in rows]
    mixed = mix(tmp_path, tmp_path / "one", write_form(tmp_path / "mine", "strings alone"), streaming=streaming)
    contents = [row["messages"][0]["content"] for row in load_data(mixed, "train")[0]]
    assert contents[:2] == [
        [{"type": "text", "text": "Hello"}],
        [{"type": "image", "text": None}, {"type": "text", "text": "What?"}],
    ]


@pytest.mark.parametrize("streaming", [False, True], ids=["read", "streamed"])
def test_a_row_of_a_mixture_without_its_picture_or_messages_is_named(streaming: bool, tmp_path: Path) -> None:
    mine, form = write_form(tmp_path / "mine", "strings alone"), FORMS["strings and one picture"]
    folder = write_form(tmp_path / "other", "strings and one picture")
    rows = Dataset.from_parquet(str(folder / "train-00000-of-00001.parquet")).to_list()
    for column in ("image", "messages"):
        bad = Dataset.from_list([rows[0], rows[0] | {column: None}], features=Features(form))
        bad.to_parquet(folder / "train-00000-of-00001.parquet")
        with pytest.raises(ValueError, match=rf"other \(train\), row 1: .* `{column}`|row 1: its `{column}`"):
            list(load_data(mix(tmp_path, mine, folder, streaming=streaming), "train")[0])


def test_a_mixture_takes_files_by_the_readers_of_datasets(tmp_path: Path) -> None:
    """TRL's form: `path: json` and `data_files`."""
    walkthrough = write_form(tmp_path / "mine", "strings and pictures")
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    arguments = mix(tmp_path, walkthrough, Path("json"))
    arguments.datasets[1].data_files = str(tmp_path / "rows.jsonl")
    assert len(load_data(arguments, "train")[0]) == 5


def bad_rows() -> dict[str, tuple[dict[str, Any], str]]:
    """Rows that cannot be used, each with a pattern of its error."""

    def row(content: Any = "?", images: Any = None, answer: str = "assistant", **kwargs: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": content}, {"role": answer, "content": "!"}]
        return {"messages": messages, "images": images or [], "language": "en"} | kwargs

    def picture(content: bytes) -> dict[str, Any]:
        return row(images=[{"bytes": content, "path": None}])

    whole = io.BytesIO()
    PILImage.new("RGB", (30, 30), "red").save(whole, "PNG")
    late_system = [{"role": role, "content": "?"} for role in ("user", "system", "assistant")]
    return {
        "empty": (picture(b""), r"images\[0\] \(bytes\) cannot be read"),
        "page": (picture(b"<html>404</html>"), r"images\[0\] \(bytes\) cannot be read"),
        "cut": (picture(whole.getvalue()[:60]), r"images\[0\] \(bytes\) cannot be read"),
        "mark": (row("<image>\n?", images=[{"bytes": whole.getvalue(), "path": None}]), r"holds '<image>': remove it"),
        "no answer": (row(answer="user"), "no turn of the role 'assistant'"),
        "empty answer": (row(messages=[row()["messages"][0], {"role": "assistant", "content": ""}]), "no turn"),
        "null": (row(content=None), "None is neither a text nor parts"),
        "tool": (row(answer="tool"), "no turn of the role 'assistant'"),
        "role": (row(messages=[{"role": "gpt", "content": "?"}, *row()["messages"]]), "none of the roles .* 'gpt'"),
        "system": (row(messages=late_system), "TemplateError: .*"),
    }


def write_bad(folder: Path, kind: str) -> str:
    """Writes a data set with a bad row after five good ones."""
    good = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    rows = [{"messages": good, "images": [], "language": "en"}] * 5 + [bad_rows()[kind][0]]
    return str(write_data(folder, rows))


@pytest.fixture(scope="module")
def collator(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    trainer = ParrotTrainer(
        model=ParrotForConditionalGeneration.from_pretrained(world / "model"),
        args=ParrotSFTConfig(output_dir=str(tmp_path_factory.mktemp("out")), bf16=False, use_cpu=True),
        train_dataset=load_data(ParrotScriptArguments(dataset_name=str(world / "data")), "train")[0],
        processing_class=ParrotProcessor.from_pretrained(world / "model"),
    )
    return trainer.data_collator


@pytest.mark.parametrize("kind", bad_rows())
def test_a_bad_row_is_named(kind: str, collator: Any, tmp_path: Path) -> None:
    name = write_bad(tmp_path / "data", kind)
    rows = list(undecoded(load_data(ParrotScriptArguments(dataset_name=name), "train")[0]))
    collator(rows[:5])
    with pytest.raises(ValueError, match=rf"data \(train\), row 5: .*{bad_rows()[kind][1]}") as error:
        collator(rows)
    assert "\n" not in str(error.value).split("The row:")[0].strip()
    for row in rows:
        del row["_source"]
    with pytest.raises(ValueError, match="Row 5 of a batch of 6: "):
        collator(rows)


@pytest.mark.parametrize("kind", ["mark", "no answer", "empty answer", "null", "tool", "role", "system"])
def test_a_bad_row_is_named_before_the_model_is_loaded(
    kind: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.sft.load_model", None)
    arguments = ["--dataset_name", write_bad(tmp_path / "data", kind), "--eval_strategy", "no"]
    with pytest.raises(ValueError, match=rf"data \(train\), row 5: .*{bad_rows()[kind][1]}"):
        train(world, tmp_path / "out", *arguments)


@pytest.mark.parametrize("form", FORMS)
def test_good_rows_of_every_form_pass_the_check_in_any_order(form: str, tmp_path: Path) -> None:
    folder = write_form(tmp_path / "data", form)
    (data,) = load_data(ParrotScriptArguments(dataset_name=str(folder)), "train")
    for rows in (data, data.shuffle(seed=0), data.select([3, 1]), data.select([])):
        assert check_rows(rows, tiny_processor(), needs_answer=True) is rows


@pytest.mark.parametrize("form", [form for form, features in FORMS.items() if {"image", "images"} & features.keys()])
def test_a_missing_file_and_a_wrong_number_of_pictures_are_errors_in_every_form(form: str, tmp_path: Path) -> None:
    folder = write_form(tmp_path / "data", form)
    (data,) = load_data(ParrotScriptArguments(dataset_name=str(folder)), "train")
    stored = undecoded(data)
    if "strings and empty" not in form and "bytes" not in form:
        path, column = str(tmp_path / "data.png"), "image" if "image" in data.column_names else "images"
        is_path = Value("string") in (data.features[column], getattr(data.features[column], "feature", None))
        missing = path + ".gone" if is_path else {"path": path + ".gone", "bytes": None}
        rows = [*stored.to_list()[:3], stored[3] | {column: missing if column == "image" else [missing]}]
        bad = Dataset.from_list(rows, features=stored.features).shuffle(seed=0)
        with pytest.raises(ValueError, match=r"row 3: images\[0\]: there is no such file, '.*data\.png\.gone'"):
            check_rows(bad, tiny_processor(), needs_answer=True)
    if data.features["messages"] != STRINGS and "images" in data.column_names:
        rows = [*stored.to_list()[:3], stored[3] | {"images": []}]
        with pytest.raises(ValueError, match=r"row 3: Number of images provided \(0\) does not match number of image"):
            check_rows(Dataset.from_list(rows, features=stored.features), tiny_processor(), needs_answer=True)


def write_rows(folder: Path, *columns: dict[str, Any]) -> ParrotScriptArguments:
    """A data set of JSON lines; its rows have a question and its answer, unless they have other messages."""
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "red"}]
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"messages": turns} | row) + "\n" for row in columns))
    return ParrotScriptArguments(dataset_name=str(folder))


@pytest.mark.parametrize("kind", ["keys", "list", "both", "null"])
def test_pictures_in_dicts_and_in_lists_of_several_forms_are_read(kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "data.png")
    text = [{"type": "text", "text": "What?"}]
    without_picture = [{"role": role, "content": text} for role in ("user", "assistant")]
    rows = {
        "keys": [{"images": [{"path": path}]}],
        "list": [{"image": [path]}],
        "both": [{"images": [path]}, {"images": [{"path": path}]}],
        "null": [{"images": None, "messages": without_picture}, {"images": path}],
    }[kind]
    folder = write_form(tmp_path / "data", "parts and pictures")
    alone = write_rows(tmp_path / "other", *rows)
    for arguments in (alone, mix(tmp_path, tmp_path / "other", folder), mix(tmp_path, folder, tmp_path / "other")):
        (data,) = load_data(arguments, "train")
        for row in check_rows(undecoded(data), tiny_processor(), needs_answer=True):
            assert [open_stored(picture, "").size for picture in pictures_of(row)] in ([(9, 9)], [])


@pytest.mark.parametrize("streaming", [False, True], ids=["read", "streamed"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": "What?"}, r"row 0: its `messages` are not a list"),
        ({"messages": {"role": ["user"], "content": ["?"]}}, r"row 0: its `messages` are not a list"),
        ({"messages": [{"from": "human", "value": "?"}]}, r"row 0: a message has none of the roles"),
        ({"messages": [{"role": "user", "content": ["?"]}]}, r"row 0: \['\?'\] is neither a text nor parts"),
        ({"messages": [{"role": "user", "content": "?"}]}, r"row 0: it has no turn of the role 'assistant'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]},
            "a part holds its picture",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, r"row 0: "),
        ({"images": [3]}, r"other \(train\): the column `images` holds List\(Value\('int64'\)\)"),
        ({"images": [{"url": "a.png"}]}, r"other \(train\): the column `images` holds"),
        ({"image": [["a.png"]]}, r"other \(train\): the column `image` holds"),
        ({"language": ["en", "tr"]}, r"other \(train\): the column `language` holds List"),
    ],
)
def test_rows_of_other_forms_are_refused_in_one_line_also_in_a_mixture_and_without_pictures(
    row: dict[str, Any], message: str, streaming: bool, tmp_path: Path
) -> None:
    alone = write_rows(tmp_path / "other", row)
    alone.streaming = streaming
    folder = write_form(tmp_path / "data", "parts and pictures")
    for arguments in (alone, mix(tmp_path, folder, tmp_path / "other", streaming=streaming)):
        with pytest.raises(ValueError, match=message) as error:
            list(check_rows(load_data(arguments, "train")[0], tiny_processor(), needs_answer=True))
        assert "\n" not in str(error.value)


def test_an_empty_picture_of_a_list_is_named(tmp_path: Path) -> None:
    (data,) = load_data(write_rows(tmp_path / "data", {"images": ["https://a/b.png"]}, {"images": [None]}), "train")
    with pytest.raises(ValueError, match=r"row 1: images\[0\] is empty"):
        check_rows(data, tiny_processor(), needs_answer=True)


@pytest.mark.parametrize("streaming", [False, True], ids=["read", "streamed"])
def test_data_without_rows_and_an_unknown_configuration_are_named(
    streaming: bool, world: Path, tmp_path: Path
) -> None:
    arguments = ["--streaming", str(streaming), "--dataset_name"]
    write_rows(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"empty cannot be read: .*Is a file empty\?"):
        train(world, tmp_path / "out", *arguments, str(tmp_path / "empty"))
    (tmp_path / "none").mkdir()
    Dataset.from_dict({"messages": []}, Features({"messages": STRINGS})).to_parquet(tmp_path / "none" / "a.parquet")
    with pytest.raises(ValueError, match=r"have no rows|none cannot be read: .*no data"):
        train(world, tmp_path / "out", *arguments, str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"data with dataset_config='sw' cannot be read: .*'sw' not found"):
        train(world, tmp_path / "out", *arguments, str(world / "data"), "--dataset_config", "sw")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_training_stops_at_a_picture_that_cannot_be_read_with_its_row(
    workers: str, world: Path, tmp_path: Path
) -> None:
    arguments = ["--dataset_name", write_bad(tmp_path / "data", "cut"), "--dataloader_num_workers", workers]
    with pytest.raises(SystemExit, match=r"^error: .*data \(train\), row 5: images\[0\] .*"), one_line_errors():
        train(world, tmp_path / "out", *arguments)


def test_a_missing_path_among_others_is_named(world: Path, tmp_path: Path) -> None:
    PILImage.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "red"}]
    for name, column in (("list", lambda path: {"images": [path]}), ("one", lambda path: {"image": path})):
        rows = [{"messages": messages, **column(str(tmp_path / f"{color}.png"))} for color in ("red", "blue")]
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(ValueError, match=r"row 1: images\[0\]: there is no such file, '.*blue.png'"):
            train(world, tmp_path / f"out-{name}", "--dataset_name", str(tmp_path / name))


def test_a_column_of_one_picture_is_logged_by_language_and_an_empty_one_is_named(world: Path, tmp_path: Path) -> None:
    folder = write_form(tmp_path / "data", "strings and one picture")
    output = train(world, tmp_path / "out", "--dataset_name", str(folder), "--max_steps", "1")
    assert {"loss_tr", "router_tr_0", "router_tr_3"} <= history(output)[0].keys()
    rows = Dataset.from_parquet(str(folder / "train-00000-of-00001.parquet")).to_list()
    features = Features(FORMS["strings and one picture"])
    (tmp_path / "null").mkdir()
    Dataset.from_list([*rows, rows[0] | {"image": None}], features=features).to_parquet(
        tmp_path / "null" / "a.parquet"
    )
    with pytest.raises(ValueError, match=r"null \(train\), row 4: its `image` is empty"):
        train(world, tmp_path / "out-null", "--dataset_name", str(tmp_path / "null"), "--max_steps", "2")


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"conversations": [], "image": "a.png"}], [], "LLaVA-style rows with python -m trainer.convert_llava"),
        ([{"instruction": "?", "output": "!"}], [], "Rows need `messages`"),
        ([{"prompt": "?", "completion": "!"}], [], "--assistant_only_loss false"),
        (
            [{"messages": [{"role": "user", "content": "?"}]}],
            ["--completion_only_loss", "true"],
            "completion_only_loss is for",
        ),
        ([{"messages": [{"role": "user", "content": "?"}]}], ["--stage", "align"], "No row has a picture"),
        ([{"messages": [], "images": []}], ["--stage", "align"], "No row has a picture"),
    ],
)
def test_data_that_teach_nothing_are_an_error_of_the_data_set(
    rows: list[dict[str, Any]], arguments: list[str], message: str, world: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    Dataset.from_list(rows).to_parquet(tmp_path / "data" / "train.parquet")
    with pytest.raises(ValueError, match=message) as error:
        train(world, tmp_path / "out", "--dataset_name", str(tmp_path / "data"), *arguments)
    assert "Row 0" not in str(error.value)


@pytest.mark.parametrize("streaming", [False, True], ids=["read", "streamed"])
def test_prompts_and_completions_are_learned_if_the_arguments_say_so(
    streaming: bool, world: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": "? ", "completion": "!", "images": [], "language": "en"}] * 8
    (tmp_path / "data").mkdir()
    features = {name: Value("string") for name in ("prompt", "completion", "language")} | {"images": List(Image())}
    Dataset.from_list(rows, features=Features(features)).to_parquet(tmp_path / "data" / "train.parquet")
    arguments = ["--dataset_name", str(tmp_path / "data"), "--assistant_only_loss", "false", "--max_steps", "1"]
    output = train(world, tmp_path / "out", *arguments, *["--dataset_streaming"] * streaming)
    assert history(output)[0]["loss_en"] > 0

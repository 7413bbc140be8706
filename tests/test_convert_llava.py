# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Conversation files in the format of the paper's data become a data set that TRL trains on."""

import json
import re
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image
from trl.data_utils import prepare_multimodal_messages

from tests.processes import python
from tests.tiny import tiny_processor
from trainer.convert_llava import ConvertArguments
from trainer.training.llava_rows import convert_files, find_image, main, split_marks, stream_array


ROOT = Path(__file__).parents[1]


def turns(*values: str) -> list[dict[str, str]]:
    """A conversation in LLaVA's format."""
    return [{"from": ("human", "gpt")[number % 2], "value": value} for number, value in enumerate(values)]


GOOD = [
    {"id": "1", "image": "a/red.png", "conversations": turns("<image>\nWhat?", "Red.", "Sure?", "Yes.")},
    {"id": 2, "conversations": turns("2 + 2?", "4")},
    {"id": "3", "image": "blue.png", "conversations": turns("O que é?\n<image>", "Azul.")},
    {"id": "4", "image": ["a/red.png", "blue.png"], "conversations": turns("<image><image>\nبيّن", "لونان.")},
    {"id": "5", "image": "blue.png", "conversations": turns("Merhaba", "Selam", "<image>\nBu?", "Mavi.")},
]
BAD = {
    "it has 1 <image> marks and 0 images": {"conversations": turns("<image>\nWhat?", "Red.")},
    "it has 0 <image> marks and 1 images": {"image": "blue.png", "conversations": turns("What?", "Red.")},
    "its image 'none.png' is not in": {"image": "none.png", "conversations": turns("<image>", "Red.")},
    "turn 1 is .*bird.* not text from assistant": {"conversations": [*turns("a"), {"from": "bird", "value": "b"}]},
    "turn 0 is .*gpt": {"conversations": turns("a", "b")[1:]},
    "it does not end with an answer": {"conversations": turns("a", "b", "c")},
    "turn 1 is an answer that is empty": {"conversations": turns("a", " ")},
    "it has no list of conversations": {"id": "x"},
    "turn 0 is .*from.*1": {"conversations": [{"from": 1, "value": "a"}, *turns("a", "b")[1:]]},
    "turn 0 is .*from.*\\[": {"conversations": [{"from": ["human"], "value": "a"}, *turns("a", "b")[1:]]},
    "its image 7 is neither": {"image": 7, "conversations": turns("<image>", "Red.")},
    "its image \\[None\\] is neither": {"image": [None], "conversations": turns("<image>", "Red.")},
    "its image {'path'": {"image": {"path": "blue.png"}, "conversations": turns("<image>", "Red.")},
    "it has 'video', but only 'image' is read": {"video": "a.mp4", "conversations": turns("What?", "Red.")},
    "it has 'images', but only": {"images": ["blue.png"], "conversations": turns("What?", "Red.")},
    "it holds half of a character, '.ud83d'": {"conversations": turns("\ud83d", "Red.")},
    "its image '../red.png' lies outside": {"image": "../red.png", "conversations": turns("<image>", "Red.")},
    "its image 'a/../../red.png' lies outside": {"image": "a/../../red.png", "conversations": turns("<image>", "a")},
    "its image '/etc/hosts' lies outside": {"image": "/etc/hosts", "conversations": turns("<image>", "Red.")},
    "its image 'a' is not in .*: there is no such": {"image": "a", "conversations": turns("<image>", "Red.")},
    "its image 'xxx.*' is not in": {"image": "x" * 300, "conversations": turns("<image>", "Red.")},
    "its image 'x.x00' is not in": {"image": "x\0", "conversations": turns("<image>", "Red.")},
    "its image 'empty.png' cannot be read: it is not an image": {
        "image": "empty.png",
        "conversations": turns("<image>", "a"),
    },
    "its image 'page.png' cannot be read: it is not": {"image": "page.png", "conversations": turns("<image>", "a")},
    "its image 'cut.png' cannot be read: ": {"image": "cut.png", "conversations": turns("<image>", "a")},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures, three of them damaged."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (30, 20), "red").save(tmp_path / "images" / "a" / "red.png")
    Image.new("RGB", (20, 30), "blue").save(tmp_path / "images" / "blue.png")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    (tmp_path / "images" / "empty.png").touch()
    (tmp_path / "images" / "page.png").write_text("<html>404 Not Found</html>")
    (tmp_path / "images" / "cut.png").write_bytes((tmp_path / "red.png").read_bytes()[:50])
    return tmp_path


def arguments(folder: Path, *rows: list, **kwargs: object) -> ConvertArguments:
    """Writes each list of rows to a file of its own. Returns the arguments that convert them."""
    files = []
    for number, content in enumerate(rows):
        files.append(str(folder / f"{number}.json"))
        text = json.dumps(content, indent=1, ensure_ascii=False)
        Path(files[-1]).write_text(text, encoding="utf-8", errors="backslashreplace")
    return ConvertArguments(files, str(folder / "images"), str(folder / "out"), **kwargs)


@pytest.mark.parametrize("copy_images", [False, True])
def test_every_kind_of_row_arrives_with_its_images(copy_images: bool, folder: Path) -> None:
    main(arguments(folder, GOOD, GOOD[:2], language=["en", "zh"], copy_images=copy_images))
    if copy_images:
        for image in (folder / "images").rglob("*.png"):
            image.unlink()
    rows = load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))["train"]
    assert rows["id"][:] == ["1", "2", "3", "4", "5", "1", "2"]
    assert rows["language"][:] == ["en"] * 5 + ["zh"] * 2
    assert [[image.getpixel((0, 0)) for image in images] for images in rows["images"][:5]] == [
        [(255, 0, 0)],
        [],
        [(0, 0, 255)],
        [(255, 0, 0), (0, 0, 255)],
        [(0, 0, 255)],
    ]


def test_the_processor_writes_the_reference_prompt(folder: Path) -> None:
    main(arguments(folder, GOOD))
    processor = tiny_processor()
    opening = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    texts = []
    for row in load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))["train"]:
        messages = prepare_multimodal_messages(row["messages"], images=row["images"])  # as TRL's collator does
        texts.append(processor.apply_chat_template(messages).removeprefix(opening))
    user, answer, end = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"
    assert texts[0] == f"{user}<image>\nWhat?{answer}Red.{end}{user}Sure?{answer}Yes.{end}"
    assert texts[2] == f"{user}<image>\nO que é?{answer}Azul.{end}"
    assert texts[3] == f"{user}<image>\n<image>\nبيّن{answer}لونان.{end}"
    assert texts[4] == f"{user}Merhaba{answer}Selam{end}{user}<image>\nBu?{answer}Mavi.{end}"


@pytest.mark.parametrize("message", BAD)
def test_a_bad_row_stops_with_its_file_and_index(message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=rf"1\.json, row 2: {message}"):
        list(convert_files(arguments(folder, GOOD, [*GOOD[:2], BAD[message]])))


def test_bad_rows_are_set_aside_if_the_arguments_say_so(folder: Path) -> None:
    aside = folder / "bad.jsonl"
    main(arguments(folder, [*BAD.values(), *GOOD], bad_rows=str(aside)))
    assert load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))["train"].num_rows == len(GOOD)
    lines = [json.loads(line) for line in aside.read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in lines] == list(BAD.values())
    assert [row["index"] for row in lines] == list(range(len(BAD)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "does not begin with"),
        ('{"a": 1}\n{"a": 2}\n', "does not begin with '.': .* Put JSON lines into one"),
        ("", "does not begin with"),
        ("[1, 2", "row 1: not JSON"),
        ('[{"a": 1}, {"b": ]', "row 1: not JSON"),
        ("[1, 2]\n[3]", r"after the array of 2 rows comes '\[.*Give each array as a file of its own"),
        ("[1, 2][3]", "after the array of 2 rows comes"),
        ("[]{}", "after the array of 0 rows comes"),
        ("[1] x", "after the array of 1 rows comes 'x'"),
        ("[1]" + " " * 100 + "]", "after the array of 1 rows comes"),
        ("[" * 100_000, "row 0: not JSON"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1 << 16])
def test_a_file_that_is_more_or_less_than_a_json_array_is_named(
    text: str, message: str, chunk: int, folder: Path
) -> None:
    if chunk == 1 and len(text) > 1000:
        pytest.skip("It takes long, one character at a time.")
    (folder / "broken.json").write_text(text)
    with (folder / "broken.json").open() as file, pytest.raises(ValueError, match=rf"broken\.json.*{message}"):
        list(stream_array(file, chunk))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_file_that_is_not_in_utf_8_is_named(encoding: str, folder: Path) -> None:
    args = arguments(folder, GOOD)
    Path(args.json[0]).write_text('["ä"]', encoding=encoding)
    with pytest.raises(ValueError, match=r"0\.json is not in UTF-8"):
        list(convert_files(args))


def test_a_byte_order_mark_is_skipped(folder: Path) -> None:
    args = arguments(folder, GOOD)
    Path(args.json[0]).write_text(json.dumps(GOOD) + "\n \n", encoding="utf-8-sig")
    assert len(list(convert_files(args))) == len(GOOD)


def test_pictures_behind_symbolic_links_are_read(folder: Path) -> None:
    """The folder is a link, or the picture is one, as in a snapshot of the Hub's cache."""
    (folder / "images").rename(folder / "disk")
    (folder / "images").mkdir()
    (folder / "images" / "coco").symlink_to(folder / "disk" / "a")
    (folder / "images" / "blue.png").symlink_to("../disk/blue.png")
    names = ["coco/red.png", "blue.png", "coco/../blue.png"]
    rows = [{"image": name, "conversations": turns("<image>", "a")} for name in names]
    main(arguments(folder, rows))
    rows = load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))["train"]["images"]
    assert [images[0].getpixel((0, 0)) for images in rows] == [(255, 0, 0), (0, 0, 255), (0, 0, 255)]


def test_two_dots_after_a_link_lead_where_the_system_leads(folder: Path) -> None:
    """They do not lead to the folder of the link, where another picture of the same name may be."""
    (folder / "disk" / "deep").mkdir(parents=True)
    (folder / "images").rename(folder / "disk" / "images")
    (folder / "link").symlink_to(folder / "disk" / "deep")
    image_dir = folder / "link" / ".." / "images"
    assert find_image("blue.png", image_dir).samefile(folder / "disk" / "images" / "blue.png")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("Image 1: <image>\nImage 2: <image>\nSame?", "Image 1: \nImage 2: \nSame?"),
        ("Look:\n<image>\nWhat?", "Look:\n\nWhat?"),
        ("<image>\n<image>\nBoth?", "Both?"),
        (" Without. \n", " Without. \n"),
    ],
)
def test_line_breaks_at_a_mark_stay_as_in_the_reference(value: str, text: str) -> None:
    """The reference (parrot/train/data.py) does value.replace(mark, "").strip() for turns with a mark."""
    assert split_marks(value)[-1] == {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"json": ["none.json"]}, "--json: there is no file none.json"),
        ({"json": ["rows_sw.json"]}, "rows_sw.json ends with the language 'sw', but it would be read as 'en'"),
        ({"image_dir": "none"}, "--image_dir: there is no folder none"),
        ({"bad_rows": "none/bad.jsonl"}, "--bad_rows: none/bad.jsonl is no file in an existing folder"),
        ({"bad_rows": "."}, "--bad_rows: . is no file in an existing folder"),
        ({"language": ["en", "zh"]}, "1 files and 2 languages"),
    ],
)
def test_arguments_are_checked_before_any_row_is_read(change: dict, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        replace(arguments(folder, GOOD), **change)


@pytest.mark.slow
def test_the_command_says_in_one_line_what_is_wrong(folder: Path) -> None:
    args = arguments(folder, [{"image": "none.png", "conversations": turns("<image>", "Red.")}])
    line = [python(), "-m", "trainer.convert_llava", "--json", *args.json, "--image_dir", args.image_dir]
    done = subprocess.run([*line, "--output", args.output], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(
        r"^error: .*0\.json, row 0: its image 'none\.png' is not in .*--bad_rows FILE\.$", done.stderr, re.M
    )


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_streaming_reads_what_json_reads(chunk: int, folder: Path) -> None:
    content = [1, -2.5e3, "a,]", [], {"x": [{"y": "]"}]}, None, True, 123456789, "é\u2028"]
    (folder / "x.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    with (folder / "x.json").open(encoding="utf-8") as file:
        assert list(stream_array(file, chunk)) == content


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    row = json.dumps({"conversations": turns("x" * 1000, "y" * 1000)})
    with (folder / "big.json").open("w") as file:
        file.write("[" + row)
        for _ in range(20_000):
            file.write("," + row)
        file.write("]")
    rows = convert_files(ConvertArguments([str(folder / "big.json")], str(folder), str(folder / "out")))
    tracemalloc.start()
    assert sum(1 for _ in rows) == 20_001
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (folder / "big.json").stat().st_size / 20

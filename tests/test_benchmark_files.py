# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Reading benchmarks and answers from files."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest

from tests.conftest import encode, write_tsv
from tests.hub import LoopbackHub, run_python
from trainer.benchmark import ScoreArguments
from trainer.evaluation.benchmark_files import (
    INSTRUCTIONS,
    LETTERS,
    MD5,
    Question,
    base_index,
    find_benchmark,
    first_of_each_category,
    read_answers,
    read_benchmark,
)
from trainer.evaluation.benchmark_runs import read_questions


RED = encode("red")
PIXELS = base64.b64decode(RED)
# This base64 has no "=" at its end, so that more base64 may follow.
WHOLE = base64.b64encode(PIXELS + bytes(-len(PIXELS) % 3)).decode()
ROW = {
    "index": "1",
    "image": RED,
    "question": "?",
    "A": "x",
    "B": "y",
    "C": "",
    "D": "",
    "answer": "A",
    "category": "c",
}


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[Question]:
    return read_benchmark(write_tsv(tmp_path / "b_en.tsv", [ROW | row for row in rows]), "en")


def test_a_prompt_is_the_reference_wrappers_in_each_language() -> None:
    instructions = {
        "en": "Answer with the option's letter from the given choices directly.",
        "zh": "请直接用给定选项中的选项字母回答。",
        "pt": "Responda diretamente com a letra da opção das escolhas dadas.",
        "ar": "أجب مباشرةً بحرف الخيار من الاختيارات المعطاة.",
        "tr": "Verilen seçeneklerden doğrudan seçeneğin harfi ile cevap verin.",
        "ru": "Ответьте буквой варианта из предложенных вариантов напрямую.",
    }
    for language, instruction in instructions.items():
        question = Question("1", language, "", "Q?", {"A": "x", "C": "y"}, "A", hint="H.")
        assert question.prompt == f"H.\nQ?\nA. x\nC. y\n{instruction}"
        assert question.open_prompt == "H.\nQ?"


def test_a_language_without_an_instruction_gets_the_english_one_as_in_the_reference_with_a_warning() -> None:
    question = Question("1", "xx", "", "Q?", {"A": "x", "B": "y"}, "A")
    with pytest.warns(UserWarning, match=r"languages/xx\.json has no instruction, so the English one is used"):
        assert question.prompt == f"Q?\nA. x\nB. y\n{INSTRUCTIONS['en']}"
    assert len(set(INSTRUCTIONS.values())) == len(INSTRUCTIONS)


def test_rows_are_read_with_shared_images_hints_gaps_and_26_options(tmp_path: Path) -> None:
    many = {letter: f"option {letter}" for letter in LETTERS}
    rows = [
        {letter: "" for letter in LETTERS} | ROW | {"hint": "nan"},
        {letter: "" for letter in LETTERS}
        | ROW
        | {"index": "2", "image": "1", "C": "", "D": "z", "hint": "look\nhere"},
        ROW | many | {"index": "3", "answer": "Z", "image": encode("blue"), "hint": ""},
    ]
    first, second, third = read_benchmark(write_tsv(tmp_path / "b_en.tsv", rows), "en")
    assert first.image == second.image == RED != third.image
    assert (first.hint, second.hint) == ("", "look\nhere")
    assert second.options == {"A": "x", "B": "y", "D": "z"} == second.matched_options
    assert third.options == many
    assert third.answer == "Z"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": ""}, "line 3: the column 'image' is empty"),
        ({"question": ""}, "line 3: the column 'question' is empty"),
        ({"answer": "AB"}, "line 3: the answer 'AB' is no letter"),
        ({"answer": "C"}, r"line 3: the answer 'C' is no letter of its options \['A', 'B'\]"),
        ({"B": ""}, "line 3: there are fewer than two options"),
        ({"index": "1"}, "line 3: line 2 has the index '1', too"),
        ({"image": "17"}, "line 3: the image column names the index '17', but no row with that"),
        ({"image": str([RED, RED])}, r"line 3: the image column begins with \"\['.* not one image file in base64"),
        ({"image": json.dumps([RED])}, "line 3: the image column begins with .* not one image file in base64"),
        ({"image": RED + RED}, "line 3: the image column begins with .* not one image file in base64"),
        ({"image": f"{WHOLE} {RED}"}, "line 3: the image column begins with .* not one image file in base64"),
        ({"image": f"{WHOLE}\n{RED}"}, "line 4: the image column begins with .* not one image file in base64"),
        ({"image": f"{RED},{RED}"}, "line 3: the image column begins with .* not one image file in base64"),
        ({"image": f"data:image/png;base64,{RED}"}, "line 3: the image column begins with 'data:image"),
        ({"image": f"images/{'a' * 80}.png"}, "line 3: the image column begins with 'images/"),
        ({"image": RED[:-1]}, "line 3: the image column begins with .* not one image file in base64"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, {}, {"index": "2"} | row)


def test_an_image_in_lines_is_read_as_one(tmp_path: Path) -> None:
    lines = "\n".join(RED[start : start + 76] for start in range(0, len(RED), 76))
    assert [question.image for question in read(tmp_path, {"image": lines}, {"index": "2"})] == [RED, RED]


@pytest.mark.parametrize("name", ["NO", "DE", "HI", "ST", "ABC", "XYZ", "a", "A1", "AB", ""])
def test_a_column_whose_name_is_more_than_a_letter_is_no_option(
    name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (question,) = read(tmp_path, {name: "7"})
    assert question.options == question.matched_options == {"A": "x", "B": "y"}
    assert not recwarn


def test_a_letter_after_a_gap_in_the_columns_is_no_option_though_vlmevalkit_reads_it(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="VLMEvalKit reads the options of 1 rows differently"):
        (question,) = read(tmp_path, {"N": "7"})
    assert (question.options, question.matched_options) == ({"A": "x", "B": "y"}, {"A": "x", "B": "y", "N": "7"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index\timage\tquestion\tA\tA\tanswer\n", "two columns have the same name"),
        (
            f'index\timage\tquestion\tA\tB\tanswer\tcategory\n1\t{RED}\t?\tx\ty\tA\t"c\n',
            "cannot be read: .*EOF inside string",
        ),
    ],
)
def test_a_table_that_would_be_read_differently_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "b_en.tsv").write_text(text)
    with pytest.raises(ValueError, match=f"b_en.tsv.*{message}"):
        read_benchmark(tmp_path / "b_en.tsv", "en")


def test_a_row_with_a_cell_too_many_is_named(tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "b_en.tsv", [ROW])
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\tmore\n")
    with pytest.raises(ValueError, match="line 3: the row has more or fewer cells than the header"):
        read_benchmark(file, "en")


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    text = "\t".join(ROW) + "\n" + "\t".join(ROW.values()) + "\n"
    (tmp_path / "b_en.tsv").write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"b_en.tsv, after line 0: 'utf-8' codec can't decode .* Save it as a TSV"):
        read_benchmark(tmp_path / "b_en.tsv", "en")


def test_a_file_without_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "b_en.tsv").write_text("\t".join(ROW) + "\n")
    with pytest.raises(ValueError, match=r"b_en.tsv holds no rows"):
        read_benchmark(tmp_path / "b_en.tsv", "en")


def test_options_that_vlmevalkit_reads_differently_are_kept_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="VLMEvalKit reads the options of 1 rows differently"):
        word, _ = read(tmp_path, {"B": "None"}, {"index": "2"})
    assert word.options["B"] == "None"
    assert word.matched_options == {"A": "x"}
    with pytest.warns(UserWarning, match="VLMEvalKit reads the options of 1 rows differently"):
        number = read(tmp_path, {"C": "4"}, {"index": "2"})[0]
    assert (number.options["C"], number.matched_options["C"]) == ("4", "4.0")


def test_the_first_questions_of_a_category_come_with_their_rotations(tmp_path: Path) -> None:
    rows = [{"index": str(index)} for index in (1, 2, 1_000_001, 1_000_002)] + [{"index": "3", "category": "d"}]
    questions = first_of_each_category(
        read_benchmark(write_tsv(tmp_path / "b.tsv", [ROW | row for row in rows]), "en"), 1
    )
    assert [question.index for question in questions] == ["1", "1000001", "3"]
    assert [base_index(index) for index in ("7", "2000007", "x")] == ["7", "7", "x"]


def test_files_are_found_by_language(tmp_path: Path) -> None:
    for name in ("b_en.tsv", "b_cn.tsv", "other.tsv"):
        write_tsv(tmp_path / name, [ROW])
    english, chinese, other = (str(tmp_path / name) for name in ("b_en.tsv", "b_cn.tsv", "other.tsv"))
    assert find_benchmark([english, chinese], None, "main") == {"en": Path(english), "zh": Path(chinese)}
    assert find_benchmark([other], ["sw"], "main") == {"sw": Path(other)}
    assert find_benchmark([str(tmp_path / "b_{language}.tsv")], ["en"], "main") == {"en": Path(english)}
    assert find_benchmark([other], None, "main", fallback="und") == {"und": Path(other)}
    for names, languages in (([english], ["sw"]), ([english, chinese], ["zh", "en"])):
        with pytest.raises(ValueError, match=r"b_en\.tsv ends with the language 'en', but .* as '(sw|zh)'"):
            find_benchmark(names, languages, "main")
    with pytest.raises(ValueError, match="does not end with a known language"):
        find_benchmark([other], None, "main")
    with pytest.raises(ValueError, match=r"--benchmark has 2 files .* for the languages \['en'\]"):
        find_benchmark([english, chinese], ["en"], "main")
    with pytest.raises(ValueError, match=r"b_tr.tsv. There is none for 'tr' among b_cn.tsv, b_en.tsv: give --lang"):
        find_benchmark([str(tmp_path / "b_{language}.tsv")], ["tr"], "main")
    with pytest.raises(ValueError, match=r"mmmb has no 'de': give --languages of en, zh"):
        find_benchmark(["mmmb"], ["de"], "main")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("mmbm", "Did you mean mmmb?"),
        ("kaleidoscop", "Did you mean kaleidoscope?"),
        ("b_{lang}.tsv", "Write {language} in the place of the language."),
        (".", "It is a folder: give its files, as in name_{language}.tsv."),
        ("none_of_these.tsv", "There is no benchmark file none_of_these.tsv."),
    ],
)
def test_a_benchmark_that_does_not_exist_is_named_before_its_language_is_asked_for(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice) + "$"):
        find_benchmark([name], None, "main")


def test_the_advice_to_build_mini_mmmb_is_given_only_for_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"Build it: python -m trainer.mini_mmmb --output data/mini-mmmb\."):
        find_benchmark(["mini-mmmb"], None, "main")
    with pytest.raises(ValueError, match=r"There is no benchmark file other/mini_mmmb_en.tsv\.$"):
        find_benchmark(["other/mini_mmmb_{language}.tsv"], None, "main")


PUBLISH_AND_FIND = """
import json
from huggingface_hub import HfApi
from trainer.evaluation.benchmark_files import find_benchmark
HfApi().create_repo("AIDC-AI/Parrot-dataset", repo_type="dataset")
commit = HfApi().upload_folder(folder_path="folder", repo_id="AIDC-AI/Parrot-dataset", repo_type="dataset").oid
HfApi().delete_folder("mmbench", repo_id="AIDC-AI/Parrot-dataset", repo_type="dataset")
files = find_benchmark(["mmmb"], ["en", "zh"], "main") | find_benchmark(["mmbench"], ["tr"], commit)
print(json.dumps([commit, {language: str(file) for language, file in files.items()}]))
"""


def test_published_files_come_from_the_hub_at_a_revision(tmp_path: Path) -> None:
    names = {"en": "mmmb/mmmb_en.tsv", "zh": "mmmb/mmmb_cn.tsv", "tr": "mmbench/mmbench_dev_tr.tsv"}
    for name in names.values():
        (tmp_path / "folder" / name).parent.mkdir(exist_ok=True, parents=True)
        write_tsv(tmp_path / "folder" / name, [ROW | {"question": name}])
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "home")
        printed = run_python(PUBLISH_AND_FIND, environment, tmp_path, with_repository=True, new_interpreter=True)
    commit, files = json.loads(printed.splitlines()[-1])
    assert Path(files["tr"]).parts[-3] == commit
    for language, name in names.items():
        assert [question.text for question in read_benchmark(Path(files[language]), language)] == [name]


def test_another_edition_of_a_published_file_is_a_warning(tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "mmmb_en.tsv", [ROW])
    with pytest.warns(
        UserWarning, match=f"the published mmmb_en.tsv has {MD5['mmmb_en.tsv']}: this is another edition"
    ):
        read_questions(ScoreArguments(benchmark=[str(file)], output="", predictions=[]), to_ask=False)
    assert len(MD5) == 12
    assert set(map(len, MD5.values())) == {32}


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".xlsx", ".jsonl"])
def test_answers_are_read_from_any_table_as_they_are(suffix: str, tmp_path: Path) -> None:
    predictions = {
        "1": "A. x",
        "2": "",
        "3": "NA",
        "4": 'it says "B",\nI think\t!',
        "5": "答案是A。",
        "6": "1",
        "7": "=A",
    }
    file = tmp_path / f"answers{suffix}"
    table = pandas.DataFrame({"index": map(int, predictions), "prediction": list(predictions.values()), "more": 0})
    if suffix == ".jsonl":
        rows = [{"index": int(index), "prediction": text} for index, text in predictions.items()]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif suffix == ".xlsx":
        table.to_excel(file, index=False)
    else:
        table.to_csv(file, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert read_answers(file, "en") == predictions


def test_the_answers_in_one_of_several_languages_are_read(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("language,index,prediction\nen,1,A\ntr,1,B\n")
    assert read_answers(file, "tr") == {"1": "B"}


def test_the_answers_in_each_language_are_read_from_vlmevalkit_s_own_result_file(tmp_path: Path) -> None:
    rows = [("MMMB_cn", 7, "A"), ("MMMB_cn", 8, "B"), ("MMMB_en", 7, "C")]
    table = pandas.DataFrame(
        [
            {"index": number, "prediction": answer, "SUB_DATASET": name, "original_index": index}
            for number, (name, index, answer) in enumerate(rows)
        ]
    )
    table.to_excel(tmp_path / "model_MMMB.xlsx", index=False)
    assert read_answers(tmp_path / "model_MMMB.xlsx", "zh", has_several_languages=True) == {"7": "A", "8": "B"}
    assert read_answers(tmp_path / "model_MMMB.xlsx", "en") == {"7": "C"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "index,prediction\n1,A,x\n", "line 2: the row has more cells than the header"),
        ("a.csv", "index,prediction\n1\n", "row 1: the prediction None is not a text"),
        ("a.csv", "", "holds no rows"),
        ("a.tsv", 'index\tprediction\n1\t"A\n', "after line 0: unexpected end of data"),
        ("a.xlsx", "no table", "a.xlsx cannot be read: .*Save it as .xlsx anew"),
        ("a.jsonl", "[1]\n", "line 1: the line is not a JSON object"),
        ("a.jsonl", '{"index": 1, "prediction": "\\ud83d"}\n', "line 1: the line is not JSON .*surrogates"),
        ("a.csv", "index,answer\n1,A\n", "row 1: there is no column 'prediction' among"),
        ("a.csv", "index,prediction\n1,A\n1,B\n", "row 2: the index '1' is answered twice"),
        ("a.jsonl", '{"index": 1, "prediction": 2}\n', "row 1: the prediction 2 is not a text"),
        ("a.jsonl", '{"index": 1,\n', r"a.jsonl, line 1: the line is not JSON"),
        ("a.txt", "1 A", "is none of .tsv, .csv, .xlsx and .jsonl"),
    ],
)
def test_answers_that_cannot_be_read_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_answers(tmp_path / name, "en")
    with pytest.raises(ValueError, match="There is no file "):
        read_answers(tmp_path / "absent.csv", "en")

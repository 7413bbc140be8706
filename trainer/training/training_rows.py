# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Names the source of each row of training data, brings data sets into one schema, and opens pictures one by one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, Features, Image, IterableDataset, LargeList, List, Value, concatenate_datasets

from trainer.common import pictures


SOURCE = "_source"  # with an underscore, because data sets may have a column `source`
ROLES = ("system", "user", "assistant", "tool")
# The rows of a mixture. A message has a list of parts and not a string, because pictures may stand between texts.
SCHEMA = Features(
    {
        "messages": List(
            {"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}
        ),
        "images": List(Image()),
        "language": Value("string"),
        SOURCE: Value("string"),
    }
)
BYTES = ("binary", "large_binary")
IMAGE = Image()  # opens a picture that is not a local file, e.g. in an archive, as `datasets` itself would


@contextmanager
def naming_the_row(messages: Any, source: str) -> Iterator[None]:
    """Turns every error into a `ValueError` that names the row's source and quotes its messages."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        message = f"{source}: {kind}{str(error).rstrip('.')}. The row: {str(messages)[:300]}"
        raise ValueError(message) from error


def with_source(data: Dataset | IterableDataset, name: str) -> Dataset | IterableDataset:
    """
    Adds a column `_source` with the origin of each row, such as `data/mine, row 3`.

    Raises:
        `ValueError`: if the data have no column to train on, or if a column holds no languages or no pictures.
    """
    _check_features(data.features or {}, name)
    if isinstance(data, Dataset):
        check_columns(data.column_names, name)
        return data.add_column(SOURCE, [f"{name}, row {index}" for index in range(len(data))])
    data = undecoded(data)  # map would open the pictures, and its errors would not name the row
    check_columns(data.column_names or list(next(iter(data))), name)
    features = None if data.features is None else Features(data.features | {SOURCE: Value("string")})
    return data.map(lambda _, index: {SOURCE: f"{name}, row {index}"}, with_indices=True, features=features)


def check_columns(columns: list[str], name: str) -> None:
    """
    Checks that rows of these columns can be trained on.

    Raises:
        `ValueError`: if they cannot.
    """
    if not {"messages", "prompt", "text", "input_ids", "images"} & set(columns):
        advice = "Rows need `messages`: a list of roles and texts"
        if "conversations" in columns:
            advice = "Convert LLaVA-style rows with python -m trainer.convert_llava"
        raise ValueError(f"{name} has the columns {columns}, but no `messages`. {advice}.")


def _check_features(features: Mapping[str, Any], name: str) -> None:
    if isinstance(features.get("language"), (List, LargeList, dict)):
        raise ValueError(f"{name}: the column `language` holds {features['language']}. Give each row one language.")
    for column in features.keys() & {"image", "images"}:
        kind = features[column]
        kind = kind.feature if isinstance(kind, (List, LargeList)) else kind
        is_other = isinstance(kind, Value) and kind.dtype not in ("string", "large_string", *BYTES, "null")
        has_no_keys = isinstance(kind, dict) and not {"path", "bytes"} & kind.keys()
        if isinstance(kind, (List, LargeList)) or is_other or has_no_keys:
            raise ValueError(
                f"{name}: the column `{column}` holds {features[column]}. Give pictures, their paths or their bytes."
            )


def concatenate(parts: list[Dataset] | list[IterableDataset]) -> Dataset | IterableDataset:
    """Concatenates the parts. If their features differ, their rows are brought into `SCHEMA` first."""
    features = [part.features for part in parts]
    if None in features or any(schema != features[0] for schema in features):
        parts = [_to_schema(part) for part in parts]
    return concatenate_datasets(parts)


def _to_schema(data: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """As `_row_to_schema` for each row. If the pictures already are a list, they are not copied on disk."""
    if isinstance(data, IterableDataset):
        return data.map(_row_to_schema, features=SCHEMA).select_columns([*SCHEMA])
    if "messages" not in data.column_names:
        raise ValueError(f"{data[0][SOURCE]} has no `messages`: only conversations can be part of a mixture.")
    images = data.features.get("images", SCHEMA["images"])
    is_simple = isinstance(images, (List, LargeList)) and isinstance(images.feature, (Image, Value, dict))
    if "image" in data.column_names or not is_simple:
        return undecoded(data).map(_row_to_schema, features=SCHEMA, remove_columns=data.column_names)
    columns = [name for name in ("language", SOURCE) if name in data.column_names]
    texts = data.select_columns(["messages", *columns])
    if "images" in data.column_names:
        images = data.select_columns(["images"])
        images = Dataset(images.data.cast(Features({"images": SCHEMA["images"]}).arrow_schema))
        counts = pc.fill_null(pc.list_value_length(images.data.column("images")), 0).to_pylist()
    else:
        images = Dataset.from_dict({"images": [[]] * len(data)}, features=Features({"images": SCHEMA["images"]}))
        counts = [0] * len(data)
    texts = texts.add_column("num_images", counts).map(
        lambda row: {"messages": _messages_to_schema(row["messages"], row["num_images"], row.get(SOURCE))},
        remove_columns=["num_images"],
        features=Features({name: SCHEMA[name] for name in ("messages", *columns)}),
    )
    return concatenate_datasets([texts, images], axis=1)


def _row_to_schema(row: dict[str, Any]) -> dict[str, Any]:
    images = pictures_of(row)
    return {
        "messages": _messages_to_schema(row.get("messages"), len(images), row.get(SOURCE)),
        "images": [as_stored(image) for image in images],
        "language": row.get("language"),
        SOURCE: row.get(SOURCE),
    }


def _messages_to_schema(messages: Any, num_images: int, source: str | None) -> list[dict[str, Any]]:
    """Turns messages into lists of parts. Pictures go before the first user text if it is a string, as in TRL."""
    with naming_the_row(messages, source or "A row"):
        check_turns(messages)
    turns, images_placed = [], False
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            before = 0 if images_placed or message["role"] != "user" else num_images
            images_placed = images_placed or message["role"] == "user"
            content = [{"type": "image"}] * before + [{"type": "text", "text": content}]
        parts = [{"type": part["type"], "text": part.get("text")} for part in content]
        turns.append({"role": message["role"], "content": parts})
    return turns


def check_turns(messages: Any) -> None:
    """
    Checks that a row's messages are a list of roles and contents.

    Raises:
        `ValueError`: if they are not, if a content is neither a text nor a list of parts, or if a part holds a picture
            itself.
    """
    if not isinstance(messages, list):
        raise ValueError("its `messages` are not a list of roles and contents. Repair the row, or leave it out.")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ValueError(f"a message has none of the roles {', '.join(ROLES)}: {message!r:.100}. Repair it.")
        _check_content(message.get("content"))


def _check_content(content: Any) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) and part.get("type") for part in content):
        raise ValueError(f"{content!r:.100} is neither a text nor parts with a `type`. Repair the row.")
    keys = ("image", "path", "url", "image_url", "base64")
    if with_picture := [part for part in content if any(part.get(key) for key in keys)]:
        raise ValueError(f"a part holds its picture, {with_picture[0]!r:.100}. Put it into the column `images`.")


def as_stored(picture: Any) -> Any:
    """A path or bytes in the form in which `datasets` stores a picture; any other picture unchanged."""
    if isinstance(picture, str):
        return {"path": picture, "bytes": None}
    return {"path": None, "bytes": picture} if isinstance(picture, bytes) else picture


def pictures_of(row: dict[str, Any]) -> list[Any]:
    """
    A row's pictures as they are stored, from its column `images`, or from its column `image` with one picture.

    Raises:
        `ValueError`: if `image` is empty. The message begins with the row's source, if the row has one.
    """
    pictures = row.get("image" if "image" in row else "images")
    pictures = [] if pictures is None else pictures if isinstance(pictures, list) else [pictures]
    if "image" in row and not pictures:
        place = f"{row[SOURCE]}: " if SOURCE in row else ""
        raise ValueError(
            f"{place}its `image` is empty. Leave the row out, or use a column `images`, a list that may be empty."
        )
    return pictures


def undecoded(data: Dataset | IterableDataset | None) -> Any:
    """The same rows with pictures as paths or bytes, so that `open_stored` can say what is wrong with a picture."""
    if data is None or data.features is None or (isinstance(data, Dataset) and data.format["type"]):
        return data
    features = Features({name: _undecoded_feature(feature) for name, feature in data.features.items()})
    if features == data.features:
        return data
    if isinstance(data, IterableDataset):
        return data.cast(features)
    # Dataset.cast would write a copy of all pictures, although both features store them in the same way.
    return Dataset(data.data.cast(features.arrow_schema), indices_table=data._indices)


def _undecoded_feature(feature: Any) -> Any:
    # IterableDataset.decode(False) would not decode JSON values either.
    if isinstance(feature, Image):
        return replace(feature, decode=False)
    return type(feature)(_undecoded_feature(feature.feature)) if isinstance(feature, (List, LargeList)) else feature


def open_stored(picture: Any, place: str) -> Any:
    """
    Opens a picture as a PIL image. An image that is already open, and one that transformers loads (a URL or base64),
    are returned as they are.

    Raises:
        `ValueError`: if there is no picture, or if its file does not exist or cannot be read.
    """
    if picture is None:
        raise ValueError(f"{place} is empty. Take it out of the list, or leave the row out.")
    if isinstance(picture, str) and (len(picture) > 1000 or picture.startswith(("http://", "https://", "data:"))):
        return picture
    picture = as_stored(picture)
    if not isinstance(picture, dict) or not {"path", "bytes"} & picture.keys():
        return picture
    path, content = picture.get("path"), picture.get("bytes")
    if content is None and path and "://" not in path and not Path(path).is_file():
        raise ValueError(f"{place}: there is no such file, {path!r}. Correct the path, or leave the row out.")
    place = f"{place} ({path or 'bytes'})"
    try:
        if content is None and path and "://" in path:
            return IMAGE.decode_example({"path": path, "bytes": None})
    except Exception as error:  # from the network, the archive or Pillow
        raise ValueError(f"{place} cannot be read: {' '.join(str(error).split())}. Leave its row out.") from error
    return pictures.open_picture(Path(path) if content is None and path else content or b"", place)

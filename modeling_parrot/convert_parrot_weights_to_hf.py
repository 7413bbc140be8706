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
r"""
Turns a checkpoint of the reference code (github.com/AIDC-AI/Parrot) into a Parrot folder for transformers:

    python -m modeling_parrot.convert_parrot_weights_to_hf \
        --checkpoint AIDC-AI/Parrot-7B --vision_tower openai/clip-vit-large-patch14-336 --output parrot-7b

Both sources are folders, or ids on the Hub. The checkpoint may be safetensors or .bin, in shards or not. Tensors are
mapped from disk and written shard by shard, so that memory use stays near the size of the checkpoint's largest shard.
WEIGHTS lists all names; an unknown or a missing tensor is an error. (transformers' own `WeightConverter` could rename
and merge them, too, but would hold the whole model in memory.)
"""

import argparse
import dataclasses
import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download, split_torch_state_dict_into_shards
from huggingface_hub.errors import HTTPError
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    LlavaImageProcessorPil,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
)
from transformers.dynamic_module_utils import custom_object_save

from .chat_format import ChatFormat
from .configuration_parrot import ParrotConfig
from .modeling_parrot import ParrotForConditionalGeneration
from .processing_parrot import ParrotProcessor


# Reference name -> Parrot name. Experts are stacked along dimension 0. The rows of gate_up_proj are gate's, then up's.
WEIGHTS = {
    r"model\.(embed_tokens|layers|norm)\.(.+)": r"model.language_model.\1.\2",
    r"lm_head\.weight": r"lm_head.weight",
    r"model\.mm_projector\.0\.(weight|bias)": r"model.multi_modal_projector.linear_1.\1",
    r"model\.mm_projector\.2\.(weight|bias)": r"model.multi_modal_projector.linear_2.\1",
    r"model\.moe_model\.gate\.weight": r"model.moe.router.weight",
    r"model\.moe_model\.experts\.\d+\.(?:gate|up)_proj\.weight": r"model.moe.experts.gate_up_proj",
    r"model\.moe_model\.experts\.\d+\.down_proj\.weight": r"model.moe.experts.down_proj",
    r"model\.vision_tower\.vision_tower\.(?:vision_model\.)?(.+)": r"model.vision_tower.\1",
}
# Names in the vision tower's own folder. Its tensors are used where the checkpoint has none.
TOWER_WEIGHTS = {r"vision_model\.(.+)": r"model.vision_tower.\1"}
# Not converted: aliases that the reference code writes if its config lacks moe_top_k; buffers that are computed; and
# the text encoder in a folder with a whole CLIP.
DROPPED = r"model\.moe_model\.moe_top_k\..+|.+\.rotary_emb\.inv_freq|.+\.embeddings\.position_ids"
TOWER_DROPPED = r"text_model\..+|(text_projection|visual_projection)\.weight|logit_scale|.+\.position_ids"


class CheckpointReader:
    """Reads the tensors of a folder by name, mapped from disk one file at a time."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Path] = {}
        for file in _weight_files(folder):
            for name in _open(file)[0]:
                if name in self.files:
                    raise ValueError(
                        f"{name} is in {self.files[name]} and in {file}: remove the file that does not belong there."
                    )
                self.files[name] = file
        self.largest_file_size = max(file.stat().st_size for file in self.files.values())

    def __call__(self, name: str) -> torch.Tensor:
        """The tensor of this name."""
        return _open(self.files[name])[1](name)


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        for index in folder.glob(f"{pattern}.index.json"):
            return sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
        if files := sorted(folder.glob(pattern)):
            return files
    raise ValueError(f"{folder} has no *.safetensors and no pytorch_model*.bin: give a folder with a checkpoint.")


@functools.lru_cache(maxsize=1)
def _open(file: Path) -> tuple[list[str], Callable[[str], torch.Tensor]]:
    if file.suffix == ".safetensors":
        handle = safe_open(file, framework="pt")
        return list(handle.keys()), handle.get_tensor
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the format from before torch 1.6 cannot be mapped
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    return list(tensors), tensors.__getitem__


def _natural_sort_key(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def map_names(names: list[str], table: dict[str, str], dropped: str, source: Path) -> dict[str, list[str]]:
    """
    Maps each Parrot name to the reference names that make it up, in their order.

    Raises:
        `ValueError`: if a name matches neither the table nor `dropped`.
    """
    mapped: dict[str, list[str]] = {}
    unknown = []
    for name in sorted(names, key=_natural_sort_key):
        if re.fullmatch(dropped, name):
            continue
        target = next((re.sub(old, new, name) for old, new in table.items() if re.fullmatch(old, name)), None)
        if target is None:
            unknown.append(name)
        else:
            mapped.setdefault(target, []).append(name)
    if unknown:
        raise ValueError(f"{source} has tensors that are not in the table of names: {', '.join(unknown)}.")
    return mapped


def convert_config(
    reference: dict[str, Any], vision_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> ParrotConfig:
    """
    Converts the reference's flat config to a `ParrotConfig`. The tokenizer must have the `<image>` token.

    Raises:
        `ValueError`: for a kind of model that the reference code never released.
    """
    for key in ("hidden_size", "vocab_size", "num_experts", "moe_intermediate_size"):
        if reference.get(key) is None:
            raise ValueError(f"config.json has no {key}: add the number that the checkpoint was trained with.")
    supported = {
        "model_type": "parrot_qwen2",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "cls_patch",
    }
    for key, value in supported.items():
        if reference.get(key) != value:
            raise ValueError(f"config.json: {key} is {reference.get(key)!r}; only {value!r} can be converted.")
    settings = {"use_moe": True, "use_moe_residual": True, "moe_weight": 1.0}  # the reference's own defaults
    settings |= {key: reference[key] for key in settings if reference.get(key) is not None}
    fields = {field.name for field in dataclasses.fields(Qwen2Config)}
    text_keys = (fields | {"rope_theta", "rope_scaling"}) - {"architectures", "dtype", "transformers_version"}
    text_config = Qwen2Config(**{key: value for key, value in reference.items() if key in text_keys})
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    text_config.vocab_size = max(text_config.vocab_size, image_token_id + 1)
    return ParrotConfig(
        text_config=text_config,
        vision_config=vision_config,
        image_token_index=image_token_id,
        image_seq_length=(vision_config.image_size // vision_config.patch_size) ** 2 + 1,
        vision_feature_layer=reference.get("mm_vision_select_layer", -2),
        num_experts=reference["num_experts"],  # the reference code is dense: it stores moe_top_k and never reads it
        moe_intermediate_size=reference["moe_intermediate_size"],
        residual_scale=settings["moe_weight"] if settings["use_moe_residual"] else 0.0,
        use_experts=settings["use_moe"],
        assistant_header_ids=tokenizer.encode(ChatFormat().assistant_header, add_special_tokens=False),
        dtype=reference.get("torch_dtype"),
    )


def convert_processor(
    reference: dict[str, Any], vision_tower: Path, config: ParrotConfig, tokenizer: PreTrainedTokenizerBase
) -> ParrotProcessor:
    """
    The processor with the tower's preprocessing, padding to a square in the mean colour, and the reference's ChatML.

    Raises:
        `ValueError`: for an `image_aspect_ratio` other than "pad".
    """
    if (aspect := reference.get("image_aspect_ratio", "pad")) != "pad":
        raise ValueError(f"config.json: image_aspect_ratio is {aspect!r}; only 'pad' can be converted.")
    preprocessing, _ = LlavaImageProcessorPil.get_image_processor_dict(vision_tower)
    keys = ("size", "crop_size", "resample", "image_mean", "image_std", "rescale_factor")
    image_processor = LlavaImageProcessorPil(
        do_pad=True, **{key: preprocessing[key] for key in keys if key in preprocessing}
    )
    return ParrotProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=ChatFormat().template(),
    )


def assemble_tensor(name: str, pieces: list[torch.Tensor], shape: torch.Size, vocab_size: int) -> torch.Tensor:
    """
    Makes one Parrot tensor of the given shape from its reference tensors. If `<image>` needs rows beyond the
    checkpoint's vocabulary, they are the mean of the other rows; the language model never reads `<image>` as text.

    Raises:
        `ValueError`: if the pieces do not make the shape.
    """
    expected = {"gate_up_proj": 2 * shape[0], "down_proj": shape[0]}.get(name.rpartition("moe.experts.")[2], 1)
    if len(pieces) != expected:
        raise ValueError(f"{name} is made of {expected} tensors; the checkpoint has {len(pieces)} of them.")
    if name.endswith("experts.gate_up_proj"):  # pieces are gate 0, up 0, gate 1, up 1, ...
        pairs = zip(pieces[0::2], pieces[1::2], strict=True)
        tensor = torch.stack([torch.cat(pair) for pair in pairs])
    elif name.endswith("experts.down_proj"):
        tensor = torch.stack(pieces)
    else:
        (tensor,) = pieces
    if name in ("model.language_model.embed_tokens.weight", "lm_head.weight") and len(tensor) == vocab_size < shape[0]:
        mean = tensor.mean(dim=0, keepdim=True, dtype=torch.float32).to(tensor.dtype)
        tensor = torch.cat([tensor, mean.expand(shape[0] - vocab_size, -1)])
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but the config needs {tuple(shape)}.")
    return tensor.contiguous()


def convert_weights(config: ParrotConfig, vocab_size: int, checkpoint: Path, vision_tower: Path, output: Path) -> None:
    """
    Streams the tensors of both folders into `output`, in shards of at most a quarter of the checkpoint's largest file,
    or of 16 MiB if that is more. A larger tensor gets a shard of its own.

    Raises:
        `ValueError`: if a tensor is unknown, missing or of another shape.
    """
    with torch.device("meta"):
        model = ParrotForConditionalGeneration(config)
    expected = model.state_dict()
    if config.tie_word_embeddings:
        expected.pop("lm_head.weight")

    reader, tower_reader = CheckpointReader(checkpoint), CheckpointReader(vision_tower)
    sources = {
        target: (tower_reader, names)
        for target, names in map_names(list(tower_reader.files), TOWER_WEIGHTS, TOWER_DROPPED, vision_tower).items()
    }
    sources |= {
        target: (reader, names)
        for target, names in map_names(list(reader.files), WEIGHTS, DROPPED, checkpoint).items()
        if not (target == "lm_head.weight" and config.tie_word_embeddings)
    }
    if sources.keys() != expected.keys():
        raise ValueError(
            f"{checkpoint} does not fit its config: missing {sorted(expected.keys() - sources.keys())}, "
            f"not in the model {sorted(sources.keys() - expected.keys())}."
        )

    # The tensors are written in the order of the files that they come from, because one file is open at a time.
    limit = max(reader.largest_file_size // 4, 2**24)
    in_file_order = sorted(expected, key=lambda target: str(sources[target][0].files[sources[target][1][-1]]))
    plan = split_torch_state_dict_into_shards(
        {target: expected[target] for target in in_file_order}, max_shard_size=limit
    )
    for file, targets in tqdm(plan.filename_to_tensors.items(), desc="writing shards"):
        shard = {}
        for target in targets:
            read, names = sources[target]
            pieces = [read(name) for name in names]
            shard[target] = assemble_tensor(target, pieces, expected[target].shape, vocab_size)
        save_file(shard, output / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (output / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    custom_object_save(model, output)


def convert_generation_config(
    checkpoint: Path, config: ParrotConfig, tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """
    The checkpoint's generation config; generation also stops at the end of a turn, and never writes `<image>`.

    Raises:
        `ValueError`: if the checkpoint's settings contradict each other.
    """
    file = checkpoint / "generation_config.json"
    values = json.loads(file.read_text()) if file.exists() else {}
    values.pop("model_type", None)  # the reference's file has it, but it is not a generation setting
    ends = values.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends] * (ends is not None)
    values["eos_token_id"] = list(dict.fromkeys([tokenizer.convert_tokens_to_ids(ChatFormat().assistant_end), *ends]))
    values["suppress_tokens"] = [config.image_token_id]
    generation_config = GenerationConfig(**values)
    generation_config.validate(strict=True)
    return generation_config


def convert(checkpoint: Path, vision_tower: Path, output: Path) -> None:
    """
    Converts a reference checkpoint to a folder with config, weights, processor, chat template and code.

    Raises:
        `ValueError`: if a source is not what the reference code writes, or `output` already holds weights.
    """
    if any(output.glob("*.safetensors")):
        raise ValueError(f"{output} already holds weights: give a new folder.")
    reference = json.loads((checkpoint / "config.json").read_text())
    vision_config = AutoConfig.from_pretrained(vision_tower)
    vision_config = getattr(vision_config, "vision_config", vision_config)
    # Without `config`, AutoTokenizer would look up the reference's model_type, which transformers does not know.
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, config=Qwen2Config(), padding_side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)

    config = convert_config(reference, vision_config, tokenizer)
    processor = convert_processor(reference, vision_tower, config, tokenizer)
    generation_config = convert_generation_config(checkpoint, config, tokenizer)
    output.mkdir(parents=True, exist_ok=True)
    convert_weights(config, reference["vocab_size"], checkpoint, vision_tower, output)
    config.architectures = ["ParrotForConditionalGeneration"]
    config.save_pretrained(output)
    processor.save_pretrained(output)
    generation_config.save_pretrained(output)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder or Hub id of the reference checkpoint")
    parser.add_argument(
        "--vision_tower", required=True, help="folder or Hub id of the CLIP in the checkpoint's config"
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    args = parser.parse_args()
    try:
        sources = [
            Path(source) if Path(source).is_dir() else Path(snapshot_download(source))
            for source in (args.checkpoint, args.vision_tower)
        ]
        convert(sources[0], sources[1], args.output)
    except (ValueError, OSError, HTTPError) as error:  # a source is wrong or cannot be reached
        sys.exit(f"error: {args.checkpoint} cannot be converted: {' '.join(str(error).split())}")
    print(f"Parrot written to {args.output}; load it with AutoModel.from_pretrained(..., trust_remote_code=True).")


if __name__ == "__main__":
    main()

# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Sets what LoRA trains in a Parrot's language model: its linear layers, and the tokens that mark a chat's turns."""

import re

from jinja2 import TemplateError
from peft import LoraConfig
from torch import nn

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor


LANGUAGE_MODEL = "model.language_model."
LAYERS = LANGUAGE_MODEL + "layers."


def set_lora_targets(config: LoraConfig, model: ParrotForConditionalGeneration) -> str:
    """
    Makes LoRA adapt every linear layer of the language model, and its experts if they are parameters.

    Args:
        config: changed in place.
        model: a Parrot without adapters.

    Returns:
        one line that names what LoRA adapts and what it leaves out.
    """
    modules: set[str] = set()
    experts: dict[str, str] = {}
    left_out: set[str] = set()
    for name, module in model.named_modules():
        if not name.startswith(LAYERS):
            continue
        # The layer's number is dropped, and further numbers, such as an expert's, become `*`.
        path = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name.removeprefix(LAYERS)).partition(".")[2]
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Linear):
            (modules if _is_plain(module, name, parent) else left_out).add(path)
        elif not isinstance(module, nn.Conv1d):  # its weight has three dimensions, as those of experts have
            for parameter_name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3:
                    experts[f"{name}.{parameter_name}"] = f"{path}.{parameter_name}"
                elif parameter.ndim == 2 and parameter_name == "weight":  # a router
                    left_out.add(f"{path}.weight")
    if config.lora_dropout and experts:
        left_out |= {f"{path} (unless lora_dropout is 0)" for path in experts.values()}
        experts = {}
    pattern = "|".join(re.escape(path).replace(r"\*", r"\d+") for path in sorted(modules))
    config.target_modules = rf"{re.escape(LAYERS)}\d+\.({pattern})"
    config.target_parameters = sorted(experts) or None
    adapted = ", ".join(sorted(modules | set(experts.values())))
    return f"LoRA adapts {adapted}." + (f" It leaves out {', '.join(sorted(left_out))}." if left_out else "")


def _is_plain(layer: nn.Linear, name: str, parent: nn.Module) -> bool:
    """Whether a layer's forward is called, and only multiplies by its weight: LoRA needs both."""
    # The kernels of Mamba's mixers read the weight of out_proj themselves and so bypass LoRA:
    # https://github.com/huggingface/peft/issues/2556. A mixer is recognised by its parameter `D`.
    is_read_by_kernel = name.endswith(".out_proj") and hasattr(parent, "D")
    # Subclasses of nn.Linear in transformers return something else, such as Llama 4's router.
    return not is_read_by_kernel and not type(layer).__module__.startswith("transformers.models.")


def set_trained_tokens(
    config: LoraConfig, model: ParrotForConditionalGeneration, processor: ParrotProcessor
) -> list[str]:
    """
    Makes LoRA train the tokens that mark the turns of a chat, and the image token, in the embedding and the head.

    The language model may not know these tokens: compose may have added them, and a base model has never seen the
    tokens of its instruct variant. If they were not trained, the model would not learn to end its answers:
    https://github.com/QwenLM/Qwen3/issues/1064

    Args:
        config: changed in place. Modules that it trains in full stay as they are.
        model: a Parrot without adapters.
        processor: the model's processor.

    Returns:
        the trained tokens.
    """
    tokenizer = processor.tokenizer
    turns = [{"role": role, "content": [{"type": "text", "text": "a"}]} for role in ("system", "user", "assistant")]
    try:
        text = processor.apply_chat_template(turns)
    except TemplateError:  # the template has no system turn
        text = processor.apply_chat_template(turns[1:])
    all_ids = {*tokenizer.encode(text, add_special_tokens=False), *tokenizer.encode(processor.image_token)}
    ids = sorted(all_ids & tokenizer.added_tokens_decoder.keys() - {tokenizer.bos_token_id})
    modules = [LANGUAGE_MODEL + "embed_tokens"]
    if model.lm_head.weight is not model.get_input_embeddings().weight:  # peft keeps a tied head tied
        modules.append("lm_head")
    in_full = tuple(config.modules_to_save or ())
    if modules := [name for name in modules if not name.endswith(in_full)]:
        config.trainable_token_indices = {name: ids for name in modules}
    return tokenizer.convert_ids_to_tokens(ids)

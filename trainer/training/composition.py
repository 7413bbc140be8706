# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Composes a Parrot from a vision tower and a language model: the work of `python -m trainer.compose`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaImageProcessorPil,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from modeling_parrot import ParrotConfig, ParrotForConditionalGeneration, ParrotProcessor
from modeling_parrot.chat_format import ChatFormat
from modeling_parrot.modeling_parrot import find_answers
from trainer.common.sources import check_output, check_source
from trainer.compose import ComposeArguments


# `turn_ids` checks that tokens separate these answers from users' words. An answer's text may merge with the text
# before it into one token.
QUESTION = "What do you see in this picture, and what in the other one?"
ANSWERS = ("A", "yes", "1", "是", "نعم", "да", "şu")


@contextmanager
def errors_naming(argument: str, value: str, what: str) -> Iterator[None]:
    """Turns any error into one line that names an argument. Libraries raise errors of every kind."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{argument}={value!r} {what}: {reason[:400].removesuffix('.')}.") from error


def check_parts(vision_tower: str, language_model: str) -> None:
    """
    Checks the types of both models before their weights are loaded.

    Args:
        vision_tower: Hub id or folder.
        language_model: Hub id or folder.

    Raises:
        `ValueError`: if a model does not exist, or if it is not a vision tower or not a decoder language model.
    """
    parts = {
        "--vision_tower": (vision_tower, "name a CLIP, SigLIP, SigLIP 2 or DINOv2"),
        "--language_model": (language_model, "name a decoder language model, such as a Qwen, Llama or Gemma"),
    }
    for argument, (name, advice) in parts.items():
        check_source(name, argument)
        with errors_naming(argument, name, f"holds no model that transformers knows ({advice})"):
            config = AutoConfig.from_pretrained(name)
        if argument == "--language_model":
            fits = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        else:
            fits = hasattr(getattr(config, "vision_config", config), "patch_size")
            fits = fits and type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        if not fits:
            raise ValueError(f"{argument}={name!r} is a model of the type {config.model_type!r}: {advice}.")


def load_vision_tower(
    name: str, image_size: int | None = None, vision_feature_layer: int = -2
) -> tuple[PreTrainedModel, int]:
    """
    Loads a vision tower for square images. If the model also has a text tower, that is left out.

    Args:
        name: Hub id or folder.
        image_size: side in pixels; the tower's own if None. If the tower does not interpolate its table of positions
            itself, the table is interpolated here, once.
        vision_feature_layer: the hidden state that the projector will read.

    Returns:
        the tower and the image size.

    Raises:
        `ValueError`: if the tower cannot be loaded, if there is no such hidden state, or if `image_size` is not a
            multiple of the patch size (the tower's own size need not be one).
    """
    with errors_naming("--vision_tower", name, "cannot be loaded"):
        model = AutoModel.from_pretrained(name, dtype=torch.float32)
    tower = getattr(model, "vision_model", model)
    config = tower.config
    # The SigLIP 2 models for any resolution (NaFlex) have no image size, but positions for a square number of patches.
    own_size = getattr(config, "image_size", None) or int(config.num_patches**0.5) * config.patch_size
    image_size = own_size if image_size is None else image_size
    if not -config.num_hidden_layers - 1 <= vision_feature_layer <= config.num_hidden_layers:
        raise ValueError(
            f"--vision_feature_layer={vision_feature_layer}: {name} has {config.num_hidden_layers + 1} hidden states, "
            f"from {-config.num_hidden_layers - 1} to {config.num_hidden_layers}."
        )
    # The tower's own size may be no multiple of the patch size (SigLIP so400m: 384 pixels in patches of 14). Its
    # convolution ignores the remaining pixels, as in its own training.
    if image_size != own_size and (image_size < config.patch_size or image_size % config.patch_size):
        raise ValueError(
            f"--image_size={image_size} is not a multiple of {name}'s patch size {config.patch_size}: give "
            f"{max(image_size // config.patch_size, 1) * config.patch_size}, for example."
        )
    positions = getattr(tower.embeddings, "position_embedding", None)
    if image_size != own_size and hasattr(config, "image_size") and isinstance(positions, torch.nn.Embedding):
        prefix = positions.num_embeddings - (own_size // config.patch_size) ** 2
        shape = (1, prefix + (image_size // config.patch_size) ** 2, config.hidden_size)
        resized = tower.embeddings.interpolate_pos_encoding(torch.empty(shape), image_size, image_size)
        state = tower.state_dict() | {"embeddings.position_embedding.weight": resized[0].detach()}
        config.image_size = image_size
        tower = AutoModel.from_config(config)
        tower.load_state_dict(state)
    return tower, image_size


def turn_ids(tokenizer: PreTrainedTokenizerBase, chat_format: ChatFormat) -> dict[str, list[int] | None]:
    """
    The token ids that separate answers from the words that guide the experts: `assistant_header_ids` and
    `turn_start_ids` of a Parrot's config.

    Raises:
        `ValueError`: if the tokens do not show where an answer begins or ends.
    """
    special = tokenizer.added_tokens_decoder.keys() - {tokenizer.unk_token_id}  # any text may contain <unk>
    header = tokenizer.encode(chat_format.assistant_header, add_special_tokens=False)
    if header[0] not in special:
        raise ValueError(f"the assistant header {chat_format.assistant_header!r} does not begin with a special token")
    if header[-1] not in special and not chat_format.assistant_header.endswith("\n"):
        raise ValueError(
            f"the assistant header {chat_format.assistant_header!r} ends in ordinary text, which may merge with an "
            "answer"
        )
    if tokenizer.encode(chat_format.assistant_end, add_special_tokens=False)[0] not in special:
        raise ValueError(
            f"an answer's end {chat_format.assistant_end!r} is not a special token, so generation would not stop there"
        )
    user = tokenizer.encode(chat_format.user_before, add_special_tokens=False)
    turn_start = header[0] if header[0] in user else next((token for token in user if token in special), None)
    if turn_start is None:
        raise ValueError(f"no special token ends an answer before a user's turn, {chat_format.user_before!r}")

    chat = [
        {"role": role, "content": text}
        for answer in ANSWERS
        for role, text in (("user", QUESTION), ("assistant", answer))
    ]
    options = {"return_dict": True, "return_assistant_tokens_mask": True, "return_tensors": "pt"}
    encoded = tokenizer.apply_chat_template([*chat, chat[0]], chat_template=chat_format.template(), **options)
    ids, is_answer = encoded["input_ids"], encoded["assistant_masks"].bool()
    by_tokens = find_answers([ids == token for token in header], ids == turn_start)
    # Tokens between an answer's end and the next turn's first special token may count as part of the answer. The mask
    # of transformers 5.18 misses an answer's last token if SentencePiece puts a prefix before the answer; the mask of
    # 5.24 does not.
    max_extra = len(ANSWERS) * (user.index(turn_start) + 1)
    if (is_answer & ~by_tokens).any() or (by_tokens & ~is_answer).sum() > max_extra:
        raise ValueError("its tokens do not separate answers from users' words")
    return {"assistant_header_ids": header, "turn_start_ids": None if turn_start == header[0] else [turn_start]}


def copy_chat_template(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """
    Gives a tokenizer the chat template of another tokenizer.

    Raises:
        `ValueError`: if there is no template, or if the template does not write plain turns in the tokenizer's tokens.
    """
    check_source(name, "--chat_template_path")
    with errors_naming("--chat_template_path", name, "holds no tokenizer"):
        tokenizer.chat_template = AutoTokenizer.from_pretrained(name).chat_template
    if not tokenizer.chat_template:
        raise ValueError(
            f"--chat_template_path={name!r} has no chat template: name the tokenizer of an instruct model."
        )
    try:
        turn_ids(tokenizer, ChatFormat.from_tokenizer(tokenizer))
    except (ValueError, TemplateError) as error:
        raise ValueError(f"--chat_template_path: the chat template of {name} cannot be used: {error}.") from error


def prepare_tokenizer(
    name: str, chat_template_path: str | None = None
) -> tuple[PreTrainedTokenizerBase, ChatFormat, dict[str, list[int] | None]]:
    """
    Loads the language model's tokenizer, with `<image>`, an end-of-turn token as eos, a pad token and left padding.

    Args:
        name: Hub id or folder.
        chat_template_path: Hub id or folder of a tokenizer with the chat template to use; the tokenizer's own if None.

    Returns:
        the tokenizer, the format of its chats and its `turn_ids`.

    Raises:
        `ValueError`: if there is no tokenizer, if the chat template of `chat_template_path` does not fit, or if the
            tokens do not separate answers from users' words in ChatML either.
    """
    with errors_naming("--language_model", name, "has no tokenizer that can be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    if chat_template_path is not None:
        copy_chat_template(tokenizer, chat_template_path)
    chat_format = None
    if tokenizer.chat_template:
        try:
            chat_format = ChatFormat.from_tokenizer(tokenizer)
            ids = turn_ids(tokenizer, chat_format)
        except (ValueError, TemplateError) as error:
            chat_format = None
            print(f"The chat template of {name} cannot be used ({error}).")
    tokens = ["<image>"] if chat_format else ["<image>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    if chat_format is None:
        print("Chats are written in ChatML.")
        # If the tokenizer puts <bos> before text, the template must, too.
        bos = tokenizer.bos_token if tokenizer.bos_token_id in tokenizer.encode("") else ""
        chat_format = ChatFormat(
            system_before=bos + ChatFormat.system_before, default_opening=bos + ChatFormat.default_opening
        )
        with errors_naming("--language_model", name, "has a tokenizer that cannot write ChatML"):
            ids = turn_ids(tokenizer, chat_format)
    if "strftime_now" in (tokenizer.chat_template or ""):
        print(f"The chat template of {name} writes the current date; Parrot's keeps the date of its composition.")
    if chat_format.assistant_end in tokenizer.get_added_vocab():
        tokenizer.eos_token = chat_format.assistant_end
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, chat_format, ids


def assemble(
    config: ParrotConfig, tower: PreTrainedModel, language_model: PreTrainedModel
) -> ParrotForConditionalGeneration:
    """
    Builds a Parrot from these modules without copying them, with a new projector and new experts, in the language
    model's dtype.

    Raises:
        `ValueError`: if the language model is not a decoder with a plain linear head.
    """
    decoder, head = language_model.base_model, language_model.get_output_embeddings()
    if not hasattr(decoder, "embed_tokens") or head is None or head.bias is not None:
        raise ValueError(
            f"{type(language_model).__name__} is not a decoder with `embed_tokens` and a linear head without bias, "
            "both of which Parrot needs: name a text-only language model such as a Qwen, Llama or Gemma"
        )
    with torch.device("meta"):
        model = ParrotForConditionalGeneration(config)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = language_model(ids).logits
    model.model.vision_tower = tower.to(language_model.dtype)
    model.model.language_model = decoder
    model.lm_head = head
    for name in ("multi_modal_projector", "moe"):
        module = type(getattr(model.model, name))(config)
        module.apply(model._init_weights)
        setattr(model.model, name, module.to(language_model.dtype))
    model.eval()
    with torch.no_grad():
        difference = (model(ids).logits - expected).abs().max().item()
    if not difference == 0:  # the difference may be NaN
        raise ValueError(
            f"in Parrot, the logits of {type(language_model).__name__} differ by up to {difference:.2g}: the model "
            "scales or caps logits after its head, or its decoder reads more than token embeddings. Name another "
            "language model"
        )
    return model


@torch.no_grad()
def fit_projector(model: ParrotForConditionalGeneration, image_size: int) -> None:
    """
    Encodes a picture of noise. Sets the number of image tokens and whether a [CLS] is among them. Scales the projector
    so that image tokens have the standard deviation of word embeddings, which saves many steps of stage 1.
    """
    pixel_values = torch.randn(1, 3, image_size, image_size).to(model.dtype)
    features = model.get_image_features(pixel_values, return_dict=True).pooler_output[0]  # (K, C)
    patches = (image_size // model.config.vision_config.patch_size) ** 2
    model.config.image_seq_length = len(features)
    model.config.image_query = "cls" if len(features) > patches else "mean"
    words = model.get_input_embeddings()(torch.arange(min(1000, model.config.text_config.vocab_size)))
    model.model.multi_modal_projector.linear_2.weight *= words.float().std() / features.float().std()


@torch.no_grad()
def try_picture(model: ParrotForConditionalGeneration, processor: ParrotProcessor) -> None:
    """Runs a forward pass on one picture and generates two tokens; the second comes from the cache."""
    content = [{"type": "image", "image": Image.new("RGB", (20, 30), "red")}, {"type": "text", "text": QUESTION}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    if not model(**inputs, use_cache=False, logits_to_keep=1).logits.isfinite().all():
        raise ValueError("its logits are not finite")
    model.generate(**inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False)


def compose(args: ComposeArguments) -> tuple[ParrotForConditionalGeneration, ParrotProcessor]:
    """
    Composes the model and its processor; `compose_into_folder` saves them.

    Raises:
        `ValueError`: if the parts do not fit together; one line names the argument.
    """
    expert_settings: dict[str, Any] = {
        "num_experts": args.num_experts,
        "num_experts_per_tok": args.num_experts_per_tok,
        "moe_scale": args.moe_scale,
    }
    if args.moe_intermediate_size is not None:
        expert_settings["moe_intermediate_size"] = args.moe_intermediate_size
    ParrotConfig(**expert_settings)  # raises before anything is loaded
    check_parts(args.vision_tower, args.language_model)
    set_seed(args.seed)
    with errors_naming("--vision_tower", args.vision_tower, "has no image processor"):
        preprocessing, _ = LlavaImageProcessorPil.get_image_processor_dict(args.vision_tower)
    tower, image_size = load_vision_tower(args.vision_tower, args.image_size, args.vision_feature_layer)
    tokenizer, chat_format, ids = prepare_tokenizer(args.language_model, args.chat_template_path)
    with errors_naming("--language_model", args.language_model, "cannot be loaded"):
        language_model = AutoModelForCausalLM.from_pretrained(args.language_model, dtype="auto")
    with errors_naming("--language_model", args.language_model, "cannot be a Parrot's language model"):
        config = ParrotConfig(
            vision_config=tower.config,
            text_config=language_model.config,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=args.vision_feature_layer,
            dtype=language_model.dtype,
            **({"moe_intermediate_size": language_model.config.hidden_size} | expert_settings | ids),
        )
        model = assemble(config, tower, language_model)
    if len(tokenizer) > config.text_config.vocab_size:
        model.resize_token_embeddings(len(tokenizer))
    fit_projector(model, image_size)
    if args.experts_begin == "at_random":
        experts = model.model.moe.experts
        torch.nn.init.normal_(experts.down_proj, std=experts.gate_up_proj.std().item())
    model.generation_config = language_model.generation_config
    own_eos = model.generation_config.eos_token_id
    own_eos = own_eos if isinstance(own_eos, list) else [own_eos] * (own_eos is not None)
    model.generation_config.eos_token_id = list(dict.fromkeys([tokenizer.eos_token_id, *own_eos]))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.suppress_tokens = [config.image_token_id]  # without this, prompt lookup may propose it

    image_processor = LlavaImageProcessorPil(
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
        do_pad=True,
        **{key: preprocessing[key] for key in ("image_mean", "image_std", "resample") if key in preprocessing},
    )
    processor = ParrotProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=config.image_seq_length - (image_size // tower.config.patch_size) ** 2,
        chat_template=chat_format.template(),
    )
    class_name = type(language_model).__name__
    with errors_naming("--language_model", args.language_model, f"({class_name}) cannot read pictures, name another"):
        try_picture(model, processor)
    return model, processor


def compose_into_folder(args: ComposeArguments) -> None:
    """
    Composes a Parrot and saves it to `args.output`.

    Raises:
        `ValueError`: if the folder is a file or holds weights, or if the parts do not fit together.
    """
    check_output(args.output, "--output")
    if any(Path(args.output).glob("*.safetensors")):
        raise ValueError(f"--output={args.output!r} already holds weights: give a new folder.")
    model, processor = compose(args)
    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)
    config = model.config
    print(
        f"{args.output}: {model.num_parameters():,} parameters, {config.image_seq_length} tokens an image, "
        f"image query {config.image_query!r}, {config.num_experts} experts, "
        f"{len(processor.tokenizer):,} tokens in the vocabulary."
    )

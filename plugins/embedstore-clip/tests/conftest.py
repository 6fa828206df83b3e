"""Tiny models made from a seed: real code paths of both libraries, random weights."""

from __future__ import annotations

import json

import pytest
import torch

TEXT = (
    "no acute cardiopulmonary abnormality right lower lobe consolidation with a small effusion pneumonia is "
    "likely mild nonproliferative diabetic retinopathy left eye heart size normal cat dog the"
)
WORDS = TEXT.split()
PUNCTUATION = (".", ",", ";", ":")


@pytest.fixture(scope="session")
def word_tokenizer():
    """A transformers tokenizer of whole words: <s> words </s>, padded with <pad>."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS, *PUNCTUATION])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _sizes(vocabulary, context):
    text = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": context,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 48,
        "patch_size": 16,
    }
    return text, vision


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory, word_tokenizer):
    """A transformers CLIP folder as save_pretrained writes it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    text, vision = _sizes(len(word_tokenizer), 24)
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20))
    model.save_pretrained(folder)
    word_tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory, word_tokenizer):
    """A transformers SigLIP folder as save_pretrained writes it."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    folder = tmp_path_factory.mktemp("siglip")
    text, vision = _sizes(len(word_tokenizer), 16)
    torch.manual_seed(2)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-10.0)
    model.save_pretrained(folder)
    word_tokenizer.save_pretrained(folder)
    SiglipImageProcessor(size={"height": 48, "width": 48}).save_pretrained(folder)
    return folder


MODEL = {
    "embed_dim": 20,
    "vision_cfg": {"image_size": 48, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def _save_open_clip(folder, model_cfg, preprocess_cfg, seed):
    import open_clip
    from safetensors.torch import save_file

    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    )
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.fixture(scope="session")
def open_clip_folder(tmp_path_factory):
    """An open_clip CLIP folder."""
    return _save_open_clip(tmp_path_factory.mktemp("open_clip"), MODEL, {"size": 48}, 3)


@pytest.fixture(scope="session")
def open_siglip_folder(tmp_path_factory, word_tokenizer):
    """An open_clip SigLIP folder: bias, squashed images, a transformers tokenizer in the folder."""
    folder = tmp_path_factory.mktemp("open_siglip")
    word_tokenizer.save_pretrained(folder)
    text = {**MODEL["text_cfg"], "context_length": 16, "vocab_size": len(word_tokenizer)}
    text |= {"hf_tokenizer_name": "tiny", "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    model = {**MODEL, "text_cfg": text, "custom_text": True, "init_logit_bias": -10}
    half = [0.5, 0.5, 0.5]
    preprocess = {"size": 48, "mean": half, "std": half, "resize_mode": "squash", "interpolation": "bicubic"}
    return _save_open_clip(folder, model, preprocess, 4)

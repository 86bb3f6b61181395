"""Tiny transformers models of random weights, saved by transformers itself, for the hf: tests."""

import json
from pathlib import Path

import pytest
import torch

from reprogram.sources import load
from reprogram.types import Tokens

transformers = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")

RATE = 16000
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {**LAYERS, "intermediate_size": 32}
NAMES = {0: "cat", 1: "dog", 2: "owl"}
VIT = {"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.4, 0.3], "do_normalize": True,
       "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 255, "do_rescale": True}  # fmt: skip
CONVNEXT = {"size": {"shortest_edge": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
            "do_normalize": True}  # fmt: skip
WAVE = {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [8, 8],
        "classifier_proj_size": 8, "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2}  # fmt: skip
WORDS = {"vocab_size": 40, "pad_token_id": 0, "max_position_embeddings": 24}
RAW = {"sampling_rate": RATE, "do_normalize": True, "feature_size": 1}

# name -> class of the model, its configuration, its preprocessing file
MODELS = {
    "vit": ("ViTForImageClassification", {**SMALL, "image_size": 16, "patch_size": 8}, VIT),
    "clip": ("CLIPForImageClassification",
             {"vision_config": {**SMALL, "image_size": 16, "patch_size": 8}, "projection_dim": 8,
              "text_config": {**SMALL, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2}},
             VIT),
    "resnet": ("ResNetForImageClassification",
               {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
               {"size": 36, "crop_size": 32, "do_center_crop": True, "do_normalize": False}),
    "convnext": ("ConvNextForImageClassification",
                 {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, CONVNEXT),
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", {**SMALL, **WAVE}, RAW),
    "wavlm": ("WavLMForSequenceClassification", {**SMALL, **WAVE, "num_buckets": 20},
              {**RAW, "do_normalize": False}),
    "ast": ("ASTForAudioClassification", {**SMALL, "max_length": 64, "num_mel_bins": 32},
            {"sampling_rate": RATE, "mean": -5.0, "std": 4.0, "max_length": 64,
             "num_mel_bins": 32}),
    "whisper": ("WhisperForAudioClassification",
                {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2,
                 "encoder_ffn_dim": 32, "decoder_layers": 1, "decoder_attention_heads": 2,
                 "decoder_ffn_dim": 32, "num_mel_bins": 20, "max_source_positions": 50,
                 "classifier_proj_size": 8},
                {"sampling_rate": RATE, "feature_size": 20, "chunk_length": 1, "hop_length": 160,
                 "n_fft": 400}),
    "bert": ("BertForSequenceClassification", {**SMALL, **WORDS}, None),
    "distilbert": ("DistilBertForSequenceClassification",
                   {**WORDS, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}, None),
    "roberta": ("RobertaForSequenceClassification", {**SMALL, **WORDS, "pad_token_id": 1}, None),
    "gpt2": ("GPT2ForSequenceClassification",
             {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24,
              "pad_token_id": 0}, None),
    "llama": ("LlamaForSequenceClassification", {**SMALL, **WORDS, "num_key_value_heads": 1}, None),
}  # fmt: skip
# Models of text that tell no classes: scores of tokens, or hidden states to be pooled.
ALBERT = {**SMALL, **WORDS, "embedding_size": 8}
DISTIL = {**WORDS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
ELECTRA = {**SMALL, **WORDS, "embedding_size": 8}
MODERN = {**SMALL, **WORDS, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2,
          "eos_token_id": 3}  # fmt: skip
ROBERTA = {**SMALL, **WORDS, "pad_token_id": 1}
LANGUAGE = {
    "bert-mlm": ("BertForMaskedLM", {**SMALL, **WORDS}, None),
    "roberta-mlm": ("RobertaForMaskedLM", ROBERTA, None),
    "albert-mlm": ("AlbertForMaskedLM", ALBERT, None),
    "distilbert-mlm": ("DistilBertForMaskedLM", DISTIL, None),
    "electra-mlm": ("ElectraForMaskedLM", ELECTRA, None),
    "mpnet-mlm": ("MPNetForMaskedLM", ROBERTA, None),
    "modernbert-mlm": ("ModernBertForMaskedLM", MODERN, None),
    "bert-body": ("BertModel", {**SMALL, **WORDS}, None),
    "mpnet-body": ("MPNetModel", ROBERTA, None),
    "albert-body": ("AlbertModel", ALBERT, None),
    "distilbert-body": ("DistilBertModel", DISTIL, None),
}
MASKED = [name for name in LANGUAGE if name.endswith("mlm")]
ENCODERS = [name for name in LANGUAGE if name.endswith("body")]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "##s", "saw", "the",
              ".", "[", "]", "cls", "##a"]  # fmt: skip
IMAGES = ["vit", "clip", "resnet", "convnext"]
AUDIO = ["wav2vec2", "wavlm", "ast", "whisper"]
TEXT = ["bert", "distilbert", "roberta", "gpt2", "llama"]


def save(name: str, folder: Path, seed: int = 0):
    """A tiny model of random weights with its preprocessing file, as save_pretrained writes it."""
    kind, config, preprocessing = (MODELS | LANGUAGE)[name]
    cls = getattr(transformers, kind)
    torch.manual_seed(seed)
    model = cls(cls.config_class(**config, id2label=NAMES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # some heads start at zero
            parameter += 0.05 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    if preprocessing is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder, transformers' own model and our source of a name; each built once."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            model = save(name, folder)
            made[name] = folder, model, load(f"hf:{folder}")
        return made[name]

    return get


def batch(source, seed=0):
    """Two inputs for the door of a source; of text, one is padded."""
    generator = torch.Generator().manual_seed(seed)
    spec = source.input
    if spec.kind == "tokens":
        ids = torch.randint(4, int(spec.upper) + 1, (2, 10), generator=generator)
        mask = torch.ones(2, 10, dtype=torch.long)
        mask[1, 6:] = 0
        return Tokens(ids, mask)
    x = torch.rand((2, *spec.shape), generator=generator)
    return x.mul(255).round() / 255 if spec.kind == "image" else 0.4 * (2 * x - 1)


def save_tokenizer(folder: Path, **special):
    """A word-piece tokenizer of sixteen words, framed, cut and padded as BERT's is."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(VOCABULARY[:5])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"} | special
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return tokenizer


def reference(name, model, x):
    """What transformers computes: its own preprocessing in numpy, then the model."""
    settings = MODELS[name][2]
    if name in IMAGES:
        pixels = x.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
        processor = transformers.ViTImageProcessorPil(**settings, do_resize=False)
        given = processor(list(pixels), return_tensors="pt")
        return model(**given).logits
    if name in AUDIO:
        cls = {"ast": "ASTFeatureExtractor", "whisper": "WhisperFeatureExtractor"}
        extractor = getattr(transformers, cls.get(name, "Wav2Vec2FeatureExtractor"))(**settings)
        given = extractor(list(x.numpy()), sampling_rate=RATE, return_tensors="pt")
        return model(**given).logits
    ids = torch.where(x.mask.bool(), x.values, model.config.pad_token_id)
    return model(input_ids=ids, attention_mask=x.mask).logits

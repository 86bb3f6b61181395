"""CLIP-like sources: embeddings, and the classifiers that class names make of them."""

import json

import pytest
import torch

from reprogram.sources import load
from reprogram.types import UserError

transformers = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")

LAYERS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL = {**LAYERS, "intermediate_size": 32}
VISION = {**SMALL, "image_size": 16, "patch_size": 8}
WORDS = ["pad", "start", "unknown", "a", "photo", "of", "cat", "dog", "owl", "end"]
TEXT = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 8, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 9}  # fmt: skip
SETTINGS = {"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.3, 0.4], "do_normalize": True}  # fmt: skip
TEMPLATES = ("a photo of {}", "a {}")


def save(kind, folder):
    """A tiny dual encoder of random weights, its preprocessing file and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    config = {
        "clip": lambda: transformers.CLIPConfig(
            vision_config=VISION, text_config=TEXT, projection_dim=8
        ),
        "siglip": lambda: transformers.SiglipConfig(vision_config=VISION, text_config=TEXT),
    }[kind]()
    torch.manual_seed(0)
    model = {"clip": transformers.CLIPModel, "siglip": transformers.SiglipModel}[kind](config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    words = models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="unknown")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="start $A end", special_tokens=[("start", 1), ("end", 9)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="pad", eos_token="end", bos_token="start"
    ).save_pretrained(folder)
    return model


@pytest.fixture(scope="module", params=["clip", "siglip"])
def dual(request, tmp_path_factory):
    """Folder, transformers' own model and our source."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save(request.param, folder)
    return folder, model, load(f"hf:{folder}")


def reference(folder, model, x, prompts):
    """transformers' own answer to normalised images and texts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(list(prompts), padding="max_length", max_length=8, return_tensors="pt")
    given = {key: given[key] for key in ("input_ids", "attention_mask")}
    mean, std = (torch.tensor(SETTINGS[k])[:, None, None] for k in ("image_mean", "image_std"))
    with torch.no_grad():
        return model(pixel_values=(x - mean) / std, **given)


def test_embeddings_are_of_length_one(dual):
    folder, model, source = dual
    x = torch.rand(3, 3, 16, 16)
    assert source.vocabulary
    assert source.output.kind == "embedding"
    assert source.doors == ("image", "normalised")
    assert not any(p.requires_grad for p in source.parameters())
    torch.testing.assert_close(source(x), reference(folder, model, x, ["a cat"]).image_embeds)
    torch.testing.assert_close(source(x).norm(dim=1), torch.ones(3))


def test_classes_by_name_are_every_prompt(dual):
    folder, model, source = dual
    x = torch.rand(3, 3, 16, 16).requires_grad_()
    classes = source.with_classes(("cat", "dog", "owl"), TEMPLATES)
    prompts = ("a photo of cat", "a photo of dog", "a photo of owl", "a cat", "a dog", "a owl")
    assert classes.output.names == prompts
    assert classes.output.shape == (6,)
    expected = reference(folder, model, x.detach(), prompts).logits_per_image
    torch.testing.assert_close(classes(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classes.features(x), source(x))
    assert not classes.vocabulary
    assert not any(p.requires_grad for p in classes.parameters())
    classes(x)[:, 0].sum().backward()
    assert x.grad.any()


def test_a_saved_program_finds_the_classes_again(dual):
    folder, _, source = dual
    classes = source.with_classes(("cat", "great dog, or owl", "a/b?c&d=e#f"), ("a {}", "of {}"))
    again = load(classes.uri)
    assert (again.uri, again.output) == (classes.uri, classes.output)
    assert again.fingerprint() == classes.fingerprint()
    assert load(f"{classes.uri}#normalised").input.normalised
    default = load(f"hf:{folder}?classes=cat,dog")
    assert default.output.names == ("This is a photo of a cat", "This is a photo of a dog")


@pytest.mark.parametrize("access", ["label", "topk", "probabilities"])
def test_classes_come_after_the_access(dual, access):
    folder, _, source = dual
    blind = load(f"hf:{folder}?access={access}")
    x = torch.rand(2, *source.input.shape)
    with pytest.raises(UserError, match="has no classes yet"):
        blind(x)
    named = blind.with_classes(("cat", "dog"))
    assert named(x).argmax(1).equal(source.with_classes(("cat", "dog"))(x).argmax(1))
    assert not named.gradient
    assert load(str(named.uri)).fingerprint() == named.fingerprint()


def test_the_control_is_a_function_of_the_seed(dual):
    classes = dual[2].with_classes(("cat", "dog"))
    prints = [classes.randomised(seed).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("seconds=2", "unknown option of source .* 'seconds'"),
        ("template=a%20{}", "option 'classes' is missing"),
        ("classes=", "option 'classes' is missing"),
        ("classes=cat,cat", "'names' holds 2 names, 1 of them different"),
        ("classes=cat&template=photo", "template 'photo' has no place for a name"),
    ],
)
def test_a_bad_option_is_named(dual, query, said):
    with pytest.raises(UserError, match=said) as caught:
        load(f"hf:{dual[0]}?{query}")
    assert "\n" not in str(caught.value)


def test_a_model_without_a_tokenizer(tmp_path):
    save("clip", tmp_path)
    for file in tmp_path.glob("token*"):
        file.unlink()
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        load(f"hf:{tmp_path}?classes=cat,dog")
    (tmp_path / "tokenizer.json").write_text("no such file")
    with pytest.raises(UserError, match="its tokenizer cannot be read"):
        load(f"hf:{tmp_path}?classes=cat,dog")

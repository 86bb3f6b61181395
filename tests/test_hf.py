"""What the hf: sources compute, on tiny models of random weights, offline."""

import json

import numpy as np
import pytest
import torch
from tiny_hf import MODELS, RATE, batch, reference, save, saved, transformers

from reprogram.sources import load
from reprogram.sources.hf.audio import KaldiLogMel, WhisperLogMel
from reprogram.sources.hf.image import stages
from reprogram.types import Tokens

__all__ = ["saved"]  # a fixture


@pytest.mark.parametrize("name", MODELS)
class TestContract:
    @torch.no_grad()
    def test_equals_transformers(self, saved, name):
        _, model, source = saved(name)
        x = batch(source)
        torch.testing.assert_close(source(x), reference(name, model, x), rtol=1e-3, atol=1e-4)

    def test_frozen_differentiable_and_unchanged(self, saved, name):
        _, _, source = saved(name)
        before = source.fingerprint()
        x = batch(source)
        if isinstance(x, Tokens):
            values = source.chain[0](x).values.requires_grad_()
            x, source = x._replace(values=values), source.door("embeddings")
        else:
            values = x.requires_grad_()
        logits = source.train()(x)
        assert logits.dtype == torch.float32 and logits.shape == (2, 3)
        assert source.output.names == ("cat", "dog", "owl")
        logits.square().sum().backward()
        assert torch.isfinite(values.grad).all() and values.grad.abs().sum() > 0
        assert not any(p.requires_grad or p.grad is not None for p in source.parameters())
        assert saved(name)[2].fingerprint() == before

    @torch.no_grad()
    def test_deterministic_in_any_mode(self, saved, name):
        _, _, source = saved(name)
        x = batch(source)
        assert torch.equal(source(x), source.train()(x))
        assert not any(
            m.training and list(m.parameters()) for m in source.modules() if "Drop" in str(type(m))
        )

    @torch.no_grad()
    def test_doors_agree(self, saved, name):
        _, _, source = saved(name)
        x = expected = batch(source)
        expected = source(x)
        for link, door in zip(source.chain, source.doors[1:], strict=False):
            x = link(x)
            inner = load(f"{source.uri}#{door}")
            assert torch.equal(inner(x), expected)
            assert inner.uri == f"{source.uri}#{door}" and inner.input.normalised

    def test_fingerprint_follows_the_weights(self, saved, name, tmp_path):
        folder, _, source = saved(name)
        assert load(f"hf:{folder}").fingerprint() == source.fingerprint()
        save(name, tmp_path, seed=1)
        assert load(f"hf:{tmp_path}").fingerprint() != source.fingerprint()

    @torch.no_grad()
    def test_random_control(self, saved, name):
        _, _, source = saved(name)
        x = batch(source)
        control = source.randomised(3)
        assert torch.isfinite(control(x)).all() and not torch.allclose(control(x), source(x))
        assert torch.equal(control(x), source.randomised(3)(x))

    @torch.no_grad()
    def test_features_enter_the_last_layer(self, saved, name):
        _, model, source = saved(name)
        x = batch(source)
        for link in source.chain[:-1]:
            x = link(x)
        features = source.chain[-1].features(x)
        last = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
        torch.testing.assert_close(last(features), source.chain[-1](x), rtol=1e-4, atol=1e-5)


class TestFrontEnds:
    @pytest.mark.filterwarnings("ignore:At least one mel filter")
    @pytest.mark.parametrize("samples", [400, 4000, RATE, 12 * RATE])
    def test_kaldi_log_mel(self, samples):
        x = 0.3 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
        extractor = transformers.ASTFeatureExtractor()
        expected = extractor(list(x.numpy()), sampling_rate=RATE, return_tensors="pt")
        torch.testing.assert_close(KaldiLogMel()(x), expected["input_values"], rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("samples", [RATE // 2, 2 * RATE])
    def test_whisper_log_mel(self, samples):
        x = 0.3 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
        extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
        expected = extractor(list(x.numpy()), sampling_rate=RATE, return_tensors="pt")
        ours = WhisperLogMel(samples=2 * RATE)(x).transpose(1, 2)
        torch.testing.assert_close(ours, expected["input_features"], rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("front", [KaldiLogMel(frames=50), WhisperLogMel(samples=RATE)])
    def test_silence_has_a_finite_gradient(self, front):
        x = torch.zeros(1, RATE // 2, requires_grad=True)
        front(x).sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("preprocessing", "shape", "white"),
    [
        ({}, (3, 32, 32), 1.0),
        ({"size": 20}, (3, 20, 20), 1.0),
        ({"size": {"shortest_edge": 40}, "crop_size": {"height": 24, "width": 28}}, (3, 24, 28), 1),
        ({"size": 20, "crop_size": 8, "do_center_crop": False}, (3, 20, 20), 1.0),
        ({"do_normalize": True, "image_mean": [0.2] * 3, "image_std": [0.4] * 3}, (3, 32, 32), 2.0),
        ({"do_normalize": False, "image_mean": [0.2] * 3}, (3, 32, 32), 1.0),
        ({"do_rescale": True, "rescale_factor": 1 / 127.5, "rescale_offset": True,
          "do_normalize": False}, (3, 32, 32), 1.0),
        ({"image_mean": [0.2] * 3, "image_std": [0.4] * 3}, (3, 32, 32), 1.0),
    ],
)  # fmt: skip
def test_preprocessing_of_images(saved, preprocessing, shape, white):
    model = saved("resnet")[1]
    model.config.image_size = 32
    first, second = stages(model, preprocessing)
    assert first.input.shape == second.input.shape == shape
    image = torch.ones(1, *shape)
    torch.testing.assert_close(first.module(image), image * white)
    if not preprocessing:  # no file at all: one half
        torch.testing.assert_close(first.module(image * 0), -image)


@pytest.mark.parametrize(
    "processor",
    ["ViTImageProcessorPil", "EfficientNetImageProcessorPil", "MobileViTImageProcessorPil"],
)
def test_normalises_as_the_image_processor(saved, tmp_path, processor):
    reference = getattr(transformers, processor)(size={"height": 8, "width": 8}, crop_size=8)
    reference.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = reference([pixels], return_tensors="pt")["pixel_values"]
    first, _ = stages(saved("resnet")[1], settings)
    assert first.input.shape == (3, 8, 8)
    ours = first.module(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(ours, expected)

"""The hf: sources, on tiny models of random weights saved by transformers itself, offline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reprogram.sources import load
from reprogram.sources.hf.audio import KaldiLogMel, WhisperLogMel
from reprogram.sources.hf.image import stages
from reprogram.types import Tokens, UserError

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
IMAGES = ["vit", "clip", "resnet", "convnext"]
AUDIO = ["wav2vec2", "wavlm", "ast", "whisper"]
TEXT = ["bert", "distilbert", "roberta", "gpt2", "llama"]


def save(name: str, folder: Path, seed: int = 0):
    """A tiny model of random weights with its preprocessing file, as save_pretrained writes it."""
    kind, config, preprocessing = MODELS[name]
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


class TestOptions:
    def test_seconds(self, saved):
        folder = saved("wav2vec2")[0]
        source = load(f"hf:{folder}?seconds=0.5")
        assert source.input.shape == (RATE // 2,) and source.uri == f"hf:{folder}?seconds=0.5"
        assert source.door("standardised").uri == f"hf:{folder}?seconds=0.5#standardised"
        assert saved("wav2vec2")[2].input.shape == (RATE,)

    def test_a_shorter_sound_is_the_padded_one(self, saved):
        folder, model, whole = saved("whisper")
        assert whole.input.shape == (RATE,)  # this one was built for a second
        half = load(f"hf:{folder}?seconds=0.5")
        x = batch(half)
        with torch.no_grad():
            torch.testing.assert_close(half(x), reference("whisper", model, x))

    def test_length(self, saved):
        folder, _, source = saved("roberta")
        assert source.input.shape == (22,)  # positions count from behind the padding index
        assert load(f"hf:{folder}?length=8#embeddings").input.shape == (8, 16)

    @pytest.mark.parametrize(
        ("name", "query", "message"),
        [
            ("bert", "length=25", "pass length <= 24"),
            ("bert", "length=x", "'length' is 'x'"),
            ("bert", "lenght=9", "did you mean 'length'"),
            ("ast", "seconds=99", "takes 0.025 to 0.655 seconds"),
            ("ast", "seconds=-1", "give a positive number"),
            ("wav2vec2", "seconds=0.001", "cannot be used at its door 'waveform'"),
            ("vit", "seconds=1", "takes no options"),
        ],
    )
    def test_refused(self, saved, name, query, message):
        with pytest.raises(UserError, match=message) as error:
            load(f"hf:{saved(name)[0]}?{query}")
        assert "\n" not in str(error.value)


def _no_config(folder):
    (folder / "config.json").unlink()


def _set(**values):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def _no_safetensors(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _without_head(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.startswith("classifier")}
    save_file(kept, path, metadata={"format": "pt"})


def _damaged_settings(folder):
    (folder / "preprocessor_config.json").write_text("{")


class TestRefused:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (_no_config, "no config.json"),
            (_set(model_type="no such family"), "config.json is not one"),
            (_set(architectures=["ViTModel"]), "is a ViTModel; supported are classifiers"),
            (_set(architectures=["BertForMaskedLM"], model_type="bert"), "BertForMaskedLM; supp"),
            (_set(id2label={"0": "value"}), "regression"),
            (_set(image_size=24), "cannot be (used|loaded)"),
            (_set(auto_map={"AutoConfig": "x.Y"}, model_type="own"), "config.json is not one"),
            (_no_safetensors, "pickled weights are never read"),
            (_cut, "cannot be loaded"),
            (_without_head, "2 weights are missing from its file, classifier.bias first"),
            (_damaged_settings, "preprocessor_config.json is damaged"),
        ],
    )
    def test_a_folder(self, tmp_path, damage, message):
        save("vit", tmp_path)
        damage(tmp_path)
        with pytest.raises(UserError, match=message) as error:
            load(f"hf:{tmp_path}")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("name", "config"),
        [
            ("BartForSequenceClassification",
             {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8,
              "decoder_ffn_dim": 8, "encoder_attention_heads": 1, "decoder_attention_heads": 1,
              **WORDS}),
            ("CTRLForSequenceClassification",  # a decoder whose end is told by ids alone
             {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "dff": 16,
              "pad_token_id": 0}),
            ("CanineForSequenceClassification", SMALL),  # characters, no table of embeddings
            ("Wav2Vec2BertForSequenceClassification", SMALL),  # another front end
        ],
    )  # fmt: skip
    def test_habits_that_no_door_fits(self, tmp_path, name, config):
        cls = getattr(transformers, name)
        cls(cls.config_class(**config, id2label=NAMES)).save_pretrained(tmp_path)
        fits = "cannot be entered at its embeddings|is not supported|front end of its own"
        with pytest.raises(UserError, match=fits) as error:
            load(f"hf:{tmp_path}")
        assert "\n" not in str(error.value)

    def test_transformers_missing(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "transformers", None)
        with pytest.raises(UserError, match=r"pip install 'reprogram\[hf\]'"):
            load("hf:org/model")

    @pytest.mark.parametrize("name", ["./no/such", "/no/such", "~/no/such", "a/b/c"])
    def test_no_folder(self, name):
        with pytest.raises(UserError, match="no such folder"):
            load(f"hf:{name}")


class TestHub:
    """The hub, replaced by a function: what is asked of it, and what its answers become."""

    @pytest.fixture
    def hub(self, monkeypatch, saved):
        import huggingface_hub

        folder, calls = saved("vit")[0], []

        class Hub:
            cached, answer = False, None

            def __call__(self, repository, local_files_only=False, **wanted):
                calls.append((repository, local_files_only, wanted))
                if local_files_only and not self.cached:
                    raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
                if self.answer is not None and not local_files_only:
                    raise self.answer
                return str(folder)

        fake = Hub()
        fake.calls = calls
        monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
        return fake

    def test_fetched_without_code_or_pickles(self, hub):
        source = load("hf:org/model@v1")
        assert source.uri == "hf:org/model@v1"
        (_, first, _), (repository, second, wanted) = hub.calls
        assert first and not second and repository == "org/model" and wanted["revision"] == "v1"
        assert all(f.endswith((".json", ".safetensors")) for f in wanted["allow_patterns"])

    def test_cached_is_not_fetched(self, hub):
        hub.cached = True
        load("hf:org/model")
        assert [local for _, local, _ in hub.calls] == [True]

    def test_answers(self, hub):
        import httpx2
        from huggingface_hub import errors

        response = httpx2.Response(404, request=httpx2.Request("GET", "http://x"))
        for answer, message in [
            (errors.RepositoryNotFoundError("no\nno", response=response), "no public model"),
            (errors.GatedRepoError("no\nno", response=response), "terms accepted"),
            (errors.RevisionNotFoundError("no\nno", response=response), "no revision 'v9'"),
            (errors.LocalEntryNotFoundError("no\nno"), "not in the cache and could not be"),
            (ConnectionError("no\nno"), "not in the cache and could not be"),
        ]:
            hub.answer = answer
            with pytest.raises(UserError, match=message) as error:
                load("hf:org/model@v9")
            assert "\n" not in str(error.value)


def test_leaves_no_trace(saved, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    state = torch.get_rng_state()
    load(f"hf:{saved('bert')[0]}")
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""
    assert before == (logging.get_verbosity(), logging.is_progress_bar_enabled())
    assert torch.equal(state, torch.get_rng_state())

"""How hf: sources are found, fetched, opened and refused; the hub is replaced by a function."""

import json

import pytest
import torch
from tiny_hf import NAMES, RATE, SMALL, WORDS, batch, reference, save, saved, transformers

from reprogram.sources import load
from reprogram.types import UserError

__all__ = ["saved"]  # a fixture


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
            (_set(architectures=["BertForMultipleChoice"], model_type="bert"), "Choice; supported"),
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
        assert all(f.endswith((".json", ".txt", ".safetensors")) for f in wanted["allow_patterns"])

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

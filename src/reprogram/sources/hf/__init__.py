"""Models of the transformers library, frozen: of images, audio, text, and of images beside texts.

``hf:ORG/MODEL``, ``hf:ORG/MODEL@REVISION`` or a folder, ``hf:/path`` or ``hf:./path``. Weights come
from safetensors files only, no code is ever fetched with a model, and what was fetched once is
read from the cache.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import nn

from reprogram.sources.base import TorchSource
from reprogram.sources.hf import audio, dual, encoder, image, masked, text
from reprogram.sources.hf.files import find_folder, first_line, read_json, read_settings
from reprogram.sources.hf.tokens import read_tokenizer
from reprogram.types import Batch, OutputSpec, Tokens, UserError, nearest

__all__ = ["load"]

# Kind of model -> the module that knows its doors. An audio classifier may carry the name
# ...ForSequenceClassification, so the library's own lists decide, not the name.
KINDS: dict[str, ModuleType] = {
    "Image": image, "Audio": audio, "Sequence": text, "Masked": masked, "Sentence": encoder,
}  # fmt: skip
# Kind -> the library's class that reads its weights.
CLASSES = {
    "Image": "AutoModelForImageClassification",
    "Audio": "AutoModelForAudioClassification",
    "Sequence": "AutoModelForSequenceClassification",
    "Dual": "AutoModelForZeroShotImageClassification",
    "Masked": "AutoModelForMaskedLM",
    "Sentence": "AutoModel",
}
POOLING = "1_Pooling/config.json"  # in the folder of a sentence encoder
POOLER = "pooler."  # begins the names of weights that no source of ours runs


def load(name: str) -> TorchSource:
    """The frozen model of that name, at its outermost door.

    * Images: doors ``image`` (values in 0 to 1) and ``normalised``. A 224-pixel model takes
      ``(3, 224, 224)``; resizing belongs to the transformation.
    * Audio: ``waveform`` in [-1, 1], then ``standardised`` for models of raw waveforms
      (wav2vec 2.0, HuBERT, WavLM, SEW), or ``log-mel`` (frames, bands) for AST and Whisper
      encoders. One second unless ``?seconds=`` says otherwise; AST and Whisper take the length
      they were built for, or less.
    * Text: ``tokens``, given as :class:`~reprogram.types.Tokens` of ids, and ``embeddings``, given
      as Tokens of (batch, length, width), of ``?length=`` tokens: by default the model's limit, at
      most 512. Out come the classes of a classifier, the score of each token from a masked
      language model (exit ``hidden``: what they are computed from), or a sentence encoder's mean of
      hidden states, not normalised; ``1_Pooling/config.json`` may want the first state instead.
      ``lexicon`` has the words and the tokenizer that lies in the folder, or none.
    * Images beside texts (CLIP, SigLIP): doors as for images, and embeddings of length one come
      out; ``with_classes(names, templates)`` or ``?classes=cat,dog&template=A%20{}`` makes a
      classifier of it.

    Arguments:
        name: ``ORG/MODEL[@REVISION]`` or a folder that ``save_pretrained`` wrote (absolute, or
            starting with ``./``, ``../`` or ``~``), then its options behind ``?`` if wanted.

    Raises:
        UserError: if transformers is missing, the model cannot be found or fetched, is of no
            supported kind, has no safetensors weights or lacks some of them.

    Example:
        >>> load("./no/such/folder")
        Traceback (most recent call last):
        ...
        reprogram.types.UserError: source hf:./no/such/folder: no such folder; give a folder ...
    """
    try:
        import huggingface_hub  # noqa: F401
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"source hf:{name} needs {error.name}, which is not installed: "
                        "pip install 'reprogram[hf]'") from None  # fmt: skip
    base, _, query = name.partition("?")
    # What the library draws before it fills in the weights must not shift a caller's own draws.
    with _quiet(), torch.random.fork_rng(devices=[]):
        folder = find_folder(base)
        kind, config = _kind(base, folder)
        source = _BUILD.get(kind, _language)(base, folder, kind, config, query)
        _try(source)
    return source


def _classifier(base: str, folder: Path, kind: str, config: Any, query: str) -> TorchSource:
    options = _options(base, KINDS[kind], query)
    model = _model(base, folder, kind, config)
    settings = read_settings(base, folder)
    with _supported(base, model):
        stages = KINDS[kind].stages(model, settings, **options)
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    return TorchSource(stages, OutputSpec("classes", (len(names),), names), uri=_uri(base, query))


def _language(base: str, folder: Path, kind: str, config: Any, query: str) -> TorchSource:
    options = _options(base, KINDS[kind], query)
    settings = read_settings(base, folder)
    settings["pooling"] = read_json(base, folder / POOLING)
    filling = getattr(config.get_text_config(), "pad_token_id", None)
    tokenizer = read_tokenizer(base, folder, settings, filling)
    model = _model(base, folder, kind, config)
    with _supported(base, model):
        return KINDS[kind].source(model, settings, tokenizer, _uri(base, query), **options)


def _dual(base: str, folder: Path, kind: str, config: Any, query: str) -> TorchSource:
    wanted = dual.read_query(f"hf:{base}", query) if query else None
    model = _model(base, folder, kind, config)
    with _supported(base, model):
        source = dual.DualSource(model, read_settings(base, folder), folder, f"hf:{base}")
        return source.with_classes(*wanted) if wanted else source


_BUILD = {"Image": _classifier, "Audio": _classifier, "Dual": _dual}


def _uri(base: str, query: str) -> str:
    return f"hf:{base}?{query}" if query else f"hf:{base}"


@contextlib.contextmanager
def _supported(base: str, model: nn.Module) -> Iterator[None]:
    """Models of habits that no door here fits fail in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"source hf:{base}, a {type(model).__name__}, is not supported: "
                        f"{first_line(error)}") from error  # fmt: skip


def _kind(base: str, folder: Path) -> tuple[str, Any]:
    """What the model is, one of :data:`CLASSES`, and its configuration."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    if not (folder / "config.json").is_file():
        raise UserError(f"source hf:{base}: there is no config.json in it; give a folder that "
                        "save_pretrained wrote")  # fmt: skip
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a foreign file read by a foreign reader fails in many ways
        raise UserError(f"source hf:{base}: its config.json is not one that the installed "
                        f"transformers understands ({first_line(error)})") from error  # fmt: skip
    architecture = (getattr(config, "architectures", None) or ["nameless model"])[0]
    masked_models = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    bodies = {name: modeling_auto.MODEL_MAPPING_NAMES.get(name, ()) for name in masked_models}
    lists = {
        "Image": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        "Audio": modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        "Sequence": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "Dual": modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        "Masked": masked_models,
        "Sentence": bodies,
    }
    kinds = [kind for kind, classes in lists.items()
             if architecture in _tuple(classes.get(config.model_type, ()))]  # fmt: skip
    # A sentence encoder may bear the name of the masked language model that it was made from.
    if (folder / POOLING).is_file() and config.model_type in bodies:
        kinds = ["Sentence"]
    if not kinds:
        raise UserError(f"source hf:{base} is a {architecture}; supported are classifiers of "
                        "images (...ForImageClassification), audio (...ForAudioClassification) and "
                        "text (...ForSequenceClassification), masked language models "
                        "(...ForMaskedLM), sentence encoders (BertModel and its like), and "
                        "CLIP-like models")  # fmt: skip
    if "Classification" in CLASSES[kinds[0]] and (config.num_labels or 0) < 2:
        raise UserError(f"source hf:{base} has {config.num_labels} output: a regression; give a "
                        "classifier of two classes or more")  # fmt: skip
    return kinds[0], config


def _model(base: str, folder: Path, kind: str, config: Any) -> nn.Module:
    """The model with every weight read from safetensors, in float32."""
    import transformers

    if not any(folder.glob("model*.safetensors")):
        raise UserError(f"source hf:{base} has no model.safetensors, and pickled weights are never "
                        "read; load it in transformers and save_pretrained it again")  # fmt: skip
    try:
        model, report = getattr(transformers, CLASSES[kind]).from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True,
            trust_remote_code=False, local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # as above: damaged files, missing packages, quantised weights
        raise UserError(f"source hf:{base} cannot be loaded: {first_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(POOLER))
    if missing:  # transformers would draw them at random
        raise UserError(f"source hf:{base}: {len(missing)} weights are missing from its file, "
                        f"{missing[0]} first; give a trained model")  # fmt: skip
    return model.eval()


def _options(base: str, kind: ModuleType, query: str) -> dict[str, float | int]:
    """``seconds=2`` as keyword arguments, checked against what the kind of model takes."""
    options: dict[str, float | int] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if not kind.OPTIONS:
            raise UserError(f"source hf:{base} takes no options; remove '?{query}'")
        if key not in kind.OPTIONS:
            raise nearest(f"option of source hf:{base}", key, kind.OPTIONS)
        try:
            options[key] = kind.OPTIONS[key](value)
        except ValueError:
            options[key] = -1
        if not 0 < options[key] < float("inf"):
            raise UserError(f"source hf:{base}: option '{key}' is {value!r}; "
                            "give a positive number")  # fmt: skip
    return options


def _try(source: TorchSource) -> None:
    """One sample through every link, so that a model of another habit fails here and not later."""
    spec = source.input
    x: Batch = torch.zeros(1, *spec.shape)
    if spec.kind == "tokens":
        length = min(spec.shape[0], 8)
        x = Tokens(torch.zeros(1, length, dtype=torch.long), torch.ones(1, length))
        if source.output.kind == "token scores":  # told at each place, or at one
            x = x._replace(position=torch.zeros(1, dtype=torch.long))
    try:
        with torch.no_grad():
            scores = source(x)
        reason = f"it returned shape {tuple(scores.shape)}"
    except Exception as error:  # whatever the model's own code objects to
        scores, reason = torch.zeros(0), first_line(error)
    if scores.shape != (1, *source.output.shape):
        raise UserError(f"source {source.uri} cannot be used at its door {spec.kind!r} of shape "
                        f"{spec.shape}: {reason}")  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, reports or warnings of the two libraries; their settings come back."""
    from huggingface_hub import utils as bars
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    level, hub_level = logging.get_verbosity(), hub.get_verbosity()
    bar, hub_bars = logging.is_progress_bar_enabled(), not bars.are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub.set_verbosity_error()
    bars.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        hub.set_verbosity(hub_level)
        if bar:
            logging.enable_progress_bar()
        if hub_bars:  # after the line above, which switches these too
            bars.enable_progress_bars()
        else:
            bars.disable_progress_bars()


def _tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names

"""Models of the transformers library, frozen: classifiers of images, audio, text; CLIP, SigLIP.

``hf:ORG/MODEL``, ``hf:ORG/MODEL@REVISION`` or a folder, ``hf:/path`` or ``hf:./path``. Weights come
from safetensors files only, no code is ever fetched with a model, and what was fetched once is
read from the cache.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import nn

from reprogram.sources.base import TorchSource
from reprogram.sources.hf import audio, dual, image, text
from reprogram.types import OutputSpec, Tokens, UserError, nearest

__all__ = ["load"]

# What is fetched of a repository: settings and safetensors, never code, never a pickle.
FILES = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
]
# Kind of classifier -> the module that knows its doors. An audio classifier may carry the name
# ...ForSequenceClassification, so the library's own lists decide, not the name.
KINDS: dict[str, ModuleType] = {"Image": image, "Audio": audio, "Sequence": text}


def load(name: str) -> TorchSource:
    """The frozen classifier of that name, at its outermost door.

    * Images: doors ``image`` (values in 0 to 1) and ``normalised``. A 224-pixel model takes
      ``(3, 224, 224)``; resizing belongs to the transformation.
    * Audio: ``waveform`` in [-1, 1], then ``standardised`` for models of raw waveforms
      (wav2vec 2.0, HuBERT, WavLM, SEW), or ``log-mel`` (frames, bands) for AST and Whisper
      encoders. One second unless ``?seconds=`` says otherwise; AST and Whisper take the length
      they were built for, or less.
    * Text: ``tokens``, given as :class:`~reprogram.types.Tokens` of ids, and ``embeddings``, given
      as Tokens of (batch, length, width), of ``?length=`` tokens: by default the model's limit, at
      most 512.
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
        folder = _folder(base)
        kind, config = _kind(base, folder)
        build = _dual if kind == "Dual" else _classifier
        source = build(base, folder, kind, config, query)
        _try(source)
    return source


def _classifier(base: str, folder: Path, kind: str, config: Any, query: str) -> TorchSource:
    options = _options(base, KINDS[kind], query)
    model = _model(base, folder, f"AutoModelFor{kind}Classification", config)
    settings = _settings(base, folder)
    with _supported(base, model):
        stages = KINDS[kind].stages(model, settings, **options)
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    uri = f"hf:{base}?{query}" if query else f"hf:{base}"
    return TorchSource(stages, OutputSpec("classes", (len(names),), names), uri=uri)


def _dual(base: str, folder: Path, kind: str, config: Any, query: str) -> TorchSource:
    del kind
    wanted = dual.read_query(f"hf:{base}", query) if query else None
    model = _model(base, folder, "AutoModelForZeroShotImageClassification", config)
    with _supported(base, model):
        source = dual.DualSource(model, _settings(base, folder), folder, f"hf:{base}")
        return source.with_classes(*wanted) if wanted else source


@contextlib.contextmanager
def _supported(base: str, model: nn.Module) -> Iterator[None]:
    """Models of habits that no door here fits fail in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"source hf:{base}, a {type(model).__name__}, is not supported: "
                        f"{_line(error)}") from error  # fmt: skip


def _folder(base: str) -> Path:
    """Where the files lie: the folder given, or the cache after a download at need."""
    path = Path(base).expanduser()
    if path.is_dir():
        return path
    if base.startswith(("/", "./", "../", "~", "\\")) or base.count("/") > 1:
        raise UserError(f"source hf:{base}: no such folder; give a folder that save_pretrained "
                        "wrote, or a public name as hf:ORG/MODEL")  # fmt: skip
    from huggingface_hub import errors, snapshot_download

    repository, _, revision = base.partition("@")
    wanted: dict[str, Any] = {"revision": revision or None, "allow_patterns": FILES}
    # First the cache: a source is frozen, and without a network nobody should wait for retries.
    with contextlib.suppress(errors.LocalEntryNotFoundError, errors.HFValidationError):
        cached = Path(snapshot_download(repository, local_files_only=True, **wanted))
        if (cached / "config.json").is_file() and any(cached.glob("model*.safetensors")):
            return cached
    try:
        return Path(snapshot_download(repository, **wanted))
    except errors.GatedRepoError:
        reason = "its owner wants its terms accepted; do so on its page, then `hf auth login`"
    except errors.RevisionNotFoundError:
        reason = f"it has no revision {revision!r}; give a branch, tag or commit after '@'"
    except errors.RepositoryNotFoundError:
        reason = "there is no public model of that name; check it, or `hf auth login` if private"
    except errors.HFValidationError:
        reason = "that is no name of a model; write hf:ORG/MODEL[@REVISION] or hf:./FOLDER"
    except (OSError, errors.HfHubHTTPError) as error:
        reason = (f"it is not in the cache and could not be fetched ({_line(error, 60)}); connect, "
                  "or copy its folder here and give hf:./FOLDER")  # fmt: skip
    raise UserError(f"source hf:{base}: {reason}")


def _kind(base: str, folder: Path) -> tuple[str, Any]:
    """Image, Audio, Sequence or Dual, and the model's configuration."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    if not (folder / "config.json").is_file():
        raise UserError(f"source hf:{base}: there is no config.json in it; give a folder that "
                        "save_pretrained wrote")  # fmt: skip
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a foreign file read by a foreign reader fails in many ways
        raise UserError(f"source hf:{base}: its config.json is not one that the installed "
                        f"transformers understands ({_line(error)})") from error  # fmt: skip
    architecture = (getattr(config, "architectures", None) or ["nameless model"])[0]
    lists = {
        "Image": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        "Audio": modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        "Sequence": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "Dual": modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    }
    kinds = [kind for kind, classes in lists.items()
             if architecture in _tuple(classes.get(config.model_type, ()))]  # fmt: skip
    if not kinds:
        raise UserError(f"source hf:{base} is a {architecture}; supported are classifiers of "
                        "images (...ForImageClassification), audio (...ForAudioClassification) and "
                        "text (...ForSequenceClassification), and CLIP-like models")  # fmt: skip
    if kinds[0] != "Dual" and (config.num_labels or 0) < 2:
        raise UserError(f"source hf:{base} has {config.num_labels} output: a regression; give a "
                        "classifier of two classes or more")  # fmt: skip
    return kinds[0], config


def _model(base: str, folder: Path, auto: str, config: Any) -> nn.Module:
    """The model with every weight read from safetensors, in float32."""
    import transformers

    if not any(folder.glob("model*.safetensors")):
        raise UserError(f"source hf:{base} has no model.safetensors, and pickled weights are never "
                        "read; load it in transformers and save_pretrained it again")  # fmt: skip
    try:
        model, report = getattr(transformers, auto).from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True,
            trust_remote_code=False, local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # as above: damaged files, missing packages, quantised weights
        raise UserError(f"source hf:{base} cannot be loaded: {_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would draw them at random
        raise UserError(f"source hf:{base}: {len(missing)} weights are missing from its file, "
                        f"{missing[0]} first; give a trained model")  # fmt: skip
    return model.eval()


def _settings(base: str, folder: Path) -> dict[str, Any]:
    """What the model's preprocessing files say, merged; empty if there are none."""
    merged: dict[str, Any] = {}
    for file in ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        try:
            values = json.loads((folder / file).read_text(encoding="utf-8"))
            for part in ("feature_extractor", "image_processor"):  # of a composed processor
                values = values.get(part) or values
        except FileNotFoundError:
            continue
        except (ValueError, AttributeError) as error:
            raise UserError(f"source hf:{base}: its {file} is damaged ({_line(error)}); "
                            "copy or fetch it again") from None  # fmt: skip
        merged |= values
    return merged


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
    x: torch.Tensor | Tokens = torch.zeros(1, *spec.shape)
    if spec.kind == "tokens":
        length = min(spec.shape[0], 8)
        x = Tokens(torch.zeros(1, length, dtype=torch.long), torch.ones(1, length))
    try:
        with torch.no_grad():
            scores = source(x)
        reason = f"it returned shape {tuple(scores.shape)}"
    except Exception as error:  # whatever the model's own code objects to
        scores, reason = torch.zeros(0), _line(error)
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


def _line(error: BaseException, width: int = 160) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= width else lines[0][: width - 3] + "..."

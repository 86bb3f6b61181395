"""Where the files of an hf: source lie, and what its settings say."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from reprogram.types import UserError

# What is fetched of a repository: settings, words and safetensors, never code, never a pickle.
FILES = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
]
SETTINGS = (
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)


def find_folder(base: str) -> Path:
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
        reason = (f"it is not in the cache and could not be fetched ({first_line(error, 60)}); "
                  "connect, or copy its folder here and give hf:./FOLDER")  # fmt: skip
    raise UserError(f"source hf:{base}: {reason}")


def read_settings(base: str, folder: Path) -> dict[str, Any]:
    """What the files beside the model say of its input, merged; empty if there are none."""
    merged: dict[str, Any] = {}
    for name in SETTINGS:
        values = read_json(base, folder / name)
        for part in ("feature_extractor", "image_processor"):  # of a composed processor
            values = values.get(part) or values
        merged |= values
    return merged


def read_json(base: str, path: Path) -> dict[str, Any]:
    """What one file says; nothing where there is none.

    Raises:
        UserError: if it is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict):
            return values
        reason = f"it holds a {type(values).__name__}"
    except FileNotFoundError:
        return {}
    except ValueError as error:
        reason = first_line(error)
    raise UserError(f"source hf:{base}: its {path.name} is damaged ({reason}); "
                    "copy or fetch it again")  # fmt: skip


def first_line(error: BaseException, width: int = 160) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= width else lines[0][: width - 3] + "..."

"""Names of classes as vectors whose angles tell what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.types import UserError


def embed_names(names: Sequence[str], encoder: str = "letters") -> Float[Tensor, "names width"]:
    """Unit vectors, one a name.

    Arguments:
        names: Words or short phrases.
        encoder: ``"letters"`` compares spelling alone, by runs of two to four letters, and needs
            nothing; ``"hf:ORG/MODEL[@REVISION]"`` or ``"hf:FOLDER"`` is a text encoder of
            transformers, such as a CLIP or a sentence encoder, and compares meaning.

    Raises:
        UserError: if there is no such encoder, or it cannot be loaded.

    Example:
        >>> a, b, c = embed_names(["sports car", "a car", "newt"])
        >>> bool(a @ b > a @ c)
        True
    """
    if encoder == "letters":
        from sklearn.feature_extraction.text import HashingVectorizer

        read = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=2**12)
        hashed: Any = read.transform([name.replace("_", " ") for name in names])
        return _unit(torch.from_numpy(hashed.toarray()).float())
    scheme, _, model = encoder.partition(":")
    if scheme != "hf" or not model:
        raise UserError(f"argument 'encoder' is {encoder!r}; give 'letters' or 'hf:ORG/MODEL'")
    return _unit(_encode(list(names), model))


@torch.no_grad()
def _encode(names: list[str], model: str) -> Tensor:
    """(names, width): what a model for texts says of each, or the mean over its tokens."""
    try:
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError:
        raise UserError(f"text encoder hf:{model} needs transformers, which is not installed: "
                        "pip install 'reprogram[hf]'") from None  # fmt: skip
    base, _, revision = model.partition("@")
    wanted: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, **wanted)
        network = AutoModel.from_pretrained(base, use_safetensors=True, **wanted).eval()
    except Exception as error:  # the hub, the disk, or a foreign file: each fails in its own way
        line = str(error).strip().splitlines()[0][:90] if str(error).strip() else ""
        raise UserError(f"text encoder hf:{model} could not be loaded ({line}); connect, give the "
                        "folder of another one, or encoder='letters'") from None  # fmt: skip
    tokens = tokenizer(names, padding=True, return_tensors="pt")
    if hasattr(network, "get_text_features"):
        found = network.get_text_features(**tokens)
        return found if isinstance(found, Tensor) else found.pooler_output
    hidden = network(**tokens).last_hidden_state  # (names, length, width)
    mask = tokens["attention_mask"][..., None]
    return (hidden * mask).sum(1) / mask.sum(1)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=1)

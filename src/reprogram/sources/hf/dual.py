"""Dual encoders of the transformers library: images and texts in one space (CLIP, SigLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.hf import image
from reprogram.types import OutputSpec, UserError, nearest

TEMPLATES = ("This is a photo of a {}",)
OPTIONS = ("classes", "template")
CHUNK = 256  # prompts that enter the text encoder at once


class ImageEncoder(nn.Module):
    """Normalised images to embeddings of length one.

    Arguments:
        model: A dual encoder of the transformers library.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch width"]:
        """(batch, channels, height, width) -> (batch, width)."""
        found = self.model.get_image_features(pixel_values=x, return_dict=True).pooler_output
        return nn.functional.normalize(found.float(), dim=1)


class ZeroShot(nn.Module):
    """Images to logits: how similar each is to each of some texts.

    Arguments:
        encoder: Images to embeddings of length one.
        texts: Embeddings of the texts, of length one.
        scale: What the cosine is multiplied with.
        bias: What is added to that.
    """

    def __init__(
        self, encoder: ImageEncoder, texts: Float[Tensor, "texts width"], scale: float, bias: float
    ) -> None:
        super().__init__()
        self.features = encoder  # (batch, width): what enters the last layer
        self.texts = nn.Parameter(texts)
        self.scale, self.bias = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(bias))

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch texts"]:
        """(batch, channels, height, width) -> logits (batch, texts)."""
        return self.scale * self.features(x) @ self.texts.T + self.bias


class DualSource(TorchSource):
    """Images to embeddings of length one, or, once it has classes, to their logits.

    Arguments:
        model: A dual encoder of the transformers library.
        settings: Of its preprocessing files.
        folder: Where its tokenizer lies.
        uri: Under which name a saved program finds it again.

    References:
        | CLIP (Radford et al., 2021), arXiv 2103.00020
        | SigLIP (Zhai, Mustafa, Kolesnikov, Beyer, 2023), arXiv 2303.15343
    """

    vocabulary = True

    def __init__(self, model: Any, settings: dict[str, Any], folder: Path, uri: str) -> None:
        if not all(hasattr(model, part) for part in ("get_image_features", "logit_scale")):
            raise UserError(f"a {type(model).__name__} is not supported: it has no scaled cosine "
                            "of image and text; take a CLIP or SigLIP model")  # fmt: skip
        front, back = image.stages(model, settings)
        encoder = ImageEncoder(model)
        channels, height, width = back.input.shape
        with torch.no_grad():
            size = encoder(torch.zeros(1, channels, height, width)).shape[1]
        stages = [front, Stage(back.name, back.input, encoder)]
        super().__init__(stages, OutputSpec("embedding", (size,)), uri=uri)
        self.folder = folder

    def with_classes(
        self, names: Sequence[str], templates: Sequence[str] = TEMPLATES
    ) -> TorchSource:
        """The zero-shot classifier of some classes, its weights shared with this source.

        Its classes are all prompts, ``template`` with the name in place of ``{}``: for T templates
        and N names T x N of them, those of the first template first. Logits are scale x cosine,
        with SigLIP's bias added.

        Arguments:
            names: Of the classes.
            templates: Sentences with ``{}`` in them.

        Raises:
            UserError: if there are no names, one is there twice, a template has no ``{}``, or the
                model's tokenizer cannot be read.
        """
        if not names or len(set(names)) < len(names):
            raise UserError(f"argument 'names' holds {len(names)} names, {len(set(names))} of them "
                            "different; give each class once")  # fmt: skip
        for template in templates:
            if "{}" not in template:
                raise UserError(f"template {template!r} has no place for a name; write {{}} there")
        prompts = tuple(t.replace("{}", name) for t in templates for name in names)
        front, back = self.stages
        encoder: Any = back.module
        model = encoder.model
        bias = getattr(model, "logit_bias", None)
        network = ZeroShot(
            encoder, self._embed(model, prompts), model.logit_scale.exp().item(),
            0.0 if bias is None else bias.item(),
        )  # fmt: skip
        network.to(model.logit_scale.device)
        stages = [front, Stage(back.name, back.input, network)]
        spec = OutputSpec("classes", (len(prompts),), prompts)
        return TorchSource(stages, spec, uri=f"{self.uri}?{write_query(names, templates)}")

    @torch.no_grad()
    def _embed(self, model: Any, prompts: Sequence[str]) -> Float[Tensor, "texts width"]:
        """The texts as the model was trained to read them: padded to its full length."""
        from transformers import AutoTokenizer

        # Without a file of words the library makes a tokenizer that knows none, and says nothing.
        if not (self.folder / "tokenizer.json").is_file():
            raise UserError(f"source {self.uri} has no tokenizer.json; load its tokenizer in "
                            "transformers and save_pretrained it beside the model")  # fmt: skip
        length = model.config.text_config.max_position_embeddings
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
            given = tokenizer(
                list(prompts), padding="max_length", max_length=length, truncation=True,
                return_tensors="pt",
            )  # fmt: skip
        except Exception as error:  # absent or foreign files are read in many ways
            raise UserError(
                f"source {self.uri}: its tokenizer cannot be read ({type(error).__name__}); "
                "copy or fetch its tokenizer.json again"
            ) from error
        device = model.logit_scale.device
        parts = [
            model.get_text_features(
                **{key: given[key][rows].to(device) for key in ("input_ids", "attention_mask")
                   if key in given}, return_dict=True,
            ).pooler_output.float()
            for rows in torch.arange(len(prompts)).split(CHUNK)
        ]  # fmt: skip
        return nn.functional.normalize(torch.cat(parts), dim=1)


def write_query(names: Sequence[str], templates: Sequence[str]) -> str:
    """Classes and templates as the end of a URI.

    Example:
        >>> write_query(["cat", "great tit, bird"], ["A {}."])
        'classes=cat,great%20tit%2C%20bird&template=A%20%7B%7D.'
        >>> read_query("hf:a/b", _)
        (('cat', 'great tit, bird'), ('A {}.',))
    """
    classes = ",".join(quote(name, safe="") for name in names)
    return "&".join([f"classes={classes}", *(f"template={quote(t, safe='')}" for t in templates)])


def read_query(uri: str, query: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The inverse of :func:`write_query`; without a template the default one.

    Arguments:
        uri: Of the source, for an error.
        query: What stands behind the question mark.

    Raises:
        UserError: if an option is unknown, or there are no classes.
    """
    names: tuple[str, ...] = ()
    templates: list[str] = []
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in OPTIONS:
            raise nearest(f"option of source {uri}", key, OPTIONS)
        if key == "classes":
            names = tuple(unquote(name) for name in value.split(",") if name)
        else:
            templates.append(unquote(value))
    if not names:
        raise UserError(f"source {uri}: option 'classes' is missing; write ?classes=cat,dog")
    return names, tuple(templates) or TEMPLATES

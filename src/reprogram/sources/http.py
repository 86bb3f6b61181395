"""Models behind HTTP, asked by an adapter; every attempt is on the account."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reprogram.sources.adapter import DESCRIBED, VARIABLE, Adapter, check_url, read_adapter
from reprogram.sources.attempt import Secrets, origin
from reprogram.sources.base import Source, specs
from reprogram.sources.encoding import encode
from reprogram.sources.exchange import Exchange
from reprogram.sources.ledger import Ledger
from reprogram.types import Batch, UserError, rows

if TYPE_CHECKING:
    import httpx


class HttpSource(Source):
    """A model behind HTTP.

    Requests go out as :meth:`ask` is asked, several at once; :meth:`forward` does it without an
    account. Redirects are not followed, so that a token goes nowhere else.

    Arguments:
        adapter: How the model is asked, and where its answer stands.
        uri: Under which name a saved program finds it again.
        transport: Of httpx, where it is not the network.

    Attributes:
        price: Of a thousand queries, as the adapter tells it.

    Raises:
        UserError: if httpx is not installed.

    Example:
        >>> import httpx
        >>> adapter = Adapter(
        ...     url="http://localhost", input={"kind": "table", "shape": (2,)},
        ...     classes=["cat", "dog"], scores="label", reply="*")
        >>> server = httpx.MockTransport(lambda request: httpx.Response(200, json=["dog"]))
        >>> HttpSource(adapter, transport=server)(torch.zeros(1, 2)).argmax(1)
        tensor([1])
    """

    gradient = False

    def __init__(
        self,
        adapter: Adapter,
        *,
        uri: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__()
        _httpx()
        self.adapter, self.uri, self.transport = adapter, uri, transport
        self.input, self.output = adapter.input_spec, adapter.output_spec
        self.scores, self.price = adapter.level, adapter.price
        self._client: Any = None

    def forward(self, x: Batch) -> Tensor:
        """(batch, *input.shape) -> (batch, classes)."""
        output = torch.empty(rows(x), *self.output.shape)
        for index, answers in self.ask(x, Ledger()):
            output[index] = answers
        return output.to(x.device if isinstance(x, Tensor) else x.values.device)

    def ask(self, x: Batch, ledger: Ledger) -> Iterator[tuple[Tensor, Tensor]]:
        """Answers as they come; each attempt reserves its samples and is settled by its fate.

        A reply that can be read was answered; a refusal (429, 5xx, no connection) is free; a
        timeout, a broken connection or a reply that cannot be read may have been billed: lost.

        Raises:
            UserError: if a request fails for good, after the answers of those in flight.
            BudgetSpent: likewise, if the next attempt would pass the budget.
        """
        secrets = Secrets(self.adapter.headers)
        samples = encode(x, self.adapter)
        yield from Exchange(self.client, self.adapter, secrets, samples, ledger).answers()

    @property
    def client(self) -> Any:
        """The connections of this source, opened when they are first used."""
        if self._client is None:
            httpx, adapter = _httpx(), self.adapter
            # An idle connection is dropped here before the server does: what is sent into one that
            # it has just closed counts as lost.
            limits = httpx.Limits(
                max_keepalive_connections=adapter.concurrency, keepalive_expiry=2.0
            )
            self._client = client = httpx.Client(
                timeout=adapter.timeout,
                limits=limits,
                follow_redirects=False,
                transport=self.transport,
            )
            weakref.finalize(self, client.close)
        return self._client

    def keys(self, x: Batch) -> list[bytes]:
        """SHA-256 of each sample as it is sent: two that become the same PNG share an answer."""
        return [
            hashlib.sha256(json.dumps(sample).encode()).digest()
            for sample in encode(x, self.adapter)
        ]

    def fingerprint(self) -> str:
        """SHA-256 over the specifications and what of the adapter decides the answers."""
        return hashlib.sha256(f"{specs(self)}{self.adapter.answering()}".encode()).hexdigest()


def load(url: str | None, adapter: str | None = None) -> HttpSource:
    """The source behind a URL.

    Arguments:
        url: Where requests are posted; the adapter's own if empty.
        adapter: Path of the adapter's JSON file.

    Raises:
        UserError: if there is no adapter, it is not valid, or its variables are for another host.
    """
    if adapter is None:
        raise UserError(f"source {url or 'over HTTP'} needs an adapter, which tells how it is "
                        f"asked; give one with --adapter FILE ({DESCRIBED})")  # fmt: skip
    if set(adapter) & set("&#"):
        raise UserError(f"adapter {adapter!r} has a '&' or '#' in its path, which a source's name "
                        "cannot hold; rename it")  # fmt: skip
    read = read_adapter(adapter)
    if url and url.partition(":")[2].strip("/"):
        read = _elsewhere(read, check_url(url))
    return HttpSource(read, uri=f"{read.url}{'&' if '?' in read.url else '?'}adapter={adapter}")


def _elsewhere(adapter: Adapter, url: str) -> Adapter:
    """The adapter for another URL, to which its variables may go only on the same host."""
    if origin(url) != origin(adapter.url) and VARIABLE.search(" ".join(adapter.headers.values())):
        raise UserError(f"source {url} is not where the adapter sends its headers' variables, "
                        f"{origin(adapter.url)}; change 'url' in the adapter")  # fmt: skip
    return adapter.model_copy(update={"url": url})


def _httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError:
        raise UserError("sources over HTTP need httpx; pip install 'reprogram[blackbox]'") from None
    return httpx

"""One request to a model behind HTTP, and what became of it; no secret leaves in a message."""

from __future__ import annotations

import html
import json
import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from torch import Tensor

from reprogram.sources.adapter import VARIABLE, Adapter, sendable
from reprogram.sources.encoding import Unusable, read_reply
from reprogram.types import UserError

if TYPE_CHECKING:
    import httpx

PATIENCE = 600.0  # seconds that a server may ask to wait
SHOWN = 200  # characters of a reply in a message
MAYBE_COMPUTED = (504, 524)  # a gateway gave up waiting for a model that was asked
CREDENTIAL = ("auth", "key", "token", "secret", "cookie")  # in the names of headers


def origin(url: str) -> str:
    """Scheme, host and port: where a request ends up.

    Example:
        >>> origin("https://models.example/v1?model=birds")
        'https://models.example:443'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or (443, 80)[parts.scheme == 'http']}"


class Secrets:
    """Headers as they are sent, and a text without what they hold.

    Arguments:
        headers: Templates; ``${NAME}`` is an environment variable.

    Raises:
        UserError: if a variable is not set, is empty, or holds what no header may hold.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        hidden = {_variable(name) for value in headers.values() for name in VARIABLE.findall(value)}
        self._headers = {
            name: VARIABLE.sub(lambda match: _variable(match[1]), value)
            for name, value in headers.items()
        }
        hidden |= {
            value
            for name, value in self._headers.items()
            if value and any(word in name.lower() for word in CREDENTIAL)
        }
        spelt = {s for h in hidden for s in (h, json.dumps(h)[1:-1], quote(h, ""), html.escape(h))}
        self._hidden = sorted(spelt, key=len, reverse=True)

    def headers(self) -> dict[str, str]:
        """For one request."""
        return {"Content-Type": "application/json", **self._headers}

    def clean(self, text: str | bytes) -> str:
        """One line of no more than :data:`SHOWN` characters that holds no secret."""
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        for hidden in self._hidden:
            text = text.replace(hidden, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SHOWN]


def _variable(name: str) -> str:
    # The value has no name here: a traceback may show the names of a frame.
    if not os.environ.get(name):
        raise UserError(f"environment variable {name} is not set; the adapter's headers need it")
    if not sendable(os.environ[name]):
        raise UserError(f"environment variable {name} holds a line break or another character that "
                        "no header may hold")  # fmt: skip
    return os.environ[name]


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt: which of the ledger's three, why, and what to do next."""

    fate: Literal["answered", "refused", "lost"]
    reason: str = ""
    said: str = ""  # the reply, shortened
    output: Tensor | None = None
    wait: float = 0.0  # seconds that the server asks for
    final: bool = False  # no retry can help


def attempt(
    client: httpx.Client, adapter: Adapter, secrets: Secrets, content: bytes, count: int
) -> Outcome:
    """Send a request once."""
    import httpx

    try:
        raw, response = _post(client, adapter, secrets, content)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return Outcome("refused", secrets.clean(f"no connection: {error}"))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        return Outcome("refused", f"no request could be made ({type(error).__name__})", final=True)
    except httpx.TimeoutException:
        return Outcome("lost", f"no reply within {adapter.timeout:g} s")
    except httpx.DecodingError:
        return Outcome("lost", "a reply that cannot be decompressed")
    except httpx.HTTPError as error:
        return Outcome("lost", f"a broken connection ({type(error).__name__})")
    if response.is_success:
        try:
            return Outcome("answered", output=read_reply(raw, count, adapter))
        except Unusable as error:
            return Outcome("lost", secrets.clean(str(error)), secrets.clean(raw))
    return _refusal(response, secrets.clean(raw), secrets)


def _post(
    client: httpx.Client, adapter: Adapter, secrets: Secrets, content: bytes
) -> tuple[bytes, httpx.Response]:
    """The whole reply, or a timeout: httpx itself waits anew for every piece of it."""
    import httpx

    deadline = time.monotonic() + adapter.timeout
    raw = bytearray()
    with client.stream("POST", adapter.url, content=content, headers=secrets.headers()) as response:
        for piece in response.iter_bytes():
            raw += piece
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("a reply in drops")
    return bytes(raw), response


def _refusal(response: httpx.Response, said: str, secrets: Secrets) -> Outcome:
    status = response.status_code
    reason = f"status {status}"
    if status in MAYBE_COMPUTED:
        return Outcome("lost", reason, said)
    if response.has_redirect_location:
        where = secrets.clean(response.headers["Location"])
        reason = f"{reason} to {where} (no redirect is followed)"
    if status not in (408, 429) and status < 500:
        return Outcome("refused", reason, said, final=True)
    wait = retry_after(response.headers.get("Retry-After", ""))
    if wait > PATIENCE:
        reason = f"{reason} with {wait:.0f} s to wait"
    return Outcome("refused", reason, said, wait=wait, final=wait > PATIENCE)


def retry_after(value: str) -> float:
    """Seconds that a ``Retry-After`` header asks for, in seconds or as a date; 0 if it says none.

    Example:
        >>> retry_after("12"), retry_after("soon")
        (12.0, 0.0)
    """
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0

"""Models behind HTTP: every attempt on the account, no answer lost, no token shown."""

import json
import logging
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
import torch

from reprogram import sources
from reprogram.sources import BudgetSpent, Ledger, Metered, exchange
from reprogram.sources.adapter import Adapter
from reprogram.sources.http import HttpSource, load
from reprogram.types import Scores, UserError

Handler = Callable[[httpx.Request], httpx.Response]
TOKEN = 'hush "hush" <1>'
NAMES = ("cat", "dog", "cow")
PAUSE = exchange.pause


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """Seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(exchange, "pause", lambda stop, seconds: waited.append(seconds))
    return waited


def adapter(**changes: object) -> Adapter:
    given = {
        "url": "http://models.example/predict",
        "input": {"kind": "table", "shape": (3,)},
        "classes": NAMES,
        "scores": "logits",
        "reply": "*",
        "concurrency": 1,
        "retries": 3,
    }
    return Adapter.model_validate({**given, **changes})


def rows(request: httpx.Request) -> list[list[float]]:
    return json.loads(request.content)["inputs"]


def echo(request: httpx.Request) -> httpx.Response:
    """A model whose logits are its inputs."""
    return httpx.Response(200, json=rows(request))


def source(handler: Handler = echo, **changes: object) -> HttpSource:
    return HttpSource(adapter(**changes), transport=httpx.MockTransport(handler))


def samples(n: int) -> torch.Tensor:
    return torch.arange(3.0 * n).reshape(n, 3)


def account(ledger: Ledger) -> tuple[int, int, float]:
    """Answered, lost, and what is still set aside: nothing, whatever happened."""
    budget = 10**6
    ledger.budget, before = budget, ledger.budget
    aside = budget - ledger.spent - ledger.left
    ledger.budget = before
    return ledger.queries, ledger.unanswered, aside


def finish() -> None:
    """Wait for the threads of requests."""
    for thread in threading.enumerate():
        if "_work" in thread.name:
            thread.join(10)


class Failing:
    """Fails in these ways first, then answers."""

    def __init__(self, *faults: object) -> None:
        self.faults, self.requests = list(faults), []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if not self.faults:
            return echo(request)
        fault = self.faults.pop(0)
        if isinstance(fault, httpx.Response):
            return fault
        assert isinstance(fault, type) and issubclass(fault, httpx.TransportError)
        raise fault("as the test wants it", request=request)


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_rows_come_back_in_order(batch, concurrency):
    box = source(batch=batch, concurrency=concurrency)
    assert torch.equal(box(samples(7)), samples(7))
    assert box(samples(0)).shape == (0, 3)
    assert not box.gradient and box.scores == Scores.LOGITS and box.output.names == NAMES


def test_a_request_holds_no_more_than_a_batch():
    sizes = []

    def handler(request: httpx.Request) -> httpx.Response:
        sizes.append(len(rows(request)))
        return echo(request)

    ledger = Ledger()
    asked = list(source(handler, batch=3).ask(samples(7), ledger))
    assert sizes == [3, 3, 1] and account(ledger) == (7, 0, 0)
    assert [index.tolist() for index, _ in asked] == [[0, 1, 2], [3, 4, 5], [6]]


REFUSED = {
    "429": httpx.Response(429),
    "408": httpx.Response(408),
    "500": httpx.Response(500),
    "503": httpx.Response(503, text="<html>"),
    "no connection": httpx.ConnectError,
    "no connection in time": httpx.ConnectTimeout,
}
LOST = {
    "no reply in time": httpx.ReadTimeout,
    "nobody reads": httpx.WriteTimeout,
    "broken while reading": httpx.ReadError,
    "broken while writing": httpx.WriteError,
    "closed without a reply": httpx.RemoteProtocolError,
    "a gateway gave up": httpx.Response(504),
    "no JSON": httpx.Response(200, text='[["0.5'),
    "empty": httpx.Response(200),
    "an error that says 200": httpx.Response(200, json={"error": "busy"}),
    "too few rows": httpx.Response(200, json=[[0, 0, 0]]),
    "too few scores": httpx.Response(200, json=[[0, 0], [0, 0]]),
    "not finite": httpx.Response(200, text="[[0, 0, NaN], [0, 0, 0]]"),
    "not decompressed": httpx.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip")
    ),
}


@pytest.mark.parametrize(
    ("fault", "lost"), [*((f, 0) for f in REFUSED), *((f, 2) for f in LOST)], ids=str
)
def test_every_fault_is_settled_and_tried_again(fault, lost):
    handler = Failing({**REFUSED, **LOST}[fault])
    ledger = Ledger()
    ((index, output),) = source(handler, batch=2).ask(samples(2), ledger)
    assert len(handler.requests) == 2
    assert index.tolist() == [0, 1] and torch.equal(output, samples(2))
    assert account(ledger) == (2, lost, 0)


def test_a_reply_that_comes_in_drops_is_no_reply():
    class Drops(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"["
            time.sleep(0.1)
            yield b"[0, 0, 0]]"

    ledger = Ledger()
    list(source(Failing(httpx.Response(200, stream=Drops())), timeout=0.05).ask(samples(1), ledger))
    assert account(ledger) == (1, 1, 0)


def test_what_nobody_foresaw_is_settled_too():
    def handler(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    ledger = Ledger()
    with pytest.raises(ZeroDivisionError):
        list(source(handler, batch=2).ask(samples(2), ledger))
    assert account(ledger) == (0, 2, 0)


def test_retries_used_up_tell_what_happened():
    handler = Failing(httpx.Response(429), httpx.ReadTimeout, httpx.Response(429), httpx.ReadError)
    ledger = Ledger()
    with pytest.raises(UserError, match="--resume") as error:
        list(source(handler, batch=2).ask(samples(2), ledger))
    told = str(error.value)
    assert "status 429 (2 times)" in told and "no reply within 30 s" in told
    assert "a broken connection (ReadError)" in told and "models.example/predict" in told
    assert len(handler.requests) == 4 and account(ledger) == (0, 4, 0)


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 413, 422])
def test_a_mistake_of_the_users_is_told_at_once(status):
    text = "no such model\n\x1b[31m" + "x" * 300
    handler = Failing(httpx.Response(status, text=text))
    ledger = Ledger()
    with pytest.raises(UserError, match=f"status {status}; its last reply: no such model") as error:
        list(source(handler).ask(samples(2), ledger))
    assert len(handler.requests) == 1 and account(ledger) == (0, 0, 0)
    assert "\x1b" not in str(error.value) and "\n" not in str(error.value)
    assert 150 < str(error.value).count("x") < 200


def test_no_redirect_is_followed():
    handler = Failing(httpx.Response(307, headers={"Location": "http://elsewhere.example/"}))
    with pytest.raises(UserError, match=r"307 to http://elsewhere\.example/ \(no redirect"):
        source(handler)(samples(1))
    assert [request.url.host for request in handler.requests] == ["models.example"]


def test_retry_after_is_honoured(pauses):
    date = formatdate(time.time() + 100, usegmt=True)
    replies = [httpx.Response(429, headers={"Retry-After": told}) for told in ("17", date, "soon")]
    source(Failing(*replies), backoff=0.5)(samples(1))
    assert pauses[0] == 17 and 90 < pauses[1] <= 100 and pauses[2] <= 2


def test_who_asks_for_too_long_a_wait_is_left(pauses):
    handler = Failing(httpx.Response(503, headers={"Retry-After": "86400"}))
    with pytest.raises(UserError, match="503 with 86400 s to wait"):
        source(handler)(samples(1))
    assert len(handler.requests) == 1 and pauses == []


def test_each_pause_is_about_twice_the_one_before_and_they_repeat(pauses):
    for _ in range(2):
        source(Failing(*[httpx.ReadTimeout] * 9), retries=9, backoff=1)(samples(1))
    first, second = pauses[:9], pauses[9:]
    assert first == second
    for number, waited in enumerate(first):
        longest = min(exchange.LONGEST, 2**number)
        assert longest / 2 <= waited <= longest


def test_a_pause_ends_when_everything_stops():
    stop = threading.Event()
    PAUSE(stop, 0.001)
    stop.set()
    PAUSE(stop, 3600)


def test_answers_in_flight_are_kept_when_one_request_fails_for_good():
    everyone = threading.Barrier(4)
    failed = threading.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        everyone.wait(10)
        if rows(request)[0][0] == 3:
            failed.set()
            return httpx.Response(401, text="no")
        failed.wait(10)
        return echo(request)

    ledger, seen = Ledger(), []
    with pytest.raises(UserError, match="status 401"):
        for index, _ in source(handler, concurrency=4).ask(samples(4), ledger):
            seen += index.tolist()
    assert sorted(seen) == [0, 2, 3] and account(ledger) == (3, 0, 0)


def test_nothing_is_tried_again_once_a_request_failed_for_good(monkeypatch):
    monkeypatch.setattr(exchange, "pause", lambda stop, seconds: stop.wait(10))
    everyone, sent = threading.Barrier(2), []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(rows(request))
        everyone.wait(10)
        return httpx.Response(401 if sent[-1] == rows(request) else 429)

    ledger = Ledger()
    with pytest.raises(UserError, match="status 401"):
        list(source(handler, concurrency=2).ask(samples(9), ledger))
    assert len(sent) == 2 and account(ledger) == (0, 0, 0)


@pytest.mark.parametrize("budget", [0, 1, 5, 9, 100])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_budget_is_never_passed_and_its_answers_are_kept(budget, concurrency):
    sent = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(len(rows(request)))
        return httpx.Response(200, text="?") if len(sent) % 3 == 0 else echo(request)

    ledger, seen = Ledger(budget=budget), []
    box = source(handler, batch=2, concurrency=concurrency, retries=9)
    with pytest.raises(BudgetSpent) if budget < 100 else nullcontext():
        for index, _ in box.ask(samples(20), ledger):
            seen += index.tolist()
    assert sum(sent) == ledger.spent <= budget
    assert len(seen) == ledger.queries and account(ledger)[2] == 0
    assert ledger.spent >= min(budget - 1, 20)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_requests_at_once_than_allowed(most):
    flying, seen = 0, []
    changed = threading.Condition()

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal flying
        with changed:
            flying += 1
            seen.append(flying)
            changed.notify_all()
            changed.wait_for(lambda: max(seen) == most, 10)
            flying -= 1
        return echo(request)

    source(handler, concurrency=most)(samples(20))
    assert max(seen) == most


def test_an_interruption_keeps_what_has_come_and_waits_for_nothing():
    release, late = threading.Event(), threading.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        if rows(request)[0][0] == 6:
            release.wait(30)
            late.set()
        return echo(request)

    ledger = Ledger()
    asked = source(handler, concurrency=2).ask(samples(4), ledger)
    first, _ = next(asked)
    while ledger.queries < 3:  # the third row is held back, the others come
        time.sleep(0.01)
    assert isinstance(asked, Generator)
    seen = [first, asked.throw(KeyboardInterrupt)[0], next(asked)[0]]
    with pytest.raises(KeyboardInterrupt):
        next(asked)
    assert sorted(torch.cat(seen).tolist()) == [0, 1, 3] and account(ledger) == (3, 1, 0)
    release.set()
    finish()
    assert late.is_set() and account(ledger) == (3, 1, 0)


def test_whoever_stops_asking_settles_what_is_in_flight():
    release = threading.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        if rows(request)[0][0] > 0:
            release.wait(30)
        return echo(request)

    ledger = Ledger()
    asked = source(handler, concurrency=2).ask(samples(2), ledger)
    next(asked)
    assert isinstance(asked, Generator)
    asked.close()
    release.set()
    finish()
    assert account(ledger) == (1, 1, 0)


def test_a_signal_ends_a_process_that_waits_for_a_reply():
    code = """
import signal, sys, threading
import torch
from reprogram.sources import Ledger
from reprogram.sources.adapter import Adapter
from reprogram.sources.http import HttpSource
assert "httpx" not in sys.modules
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests ignore it
import httpx

def never(request):
    print("waiting", flush=True)
    threading.Event().wait()

adapter = Adapter(url="http://localhost", input={"kind": "table", "shape": (1,)}, classes=2,
                  scores="label", reply="*")
ledger = Ledger()
try:
    list(HttpSource(adapter, transport=httpx.MockTransport(never)).ask(torch.zeros(1, 1), ledger))
except KeyboardInterrupt:
    print("lost", ledger.unanswered)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "lost 1\n"
    assert process.returncode == 0


def test_samples_that_are_sent_alike_share_an_answer():
    spec = {"kind": "image", "shape": (1, 2, 2), "lower": 0.0, "upper": 1.0}
    near = torch.tensor([0.5, 0.5001, 0.51]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    first, second, third = source(input=spec, encode="png").keys(near)
    assert first == second != third
    assert len(set(source(input=spec).keys(near))) == 3


def test_the_fingerprint_is_of_what_decides_answers(monkeypatch):
    monkeypatch.delenv("ABSENT", raising=False)
    patient = source(timeout=1.0, headers={"X": "${ABSENT}"}, batch=4)
    assert patient.fingerprint() == source().fingerprint() != source(scores="label").fingerprint()


def leaks(text: object) -> bool:
    return "hush" in str(text)


def whole(error: BaseException) -> str:
    """The traceback with every name in every frame but the test's own, and no other error in it."""
    assert error.__cause__ is None and error.__context__ is None and error.__traceback__ is not None
    frames = error.__traceback__.tb_next
    told = traceback.TracebackException(type(error), error, frames, capture_locals=True)
    return "".join(told.format())


ECHOES: dict[str, Handler] = {
    "refused": lambda r: httpx.Response(401, text="x" * 180 + r.headers["Authorization"]),
    "as JSON": lambda r: httpx.Response(403, json={"sent": r.headers["Authorization"]}),
    "a redirect": lambda r: httpx.Response(302, headers={"Location": f"http://h/?{TOKEN}"}),
    "a class": lambda r: httpx.Response(200, json=[r.headers["Authorization"]] * len(rows(r))),
    "an error": lambda r: Failing(httpx.ReadError)(r),
    "a connection": lambda r: (_ for _ in ()).throw(httpx.ConnectError(f"no {TOKEN}", request=r)),
    "an answer": lambda r: httpx.Response(200, json=["dog"] * len(rows(r)),
                                          headers={"Set-Cookie": "a=b"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ECHOES)
def test_a_token_is_sent_and_shown_nowhere(name, tmp_path, monkeypatch, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MODEL_TOKEN", TOKEN)
    sent = []

    def server(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return ECHOES[name](request)

    box = source(
        server, scores="label", headers={"Authorization": "Bearer ${MODEL_TOKEN}"}, retries=1
    )
    metered = Metered(box)
    metered.remember(tmp_path / "answers.sqlite", "run")
    shown = [repr(box), repr(box.adapter), box.adapter.answering(), box.fingerprint(), vars(box)]
    with nullcontext() if name == "an answer" else pytest.raises(UserError) as error:
        metered(samples(2))
    if error is not None:
        assert ("***" in str(error.value)) == (name != "an error")
        shown += [error.value, repr(error.value), whole(error.value)]
    metered.forget()
    assert sent and set(sent) == {f"Bearer {TOKEN}"}
    shown += [caplog.text, *capsys.readouterr(), *map(str, map(vars, caplog.records))]
    shown += [path.read_bytes() for path in tmp_path.iterdir()]
    assert not [text for text in shown if leaks(text)]


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "MODEL_TOKEN is not set"), ("", "MODEL_TOKEN is not set"),
     ("hush\n", "MODEL_TOKEN holds a line break"), ("hush\u00e9", "MODEL_TOKEN holds")],
)  # fmt: skip
def test_a_variable_that_cannot_be_sent(value, message, monkeypatch):
    monkeypatch.delenv("MODEL_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("MODEL_TOKEN", value)
    handler = Failing()
    box = source(handler, headers={"Authorization": "Bearer ${MODEL_TOKEN}"})
    with pytest.raises(UserError, match=message) as error:
        box(samples(1))
    assert handler.requests == []
    assert not leaks(error.value) and not leaks(whole(error.value))


def test_a_literal_credential_is_not_shown_either():
    box = source(lambda r: httpx.Response(401, json=dict(r.headers)), headers={"X-Api-Key": "hush"})
    with pytest.raises(UserError) as error:
        box(samples(1))
    assert not leaks(error.value) and not leaks(repr(box.adapter))
    with pytest.raises(ValueError) as error:
        adapter(headers={"X-Api-Key": "hush\n"})
    assert not leaks(error.value)


def write(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(adapter(**changes).model_dump()))
    return path


@pytest.mark.parametrize("own", [None, "", "http:", "https:"])
def test_a_name_leads_back_to_the_source(tmp_path, own):
    path = write(tmp_path / "api.json", url="http://models.example/predict?model=pets")
    box = load(own, str(path))
    assert box.uri == f"http://models.example/predict?model=pets&adapter={path}"
    assert box.uri is not None
    again = sources.load(box.uri)
    assert again.uri == box.uri and again.fingerprint() == box.fingerprint()
    assert sources.load(f"http:?adapter={path}").uri == box.uri
    other = load("https://other.example", str(path))
    assert isinstance(other, HttpSource) and other.uri == f"https://other.example?adapter={path}"
    assert other.adapter.url == "https://other.example"


def test_a_token_goes_to_its_host_only(tmp_path):
    path = write(tmp_path / "api.json", headers={"Authorization": "${MODEL_TOKEN}"})
    assert load("http://models.example:80/v2", str(path)).adapter.url.endswith("/v2")
    for url in ("http://evil.example/predict", "https://models.example/predict",
                "http://models.example:8080/predict"):  # fmt: skip
        with pytest.raises(UserError, match=r"variables, http://models\.example:80; change 'url'"):
            load(url, str(path))


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"needs an adapter.*--adapter FILE"):
        load("http://models.example")
    path = write(tmp_path / "api.json")
    with pytest.raises(UserError, match="holds no user name"):
        load("http://me:hush@models.example", str(path))
    with pytest.raises(UserError, match="rename it"):
        load("", str(path.rename(tmp_path / "a&b.json")))
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(UserError, match=r"reprogram\[blackbox\]"):
        source()

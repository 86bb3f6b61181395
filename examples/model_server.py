"""Serve a source over HTTP, as a model that can only be called, with faults if wanted.

    python examples/model_server.py --write-adapter api.json
    reprogram fit --recipe ar --source "http:?adapter=api.json" --task digits --out runs/digits

It answers ``POST /predict`` with the scores of a batch, and ``GET /count`` with the samples its
model has computed, the requests that came, the most of them at once, and the faults. Faults are
drawn under a seed, one a request at most:

429, 500    turned away, nothing computed
slow        computed, answered late
garbage     computed, and the reply makes no sense
drop        computed, and the connection is closed without a reply
timeout     computed, and nothing is said until nobody listens any more
"""

import argparse
import base64
import contextlib
import io
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import reprogram
from reprogram.files import atomic_write
from reprogram.sources import Source

FAULTS = ("429", "500", "slow", "garbage", "drop", "timeout")
GARBAGE = (b'{"predictions": [', b"<html>oops</html>", b'{"error": null}', b'{"predictions": []}')
TOLD = 3  # classes of --scores topk
REPLIES = {
    "logits": "predictions.*.scores",
    "probabilities": "predictions.*.scores",
    "topk": {"classes": "predictions.*.labels", "scores": "predictions.*.scores"},
    "label": "predictions.*.label",
}


class Model:
    """A source that is asked by one thread at a time and counts what it computes."""

    def __init__(self, source: Source, options: argparse.Namespace) -> None:
        self.source, self.options = source, options
        self.names = source.output.names
        self.draw = random.Random(options.seed)
        self.lock = threading.Lock()
        self.faults: Counter[str] = Counter()
        self.computed = self.requests = self.flying = self.most = 0

    def fault(self) -> str | None:
        """What goes wrong with the next request."""
        with self.lock:
            self.requests += 1
            at = self.draw.random()
            for kind, chance in self.options.fail.items():
                at -= chance
                if at < 0:
                    self.faults[kind] += 1
                    return kind
        return None

    def decode(self, sample: Any) -> torch.Tensor:
        """One sample as it came over the wire."""
        if self.options.encode == "array":
            return torch.tensor(sample, dtype=torch.float32)
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(sample))), dtype=np.float32)
        spec = self.source.input
        image = torch.from_numpy(pixels / 255).reshape(*spec.shape[1:], -1).permute(2, 0, 1)
        return spec.lower + image * (spec.upper - spec.lower)

    def predict(self, samples: list[Any]) -> dict[str, Any]:
        """The reply about some samples."""
        x = torch.stack([self.decode(sample) for sample in samples])
        with self.lock, torch.no_grad():
            logits = self.source(x)
            self.computed += len(x)
        return {"predictions": [self.told(row) for row in logits]}

    def told(self, logits: torch.Tensor) -> dict[str, Any]:
        """What is told of one sample."""
        chances = logits.softmax(0)
        if self.options.scores == "label":
            return {"label": self.names[int(chances.argmax())]}
        if self.options.scores == "topk":
            best = chances.topk(TOLD)
            names = [self.names[i] for i in best.indices.tolist()]
            return {"labels": names, "scores": best.values.tolist()}
        return {"scores": (logits if self.options.scores == "logits" else chances).tolist()}


class Handler(BaseHTTPRequestHandler):
    """One connection; ``model`` is set by :func:`serve`."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # a reply leaves in one piece
    model: Model

    def do_GET(self) -> None:
        """How much was computed."""
        model = self.model
        names = ("computed", "requests", "most", "faults")
        told = {name: getattr(model, name) for name in names}
        self.reply(200, json.dumps(told).encode())

    def do_POST(self) -> None:
        """A prediction, or a fault."""
        model = self.model
        request = self.rfile.read(int(self.headers["Content-Length"]))
        with model.lock:
            model.flying += 1
            model.most = max(model.most, model.flying)
        try:
            self.answer(request)
        finally:
            with model.lock:
                model.flying -= 1

    def answer(self, request: bytes) -> None:
        """What is done with one request."""
        options, variable = self.model.options, self.model.options.token_variable
        if variable and self.headers["Authorization"] != f"Bearer {os.environ[variable]}":
            return self.reply(401, b'{"error": "give a token"}')
        fault = self.model.fault()
        if fault in ("429", "500"):
            return self.reply(int(fault), b'{"error": "try again"}')
        try:
            told = json.dumps(self.model.predict(json.loads(request)["inputs"])).encode()
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            return self.reply(400, json.dumps({"error": str(error)}).encode())
        if fault in ("slow", "timeout"):
            time.sleep(options.slow if fault == "slow" else options.hang)
        if fault in ("drop", "timeout"):
            self.close_connection = True
            return None
        return self.reply(200, GARBAGE[self.model.requests % 4] if fault == "garbage" else told)

    def reply(self, status: int, content: bytes) -> None:
        """Send JSON."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a busy server is silent."""


class Server(ThreadingHTTPServer):
    """A thread a connection."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def adapter(source: Source, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """How this server is asked."""
    spec = source.input.json()
    token = options.token_variable
    return {
        "url": url,
        "input": {key: spec[key] for key in ("kind", "shape", "lower", "upper", "rate")},
        "classes": list(source.output.names),
        "scores": options.scores,
        "encode": options.encode,
        "reply": REPLIES[options.scores],
        "batch": options.batch,
        "headers": {"Authorization": f"Bearer ${{{token}}}"} if token else {},
    }


def faults(text: str) -> dict[str, float]:
    """``429=0.1,slow=0.05`` as chances."""
    chances = {kind: float(p) for kind, p in (part.split("=") for part in text.split(",") if part)}
    if not chances.keys() <= set(FAULTS):
        raise argparse.ArgumentTypeError(f"known faults: {', '.join(FAULTS)}")
    return chances


def serve(argv: list[str] | None = None) -> None:
    """Until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="zoo:images")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--scores", choices=REPLIES, default="probabilities")
    parser.add_argument("--encode", choices=("array", "png"), default="array")
    parser.add_argument("--batch", type=int, default=32, help="of the adapter")
    parser.add_argument("--token-variable", help="environment variable that holds the token wanted")
    parser.add_argument("--fail", type=faults, default={}, help="such as 429=0.1,timeout=0.02")
    parser.add_argument("--slow", type=float, default=0.3, help="seconds of a slow reply")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds of a timeout")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--write-adapter", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    source = reprogram.load_source(options.source)
    Handler.model = Model(source, options)
    with Server(("127.0.0.1", options.port), Handler) as server:
        port = server.server_address[1]
        if options.write_adapter:
            told = adapter(source, f"http://127.0.0.1:{port}/predict", options)
            with atomic_write(options.write_adapter) as temporary:
                temporary.write_text(json.dumps(told, indent=2) + "\n")
        print(f"port {port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve()

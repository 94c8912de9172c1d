"""A small server with OpenAI's and Ollama's interfaces for embeddings, started by tests."""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DIM = 32


class TestClock:
    """A clock whose waits take no time, and are recorded."""

    __test__ = False

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def monotonic(self):
        return self.now

    def time(self):
        return 1_700_000_000.0 + self.now

    def wait(self, seconds, stop):
        self.waits.append(seconds)
        self.now += seconds


class EmbeddingServer:
    """Answers with vectors that depend on the text; ``faults`` are played first, one a request.

    A fault takes the handler and the payload, and returns true if it has answered. ``always`` is
    such a function for every request.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.faults = []
        self.always = None
        self.requests = []  # (path, headers, payload)
        self.ports = []  # of the connections that the requests came by
        self.answered = Counter()  # texts with a vector that was sent
        self.running = self.most_running = 0
        self.released = threading.Event()  # ends answers that hang
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.daemon_threads = True
        self.http.owner = self
        self.root = f"http://127.0.0.1:{self.http.server_port}"
        self.base = f"{self.root}/v1"
        self.spec = f"openai:my-model?base_url={self.base}"

    def vectors(self, texts, dim=DIM):
        """Return vectors of bytes of a hash: equal texts have equal ones, others don't."""
        digests = [blake2b(text.encode(), digest_size=DIM).digest() for text in texts]
        numbers = np.frombuffer(b"".join(digests), np.uint8).reshape(len(texts), DIM)
        return (numbers[:, :dim].astype(np.float32) - 127.5) / 256

    @property
    def texts(self):
        """The texts of all requests, in order."""
        return [text for _, _, payload in self.requests for text in payload["input"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer takes 40 ms

    def do_POST(self):
        server = self.server.owner
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((self.path, dict(self.headers), payload))
            server.ports.append(self.client_address[1])
            fault = server.faults.pop(0) if server.faults else server.always
            server.running += 1
            server.most_running = max(server.most_running, server.running)
        try:
            if fault is None or not fault(self, payload):
                self.answer_vectors(payload)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.running -= 1

    def answer_vectors(self, payload):
        server = self.server.owner
        rows = server.vectors(payload["input"], payload.get("dimensions", DIM)).tolist()
        with server.lock:
            server.answered.update(payload["input"])
        if self.path == "/api/embed":
            self.answer({"embeddings": rows})
        elif self.path == "/v1/embeddings":
            data = [{"index": at, "embedding": row} for at, row in enumerate(rows)]
            self.answer({"object": "list", "data": data[::-1]})  # in no order that is promised
        else:
            self.answer({"error": {"message": f"no route {self.path}"}}, 404)

    def answer(self, value, status=200, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in dict(headers).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def refuse(status, message="no", headers=(), **fields):
    """Return a fault: a status with a message in OpenAI's form."""

    def fault(handler, _):
        handler.answer({"error": {"message": message, **fields}}, status, headers)
        return True

    return fault


def reply(value):
    """Return a fault: status 200 with this body; a function makes it from the texts' vectors."""

    def fault(handler, payload):
        vectors = handler.server.owner.vectors(payload["input"]).tolist()
        handler.answer(value(vectors) if callable(value) else value)
        return True

    return fault


def rows(vectors, key="embedding"):
    return {"data": [{"index": at, key: row} for at, row in enumerate(vectors)]}


def drop(handler, _):
    """End the connection without an answer."""
    handler.close_connection = True
    return True


def hang(handler, _):
    """Answer only when the test is over."""
    handler.server.owner.released.wait(30)
    handler.close_connection = True
    return True


@contextmanager
def running_server():
    server = EmbeddingServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.http.shutdown()
        thread.join()
        server.http.server_close()

"""Encoders of services, against a server on this machine."""

import base64
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from itertools import count

import numpy as np
import pytest

from commands import command
from embedding_server import DIM, TestClock, drop, hang, refuse, reply, rows, running_server
from twofold import Index, Metric, Retriever, ServiceEncoder
from twofold.encoders import ServiceModel, ServiceOptions, TowersEncoder, encoder_from_name
from twofold.encoders.model_spec import absolute_spec, find_moved_models
from twofold.errors import (
    EncoderMismatchError,
    EncoderNotFoundError,
    InputError,
    ServiceError,
    TwofoldError,
)

KEY = "sk-test-0123456789abcdef"
TEXTS = [f"passage {number} of a few" for number in range(150)]


@pytest.fixture
def server(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running_server() as running:
        yield running


def encoder(server, clock=None, **options):
    chosen = ServiceOptions(**options)
    return ServiceEncoder(server.spec, options=chosen, clock=clock or TestClock())


# Vectors, batches and concurrency


def test_vectors_come_in_the_order_of_the_texts(server):
    """Eight requests at once, of which the first is answered last."""
    started, others = threading.Barrier(8), threading.Semaphore(0)

    def together(handler, payload):
        started.wait(30)
        if payload["input"][0] == TEXTS[0]:
            assert all(others.acquire(timeout=30) for _ in range(7))
            return False
        handler.answer_vectors(payload)
        others.release()
        return True

    server.faults = [together] * 8
    made = encoder(server, batch_texts=10, concurrency=8).encode_passages(TEXTS[:80])
    np.testing.assert_array_equal(made, server.vectors(TEXTS[:80]))
    assert made.dtype == np.float32
    assert server.most_running == 8
    assert all(path == "/v1/embeddings" for path, *_ in server.requests)


def test_no_more_requests_at_once_than_allowed(server):
    encoder(server, batch_texts=2, concurrency=3).encode_passages(TEXTS)
    assert len(server.requests) == 75
    assert server.most_running <= 3


def test_batches_are_limited_by_count_and_by_size(server):
    texts = ["a" * 60, "b" * 60, "c", "d", "e", "f" * 500, "g"]
    encoder(server, batch_texts=3, batch_characters=100).encode_passages(texts)
    sent = sorted([text[0] for text in payload["input"]] for *_, payload in server.requests)
    assert sent == [["a"], ["b", "c", "d"], ["e"], ["f"], ["g"]]


def test_prompts_dimensions_and_limits_are_those_of_the_spec(server):
    spec = server.spec + "&dim=8&query_prompt=q%3A%20&passage_prompt=p%3A%20&max_characters=12"
    made = encoder_from_name(spec)
    assert made.encode_queries(["one"]).tolist() == server.vectors(["q: one"], 8).tolist()
    assert made.encode_passages(["a longer text"]).tolist() == (
        server.vectors(["p: a longer "], 8).tolist()
    )
    assert made.count_truncated(["a longer text", "short", "123456789", "1234567890"]) == 2
    assert made.identity.dim == 8
    payload = server.requests[0][2]
    assert payload == {
        "model": "my-model",
        "input": ["q: one"],
        "dimensions": 8,
        "encoding_format": "float",
    }


def test_blank_texts_are_not_sent_and_have_a_direction(server):
    made = encoder(server).encode_passages(["", "x", "  "])
    assert server.texts == ["x"]
    np.testing.assert_array_equal(made[1], server.vectors(["x"])[0])
    np.testing.assert_allclose(np.linalg.norm(made[[0, 2]], axis=1), 1, atol=1e-6)
    assert encoder(server).encode_passages([]).shape == (0, DIM)
    with pytest.raises(InputError, match="one string"):
        encoder(server).encode_passages("x")


def test_base64_and_answers_without_index_are_read(server):
    def encoded(vectors):
        packed = [base64.b64encode(np.float32(row).tobytes()).decode() for row in vectors]
        return rows(packed)

    def without(vectors):
        return {"data": [{"embedding": row} for row in vectors]}

    server.faults = [reply(encoded), reply(without)]
    made = encoder(server)
    for _ in range(2):
        np.testing.assert_array_equal(made.encode_queries(TEXTS[:3]), server.vectors(TEXTS[:3]))


# Faults that pass


NAN = [float("nan")] * DIM
BROKEN = {
    "not JSON": reply(b"{"),
    "no list 'data'": reply({"error": "later"}),
    "2 vectors for 3 texts": reply(lambda v: rows(v[:2])),
    "4 vectors for 3 texts": reply(lambda v: rows([*v, v[0]])),
    "NaN or an infinite": reply(lambda v: rows([*v[:2], NAN])),
    "an infinite value": reply(lambda v: rows([*v[:2], [1e300] * DIM])),
    "hold no numbers": reply(lambda v: rows([*v[:2], None])),
    "or hold no numbers": reply(lambda v: rows([*v[:2], [None] * DIM])),
    "different lengths": reply(lambda v: rows([*v[:2], v[2][:5]])),
    "lengths, or": reply(lambda v: rows(["%%%"] * 3)),
    "without 'embedding'": reply(lambda v: rows(v, key="vector")),
    "missing or repeated": reply(lambda v: {"data": [rows(v)["data"][0]] * 3}),
    "status 500: out of memory": refuse(500, "out of memory"),
    "status 503: no": refuse(503),
    "status 429: slow down": refuse(429, "slow down"),
    "status 408: no": refuse(408),
    "RemoteProtocolError": drop,
    "within 0.3 seconds": hang,
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_fault_that_passes_is_tried_again(server, message):
    clock = TestClock()
    made = encoder(server, clock, tries=3, backoff=2.0, timeout=0.3 if "0.3" in message else 30)
    server.faults = [BROKEN[message]] * 2
    np.testing.assert_array_equal(made.encode_queries(TEXTS[:3]), server.vectors(TEXTS[:3]))
    assert len(server.requests) == 3
    first, second = clock.waits
    assert 0 <= first <= 2
    assert 0 <= second <= 4
    server.faults = [BROKEN[message]] * 3
    with pytest.raises(ServiceError, match=f"failed 3 times, at last: .*{message}"):
        made.encode_queries(TEXTS[:3])
    assert len(server.requests) == 6


def test_waits_grow_at_random_up_to_the_longest(server):
    server.always = refuse(500)
    clock = TestClock()
    made = encoder(server, clock, tries=8, backoff=1, max_wait=8)
    for _ in range(20):
        with pytest.raises(ServiceError):
            made.encode_queries(["x"])
    waits = np.array(clock.waits).reshape(20, 7)
    limits = np.array([1, 2, 4, 8, 8, 8, 8])
    assert (waits <= limits).all()
    assert (waits.max(axis=0) > limits / 2).all()  # fails once in 10^5 runs
    assert (waits.min(axis=0) < limits / 2).all()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after-ms": "1500", "Retry-After": "7"}, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "2.5"}, 2.5),
    ],
)
def test_the_service_says_how_long_to_wait(server, headers, seconds):
    clock = TestClock()
    server.faults = [refuse(429, "slow", headers)]
    encoder(server, clock, backoff=1000).encode_queries(["x"])
    assert clock.waits == [pytest.approx(seconds)]


def test_the_service_says_when_to_come_again(server):
    """By its own clock, which the header Date tells."""
    clock = TestClock()
    moment = formatdate(time.time() + 30, usegmt=True)
    server.faults = [refuse(429, "slow", {"Retry-After": moment})]
    encoder(server, clock).encode_queries(["x"])
    assert clock.waits == [pytest.approx(30, abs=2)]


@pytest.mark.parametrize("text", ["0", "-5", "nan", "inf", "soon", "Mon, 99 Foo 2020"])
def test_a_wait_that_says_nothing_is_one_by_chance(server, text):
    clock = TestClock()
    server.faults = [refuse(429, "slow", {"Retry-After": text})] * 3
    encoder(server, clock, backoff=1).encode_queries(["x"])
    assert len(clock.waits) == 3
    assert all(0 <= wait <= limit for wait, limit in zip(clock.waits, (1, 2, 4), strict=True))


def test_a_wait_holds_all_requests_back(server):
    clock = TestClock()
    server.faults = [refuse(429, "slow", {"Retry-After": "20"})]
    made = encoder(server, clock)
    made.encode_queries(["x"])
    assert clock.now == pytest.approx(1020)
    made.encode_queries(["x"])  # and none afterwards
    assert clock.now == pytest.approx(1020)


def test_a_wait_that_is_too_long_ends_the_call(server):
    server.faults = [refuse(429, "day is over", {"Retry-After": "3600"})]
    with pytest.raises(ServiceError, match=r"asks to wait 3,600 seconds.*\(60\).*day is over"):
        encoder(server).encode_queries(["x"])
    assert len(server.requests) == 1


def test_requests_are_spread_over_the_minute(server):
    clock = TestClock()
    made = encoder(server, clock, requests_per_minute=30, batch_texts=1, concurrency=1)
    made.encode_passages(TEXTS[:5])
    assert clock.now == pytest.approx(1000 + 4 * 2)
    assert len(server.requests) == 5


# Faults that stay


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refuse(400, "unknown field 'x'"), "refuses the request .status 400: unknown field 'x'"),
        (refuse(401, "bad key"), "401: bad key.*set the environment variable OPENAI_API_KEY"),
        (refuse(403, "not yours"), "403: not yours.*OPENAI_API_KEY"),
        (refuse(404, "no such model"), "404: no such model"),
        (refuse(429, "pay", code="insufficient_quota"), "429: pay"),
        (refuse(500, "no", {"x-should-retry": "false"}), "500: no"),
        (refuse(302, "", {"Location": "http://127.0.0.1:9/"}), "status 302.*it redirects"),
    ],
)
def test_a_refusal_is_raised_at_once(server, fault, message):
    server.always = fault
    with pytest.raises(ServiceError, match=message):
        encoder(server).encode_queries(["x"])
    assert len(server.requests) == 1


def test_messages_are_shortened_and_on_one_line(server):
    server.faults = [refuse(400, "a\n\x1b[2J" + "b" * 5000)]
    with pytest.raises(ServiceError) as raised:
        encoder(server).encode_queries(["x"])
    assert "status 400: a [2Jbbb" in str(raised.value)
    assert len(str(raised.value)) < 500


def test_one_refusal_ends_the_others(server):
    server.always = refuse(401)
    with pytest.raises(ServiceError):
        encoder(server, batch_texts=1, concurrency=2).encode_passages(TEXTS)
    assert len(server.requests) < 75


def at_most(texts, longest, status=400, message="batch size is too large"):
    def fault(handler, payload):
        if len(payload["input"]) <= texts and max(map(len, payload["input"])) <= longest:
            return False
        return refuse(status, message)(handler, payload)

    return fault


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_too_large_is_sent_in_parts(server, status):
    server.always = at_most(10, 1000, status)
    made = encoder(server, concurrency=1)
    np.testing.assert_array_equal(made.encode_passages(TEXTS), server.vectors(TEXTS))
    assert max(server.answered.values()) == 1
    before = len(server.requests)
    made.encode_passages(TEXTS)  # and it is remembered
    assert all(len(payload["input"]) <= 10 for *_, payload in server.requests[before:])


@pytest.mark.parametrize("status", [400, 500])
def test_a_text_that_is_too_long_is_named(server, status):
    server.always = at_most(99, 500, status, "maximum context length is 100 tokens")
    texts = [*TEXTS[:20], "endless " * 100, *TEXTS[20:40]]
    with pytest.raises(
        ServiceError, match=r"context length.*text of 800 characters \('endless endless.*max_charac"
    ):
        encoder(server).encode_passages(texts)
    cut = ServiceEncoder(server.spec + "&max_characters=500")
    assert cut.encode_passages(texts).shape == (41, DIM)
    assert cut.count_truncated(texts) == 1


def test_dimensions_stay_those_that_they_were(server):
    made = encoder(server)
    made.encode_queries(["x"])
    server.always = reply(lambda v: rows([row[:7] for row in v]))
    with pytest.raises(ServiceError, match="vectors of 7 dimensions; 32 before"):
        made.encode_queries(["x"])
    with pytest.raises(ServiceError, match="of 7 dimensions; dim=8 was asked for"):
        ServiceEncoder(server.spec + "&dim=8").encode_queries(["x"])


def test_a_server_that_is_not_there(server):
    address = server.base
    server.http.socket.close()  # nobody listens any more
    made = ServiceEncoder(
        ServiceModel("openai", "m", base_url=address), options=ServiceOptions(tries=2, backoff=0)
    )
    with pytest.raises(ServiceError, match="failed 2 times, at last: ConnectError"):
        made.encode_queries(["x"])


def test_what_is_missing_is_named_with_its_pip_command(server):
    script = (
        "import sys; sys.modules['httpx'] = None\n"
        "from twofold import ServiceEncoder\n"
        f"encoder = ServiceEncoder({server.spec!r})\n"
        "print(encoder.name)\nencoder.encode_queries(['x'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("openai:my-model")
    assert "MissingExtraError" in done.stderr
    assert "pip install 'twofold[services]'" in done.stderr
    assert server.requests == []


def test_httpx_is_imported_when_a_service_is_asked():
    script = (
        "import sys, twofold; twofold.ServiceEncoder('openai:m').name\n"
        "print('httpx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


# Keys


def walk(error):
    """Return the texts of an exception and of all that it is chained to, with what they hold."""
    found, todo = [], [error]
    seen = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        held = dict(vars(one))
        request = getattr(one, "_request", None)
        found += [str(one), repr(one), repr(one.args), repr(held)]
        if request is not None:
            found.append(repr(request.headers.raw))
        todo += [one.__cause__, one.__context__]
    return "\n".join(found)


def echo(status, where="message"):
    """Return a fault: the server sends back the key that it was given."""

    def fault(handler, _):
        key = handler.headers["Authorization"].removeprefix("Bearer ")
        body = {"error": {where: f"wrong key {key}, or {handler.headers['Authorization']}"}}
        handler.answer(body if where == "message" else f"oops {key}".encode(), status)
        return True

    return fault


FAULTS = [
    echo(401),
    echo(400),
    echo(500),
    echo(500, "plain"),
    echo(200),
    drop,
    hang,
    refuse(429, "x", {"Retry-After": "999"}),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_and_no_log_has_the_key(server, caplog, capfd, fault):
    caplog.set_level(logging.DEBUG)
    server.always = fault
    made = encoder(server, tries=2, timeout=0.3 if fault is hang else 30)
    with pytest.raises(ServiceError) as raised:
        made.encode_queries(["x"])
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    captured = capfd.readouterr()
    texts = [walk(raised.value), caplog.text, captured.out, captured.err]
    for text in [*texts, pickle.dumps(raised.value).decode("latin-1")]:
        assert KEY not in text
    if fault in FAULTS[:4]:
        assert "***" in str(raised.value)


def test_no_object_and_no_file_has_the_key(server, tmp_path):
    made = encoder(server)
    with Index.open(tmp_path / "i", encoder=made) as index:
        index.upsert(TEXTS)
        texts = [repr(made), str(vars(made)), str(vars(made._client)), repr(made.options)]
        texts += [str(index.last_settings), repr(index), made.name, str(made.identity)]
        packed = [pickle.dumps(made), pickle.dumps(index)]
    assert all(KEY not in text for text in texts)
    assert all(KEY.encode() not in data for data in packed)
    files = [path for path in (tmp_path / "i").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert all(KEY.encode() not in path.read_bytes() for path in files)
    again = pickle.loads(packed[0])
    np.testing.assert_array_equal(again.encode_queries(["x"]), server.vectors(["x"]))


def test_the_key_is_read_for_each_request(server, monkeypatch):
    made = encoder(server)
    made.encode_queries(["x"])
    monkeypatch.setenv("OPENAI_API_KEY", " another \n")
    made.encode_queries(["x"])
    monkeypatch.delenv("OPENAI_API_KEY")
    made.encode_queries(["x"])  # a server on this machine may need none
    sent = [headers.get("Authorization") for _, headers, _ in server.requests]
    assert sent == [f"Bearer {KEY}", "Bearer another", None]


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\nb"])
def test_a_key_that_cannot_be_sent_is_not_shown(server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ServiceError, match="OPENAI_API_KEY has a blank, a control") as raised:
        encoder(server).encode_queries(["x"])
    assert key not in walk(raised.value)
    assert server.requests == []


def test_openai_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ServiceError, match="at https://api.openai.com/v1 needs a key.*OPENAI_API"):
        encoder_from_name("openai:text-embedding-3-small").encode_queries(["x"])


def test_another_variable_may_hold_the_key(server, monkeypatch):
    made = encoder(server, key_variable="MY_KEY")
    with pytest.raises(ServiceError, match="needs a key: set the environment variable MY_KEY"):
        made.encode_queries(["x"])
    monkeypatch.setenv("MY_KEY", "mine")
    made.encode_queries(["x"])
    assert server.requests[0][1]["Authorization"] == "Bearer mine"


@pytest.mark.parametrize(
    ("address", "base", "options", "sent"),
    [
        ("https://api.openai.com/v1", None, {}, True),
        ("http://api.openai.com/v1", None, {}, False),
        ("https://api.openai.com.evil.example/v1", None, {}, False),
        ("https://evil.example/v1", None, {}, False),
        ("https://evil.example/v1", "https://mine.example/v1", {}, False),
        ("https://mine.example/v2", "https://mine.example/v1", {}, True),
        ("https://mine.example:444/v1", "https://mine.example/v1", {}, False),
        ("https://mine.example/v1", None, {"key_variable": "MY_KEY"}, True),
        ("https://mine.example/v1", None, {"base_url": "https://mine.example/v1"}, True),
        ("http://localhost:8000/v1", None, {}, True),
        ("http://[::1]:8000/v1", None, {}, True),
        ("http://localhost.evil.example/v1", None, {}, False),
    ],
)
def test_the_key_goes_to_no_address_that_only_a_spec_names(
    monkeypatch, address, base, options, sent
):
    """A spec may come with an index of somebody else."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if base is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", base)
    assert ServiceOptions(**options).may_send_key(address) is sent


def test_a_server_without_the_key_says_why(monkeypatch, server):
    """The machine's own name isn't one of those that are trusted."""
    monkeypatch.setattr("twofold.encoders.service_model._LOOPBACK", ())
    server.always = refuse(401, "who are you")
    with pytest.raises(ServiceError, match="no key was sent.*OPENAI_BASE_URL.*key_variable"):
        encoder(server).encode_queries(["x"])
    assert "Authorization" not in server.requests[0][1]
    monkeypatch.setenv("OPENAI_BASE_URL", server.base)
    with pytest.raises(ServiceError, match="set the environment variable OPENAI_API_KEY"):
        encoder(server).encode_queries(["x"])
    assert server.requests[1][1]["Authorization"] == f"Bearer {KEY}"


def test_a_redirect_takes_no_key_elsewhere(server):
    with running_server() as other:
        location = {"Location": other.base + "/embeddings"}
        server.always = refuse(307, "moved", location)
        with pytest.raises(ServiceError, match="status 307.*pass the address"):
            encoder(server).encode_queries(["x"])
        assert other.requests == []


def test_a_proxy_is_not_asked_for_this_machine(server, monkeypatch):
    with running_server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.root)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        encoder(server).encode_queries(["x"])
        assert (len(server.requests), len(proxy.requests)) == (1, 0)


SECRET = "hunter2secret"
WITH_SECRETS = [
    f"openai:m?base_url=http://me:{SECRET}@localhost/v1",
    f"openai:m?base_url=http%3A%2F%2F{SECRET}%40localhost%2Fv1",
    f"openai:m?base_url=http://localhost/v1?key={SECRET}",
    f"openai:m?dim=3&api_key={SECRET}",
    f"openai:m?dim=3&base_url=http://a:b&{SECRET}1@host",
    f"ollama:m?api_key={SECRET}",
    f"openai:m | ollama:m?base_url=http://me:{SECRET}@localhost",
    f"azure:m?api_key={SECRET}",
]


@pytest.mark.parametrize("spec", WITH_SECRETS)
def test_a_spec_with_a_secret_is_refused_without_showing_it(tmp_path, spec):
    with Index.open(tmp_path / "words", encoder=None) as words:
        words.upsert(["x"])
    for use in (
        lambda: encoder_from_name(spec),
        lambda: Index.open(tmp_path / "new", encoder=spec),
        lambda: Index.open(tmp_path / "words", encoder=spec),
    ):
        with pytest.raises(TwofoldError) as raised:
            use()
        if not spec.startswith("azure"):
            assert SECRET not in walk(raised.value)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError) as raised:
        encoder_from_name(spec)
    assert SECRET not in walk(raised.value)


def test_addresses_from_elsewhere_show_no_secret_either(monkeypatch):
    address = f"http://me:{SECRET}@localhost"
    for make in (
        lambda: ServiceOptions(base_url=address),
        lambda: ServiceModel("openai", "m", base_url=address),
    ):
        with pytest.raises(InputError, match="base_url must be") as raised:
            make()
        assert SECRET not in walk(raised.value)
    for variable, spec in [("OPENAI_BASE_URL", "openai:m"), ("OLLAMA_HOST", "ollama:m")]:
        monkeypatch.setenv(variable, address)
        with pytest.raises(InputError, match=f"{variable} must be") as raised:
            encoder_from_name(spec).encode_queries(["x"])
        assert SECRET not in walk(raised.value)


# Specs


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("openai:", "model must be a string that isn't empty"),
        ("openai:?dim=3", "model must be"),
        ("openai:m?", "no options after"),
        ("openai:m?dim=0", "dim must be an integer >= 1"),
        ("openai:m?dim=x", "dim must be an integer >= 1, got 'x'"),
        ("openai:m?pooling=cls", "unknown option 'pooling'.*use one of base_url"),
        ("openai:m?quer_prompt=x", "did you mean 'query_prompt'"),
        ("openai:m?dim=3&dim=3", "is repeated"),
        ("openai:m?base_url=localhost:8000", "needs http:// or https://"),
        ("openai:m?base_url=http://localhost:port", "valid port"),
        ("openai:m?base_url=file:///etc/passwd", "needs http"),
        ("openai:m?base_url=http://a b/v1", "a blank"),
        ("opanai:m", "unknown service 'opanai'.*did you mean 'openai'"),
        ("OpenAI:m", "unknown service 'OpenAI'.*did you mean 'openai'"),
        ("openai:a | openai:b | openai:c", "must have 2 towers"),
    ],
)
def test_bad_specs(tmp_path, spec, message):
    with pytest.raises(InputError, match=message):
        encoder_from_name(spec)
    with pytest.raises(InputError, match=message):
        Index.open(tmp_path / "i", encoder=spec)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"tries": 0},
        {"batch_texts": True},
        {"concurrency": 1.5},
        {"backoff": -1},
        {"key_variable": ""},
        {"requests_per_minute": 0},
    ],
)
def test_bad_options(values):
    with pytest.raises(InputError, match=f"{next(iter(values))} must be"):
        ServiceOptions(**values)
    with pytest.raises(InputError, match="options must be a ServiceOptions, got dict"):
        ServiceEncoder("openai:m", options=values)
    with pytest.raises(InputError, match="'openai:MODEL'"):
        ServiceEncoder("all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    "model",
    [
        ServiceModel("openai", "text-embedding-3-small"),
        ServiceModel("ollama", "nomic-embed-text:v1.5", query_prompt="search: ?&=|%ü"),
        ServiceModel("openai", "org/a?b|c%d", "http://h:1/v1", 5, "", " | ", 9),
    ],
)
def test_a_spec_makes_the_same_model_again(model):
    assert ServiceModel.from_spec(model.spec) == model
    assert encoder_from_name(model.spec).name == model.spec
    assert ServiceEncoder(model).name == model.spec


def test_a_spec_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("openai:m", "openai:m?dim=3"):
        (tmp_path / name).mkdir()
        assert absolute_spec(name) == name
        assert find_moved_models(name, str(tmp_path / "a"), tmp_path / "b") == name
        assert isinstance(encoder_from_name(name), ServiceEncoder)
    (tmp_path / "local").mkdir()
    both = absolute_spec("local | openai:m")
    assert both == f"{tmp_path / 'local'} | openai:m"
    with pytest.raises(EncoderNotFoundError):
        encoder_from_name("./openai:n")


def test_the_fingerprint_is_of_what_makes_the_vectors():
    base = ServiceModel("openai", "m")
    same = [
        ServiceModel("openai", "m", base_url="http://x"),
        ServiceModel("openai", "m", max_characters=3, query_prompt=""),
    ]
    others = [
        ServiceModel("ollama", "m"),
        ServiceModel("openai", "n"),
        ServiceModel("openai", "m", dim=3),
        ServiceModel("openai", "m", query_prompt="a"),
        ServiceModel("openai", "m", passage_prompt="a"),
    ]
    assert {model.fingerprint for model in same} == {base.fingerprint}
    assert len({model.fingerprint for model in [base, *others]}) == 6


# Ollama


def test_ollama(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", server.root)
    made = encoder_from_name("ollama:nomic-embed-text?dim=8")
    assert made.encode_passages(TEXTS[:3]).tolist() == server.vectors(TEXTS[:3], 8).tolist()
    path, headers, payload = server.requests[0]
    assert path == "/api/embed"
    assert "Authorization" not in headers
    assert payload == {
        "model": "nomic-embed-text",
        "input": TEXTS[:3],
        "dimensions": 8,
        "truncate": False,
    }
    server.faults = [reply({"embeddings": []}), None]
    made = ServiceEncoder("ollama:m", clock=TestClock())
    assert made.encode_queries(["x"]).shape == (1, DIM)


def test_ollama_says_what_to_start(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", server.root)
    options = ServiceOptions(tries=2, backoff=0)
    made = ServiceEncoder("ollama:some-model", options=options)

    def missing(handler, _):
        handler.answer({"error": 'model "some-model" not found'}, 404)
        return True

    server.faults = [missing]
    with pytest.raises(ServiceError, match="not found.*'ollama pull some-model'"):
        made.encode_queries(["x"])
    made.close()
    server.http.socket.close()
    with pytest.raises(ServiceError, match="ConnectError.*'ollama serve'.*'ollama pull some-mo"):
        made.encode_queries(["x"])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":5678", "http://127.0.0.1:5678"),
        ("1.2.3.4:5678", "http://1.2.3.4:5678"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:5678/path/", "https://1.2.3.4:5678/path"),
        ("example.com", "http://example.com:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::1]:5678", "http://[::1]:5678"),
        (" 'example.com' ", "http://example.com:11434"),
    ],
)
def test_the_host_is_read_as_ollama_reads_it(monkeypatch, host, address):
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert ServiceModel("ollama", "m").address() == address


# In an index


def test_an_index_stores_the_spec_and_asks_when_it_encodes(server, tmp_path):
    with Index.open(tmp_path / "i", encoder=server.spec) as index:
        assert server.requests == []
        index.upsert(TEXTS[:10])
        assert index.metric is Metric.COSINE
        assert index.dim == DIM
    assert len(server.requests) == 3  # the dimensions, fixed sentences, the passages
    with Index.open(tmp_path / "i") as index:
        assert index.encoder_name == server.spec
        assert len(Retriever(index, mode="lexical").retrieve("passage")) == 10
        assert len(server.requests) == 3
        hits = Retriever(index, mode="dense", k=1).retrieve(TEXTS[7])
        assert hits[0].passage.text == TEXTS[7]
        assert len(server.requests) == 5  # fixed sentences, the query
        Retriever(index, mode="dense").retrieve("more")
        assert len(server.requests) == 6


def test_another_model_is_refused_before_it_is_asked(server, tmp_path):
    with Index.open(tmp_path / "i", encoder=server.spec) as index:
        index.upsert(TEXTS[:10])
    before = len(server.requests)
    other = server.spec.replace("my-model", "other")
    for spec in (other, server.spec + "&dim=8", f"{other} | {other}"):
        with pytest.raises(EncoderMismatchError, match=r"'openai:my-model.*\(32 dimensions.*other"):
            Index.open(tmp_path / "i", encoder=spec.replace("my-model", "another"))
    with running_server() as moved:  # the same model elsewhere
        with Index.open(tmp_path / "i", encoder=moved.spec) as index:
            assert moved.requests == []
            assert len(Retriever(index, mode="dense").retrieve(TEXTS[0])) == 10
            assert len(moved.requests) == 2
        moved.vectors = lambda texts, dim=DIM: server.vectors([t + "?" for t in texts], dim)
        with Index.open(tmp_path / "i", encoder=moved.spec) as index:
            with pytest.raises(EncoderMismatchError, match="fixed sentences differ"):
                Retriever(index, mode="dense").retrieve(TEXTS[0])
    assert len(server.requests) == before


def test_vectors_that_differ_a_little_are_those_of_the_model(server, tmp_path):
    """As those of services do, whose batches run on different machines."""
    clean, drawn = server.vectors, np.random.default_rng(0)

    def noisy(texts, dim=DIM):
        vectors = clean(texts, dim)
        return vectors + np.float32(1e-4) * drawn.standard_normal(vectors.shape, np.float32)

    server.vectors = noisy
    with Index.open(tmp_path / "i", encoder=server.spec) as index:
        index.upsert(TEXTS[:10])
    with Index.open(tmp_path / "i") as index:  # a warning would be an error
        assert Retriever(index, mode="dense", k=1).retrieve(TEXTS[3])[0].passage.text == TEXTS[3]


def test_two_towers(server, tmp_path):
    small = server.spec.replace("my-model", "small")
    towers = TowersEncoder(ServiceEncoder(small), ServiceEncoder(server.spec))
    with Index.open(tmp_path / "i", encoder=towers) as index:
        index.upsert(TEXTS[:3])
    with Index.open(tmp_path / "i") as index:
        Retriever(index, mode="dense").retrieve("x")
        assert server.requests[-1][2]["model"] == "small"
        assert isinstance(index.encoder, TowersEncoder)
    before = len(server.requests)
    with Index.open(tmp_path / "i", encoder=f"{small} | {server.spec}"):
        assert len(server.requests) == before
    assert towers.identity.fingerprint == towers.known_fingerprint
    with pytest.raises(InputError, match="doesn't match the passage tower"):
        encoder_from_name(f"hashing | {server.spec}").encode_queries(["x"])


COUNT = 20_000
PASSAGES = [{"id": str(at), "text": f"text {at} of many"} for at in range(COUNT)]


def interrupting(after):
    """Return a function for ``upsert(progress=...)`` that is a Ctrl-C after so many passages.

    It comes between two batches of 256: what is encoded of a batch under way isn't stored.
    """

    def progress(done):
        if done >= after and done % 256 == 0:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_upsert_encodes_nothing_twice_when_repeated(server, tmp_path):
    """20,000 passages: stopped by Ctrl-C, then by a server that dies, then to the end."""
    spec = server.spec + "&query_prompt=query:"  # what is measured at the end are queries
    with Index.open(tmp_path / "i", encoder=spec) as index, pytest.raises(KeyboardInterrupt):
        index.upsert(PASSAGES, progress=interrupting(5000))
    with Index.open(tmp_path / "i") as index:
        first = len(index)
        assert 5000 <= first < 5256
        numbers = count()

        def dying(handler, payload):
            return next(numbers) > 100 and refuse(503, "gone")(handler, payload)

        server.always = dying
        index.encoder._client = encoder(server)._client  # the same service by a clock of the test
        with pytest.raises(ServiceError, match="failed 6 times, at last: status 503: gone"):
            index.upsert(PASSAGES)
        second = len(index)
        stored = {passage.text for passage in index}
        assert first + 5000 < second < COUNT
    sent_twice = {text for text, times in server.answered.items() if times > 1}
    assert not sent_twice & {passage["text"] for passage in PASSAGES}
    server.always, server.answered = None, type(server.answered)()
    with Index.open(tmp_path / "i") as index:
        result = index.upsert(PASSAGES)
        assert (result.unchanged, result.added) == (second, COUNT - second)
        assert len(index) == COUNT
    assert not stored & server.answered.keys()
    encoded = [text for text in server.answered if text.startswith("text ")]
    assert len(encoded) == COUNT - second
    assert max(server.answered[text] for text in encoded) == 1


def test_what_a_stopped_batch_may_cost(server, tmp_path):
    """Answers of the batch that was under way are lost: fewer than 256 texts."""
    with Index.open(tmp_path / "i", encoder=server.spec + "&query_prompt=query:") as index:
        index.upsert(TEXTS[:1])
        numbers = count()
        server.always = lambda *given: next(numbers) >= 7 and refuse(400)(*given)
        with pytest.raises(ServiceError):
            index.upsert(PASSAGES[:2000])
        stored = len(index) - 1
        server.always = None
        index.upsert(PASSAGES[:2000])
    twice = [text for text, times in server.answered.items() if times > 1]
    assert stored == 256
    assert len([text for text in twice if text.startswith("text ")]) < 256


def test_reencoding_for_a_service_is_resumed_though_its_vectors_differ_a_little(server, tmp_path):
    clean, drawn = server.vectors, np.random.default_rng(0)

    def noisy(texts, dim=DIM):
        vectors = clean(texts, dim)
        return vectors + np.float32(1e-4) * drawn.standard_normal(vectors.shape, np.float32)

    server.vectors = noisy
    spec = server.spec + "&query_prompt=query:"
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert(PASSAGES[:1000])
        with pytest.raises(KeyboardInterrupt):
            index.reencode(spec, progress=interrupting(500))
        index.reencode(spec)
        assert index.encoder_name == ServiceModel.from_spec(spec).spec
    times = [server.answered[passage["text"]] for passage in PASSAGES[:1000]]
    assert set(times) == {1}


def test_ctrl_c_ends_waits(server):
    """The main thread is interrupted while others wait an hour for their turn."""
    waiting, ended = threading.Event(), []

    class Interrupting(TestClock):
        def wait(self, seconds, stop):
            if not waiting.is_set():
                waiting.set()
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            ended.append(stop.wait(20))

    server.always = refuse(429, "later", {"Retry-After": "3600"})
    made = encoder(server, Interrupting(), max_wait=4000, batch_texts=1, concurrency=2)
    # A process that was started in the background may ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            made.encode_passages(TEXTS[:10])
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended
    assert all(ended)  # none waited to its end
    assert len(server.requests) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_connections_of_its_own(server):
    made = encoder(server)
    made.encode_queries(["parent"])
    child = os.fork()
    if child == 0:
        try:
            same = np.array_equal(made.encode_queries(["child"]), server.vectors(["child"]))
            os._exit(0 if same else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    made.encode_queries(["parent again"])
    assert server.texts == ["parent", "child", "parent again"]
    before, child, after = server.ports
    assert before == after != child


# On the command line


def test_index_and_search_from_the_command_line(server, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    records = [{"_id": str(at), "text": text} for at, text in enumerate(TEXTS[:60])]
    corpus.write_text("\n".join(json.dumps(record) for record in records))
    spec = server.spec + "&query_prompt=query:"
    arguments = ("index", corpus, "--to", tmp_path / "i", "--encoder", spec)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "60 passages (60 added" in done.stdout
    assert max(server.answered[text] for text in TEXTS[:60]) == 1
    again = command(*arguments)
    assert "60 unchanged" in again.stdout
    assert max(server.answered[text] for text in TEXTS[:60]) == 1
    found = command("search", tmp_path / "i", "passage 7", "-k", "1", "--json")
    assert json.loads(found.stdout)["hits"][0]["id"] == "7", found.stdout
    assert server.texts[-1] == "query:passage 7"
    server.always = echo(401)
    refused = command("search", tmp_path / "i", "passage 7")
    assert refused.returncode == 2
    assert "OPENAI_API_KEY" in refused.stderr
    for done in (again, found, refused):
        assert KEY not in done.stdout + done.stderr

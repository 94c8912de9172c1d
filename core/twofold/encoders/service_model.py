"""Models of embedding services: their specs, their addresses, and how they are asked."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import xxhash

from twofold.encoders.model_spec import (
    SERVICE_OPTIONS,
    SERVICES,
    check_no_secrets,
    format_spec,
    is_service,
    split_spec,
)
from twofold.errors import InputError
from twofold.validation import check_choice, check_integer, check_number

OPENAI_KEY = "OPENAI_API_KEY"
OPENAI_BASE = "OPENAI_BASE_URL"
OLLAMA_HOST = "OLLAMA_HOST"
_OPENAI_URL = "https://api.openai.com/v1"
_OLLAMA_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """A model of an embedding service, and the options that determine its vectors.

    Args:
        provider: ``"openai"`` for OpenAI and servers with the same interface, or ``"ollama"``.
        model: The model's name at the service.
        base_url: The service's address, without ``/embeddings`` or ``/api/embed``. Default:
            ``OPENAI_BASE_URL`` or ``https://api.openai.com/v1``; for Ollama ``OLLAMA_HOST`` or
            ``http://127.0.0.1:11434``.
        dim: The number of dimensions to ask for, for models that can shorten their vectors.
        query_prompt: Text put before each query.
        passage_prompt: Text put before each passage.
        max_characters: The most characters sent of a text, prompt included. Longer texts are cut.
            It isn't part of the fingerprint, so an index can be opened with another value.

    Example:
        >>> from twofold.encoders import ServiceModel
        >>> ServiceModel("ollama", "nomic-embed-text", query_prompt="search_query: ").spec
        'ollama:nomic-embed-text?query_prompt=search_query%3A%20'
    """

    provider: str
    model: str
    base_url: str | None = None
    dim: int | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    max_characters: int | None = None

    def __post_init__(self) -> None:
        check_choice("provider", self.provider, SERVICES)
        for name in ("model", "query_prompt", "passage_prompt"):
            _check_string(name, getattr(self, name), optional=name != "model")
        if self.base_url is not None:
            check_base_url("base_url", self.base_url)
        for name in ("dim", "max_characters"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))

    @classmethod
    def from_spec(cls, spec: str) -> "ServiceModel":
        """Return the model that a spec such as ``openai:model?dim=256`` names.

        Raises InputError if the spec is malformed, or has an unknown option or a password.
        """
        if not isinstance(spec, str) or not is_service(spec):
            raise InputError(
                f"a service's model must be named as in 'openai:MODEL' or 'ollama:MODEL', "
                f"got {spec!r:.80}"
            )
        check_no_secrets(spec)
        name, values = split_spec(
            spec, SERVICE_OPTIONS, "encoder", integers=("dim", "max_characters")
        )
        provider, _, model = name.partition(":")
        return cls(provider, model, **values)

    @property
    def spec(self) -> str:
        """The spec by which ``encoder_from_name`` makes this model's encoder."""
        options = asdict(self)
        return format_spec(f"{options.pop('provider')}:{options.pop('model')}", options)

    @property
    def fingerprint(self) -> str:
        """A hash of provider, model, dimensions asked for and prompts; nothing else is known."""
        known = [self.provider, self.model, self.dim, self.query_prompt, self.passage_prompt]
        text = json.dumps(["service-1", *(value or "" for value in known)])
        return xxhash.xxh3_128_hexdigest(text.encode())

    @property
    def title(self) -> str:
        """The spec without options, for messages."""
        return f"{self.provider}:{self.model}"

    def address(self) -> str:
        """Return the base URL in use, without a slash at its end; reads the environment."""
        if self.base_url is not None:
            return self.base_url.rstrip("/")
        if self.provider == "ollama":
            return _ollama_address(os.environ.get(OLLAMA_HOST, ""))
        base = os.environ.get(OPENAI_BASE, "").strip()
        if base:
            check_base_url(OPENAI_BASE, base)
        return (base or _OPENAI_URL).rstrip("/")


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How a service is asked. Nothing here changes the vectors.

    Args:
        base_url: The service's address; replaces that of the spec, and is stored with it.
        key_variable: The environment variable with the key, which goes to the service's address,
            whatever it is. Default: ``OPENAI_API_KEY``, which goes to OpenAI, to the server in
            ``OPENAI_BASE_URL`` and to this machine alone; no key for Ollama.
        batch_texts: The most texts in a request.
        batch_characters: The most characters in a request; a longer text is sent alone.
        concurrency: How many requests to run at once.
        timeout: Seconds to wait for a connection, and then for the whole answer.
        tries: How often a request is sent before its fault is raised.
        backoff: Seconds before the second try, doubled for each later one. The wait is a random
            part of them.
        max_wait: The longest wait in seconds. A service that asks for more ends the call.
        requests_per_minute: The most requests sent in a minute, evenly spaced. Default: no limit.
    """

    base_url: str | None = None
    key_variable: str | None = None
    batch_texts: int = 64
    batch_characters: int = 100_000
    concurrency: int = 4
    timeout: float = 60.0
    tries: int = 6
    backoff: float = 0.5
    max_wait: float = 60.0
    requests_per_minute: int | None = None

    def __post_init__(self) -> None:
        if self.base_url is not None:
            check_base_url("base_url", self.base_url)
        _check_string("key_variable", self.key_variable, optional=True)
        for name in ("batch_texts", "batch_characters", "concurrency", "tries"):
            check_integer(name, getattr(self, name))
        if self.requests_per_minute is not None:
            check_integer("requests_per_minute", self.requests_per_minute)
        check_number("timeout", self.timeout, 0, 86_400, exclusive=True)
        for name in ("backoff", "max_wait"):
            check_number(name, getattr(self, name), 0, 86_400)

    def find_key_variable(self, model: ServiceModel) -> str | None:
        """Return the environment variable with the key of a model, None if it needs none."""
        if self.key_variable is not None:
            return self.key_variable
        return OPENAI_KEY if model.provider == "openai" else None

    def needs_key(self, address: str) -> bool:
        """Return whether a base URL can't be used without a key."""
        return self.key_variable is not None or _origin(address) == _origin(_OPENAI_URL)

    def may_send_key(self, address: str) -> bool:
        """Return whether the key goes to a base URL.

        A spec may come from an index that somebody else made, so its address alone isn't trusted.
        """
        if self.key_variable is not None or self.base_url is not None or is_loopback(address):
            return True
        trusted = [_OPENAI_URL]
        base = os.environ.get(OPENAI_BASE, "").strip()
        if base:
            check_base_url(OPENAI_BASE, base)
            trusted.append(base)
        return _origin(address) in map(_origin, trusted)


def check_base_url(name: str, url: object) -> None:
    """Raise InputError unless ``url`` is an http or https address without credentials or query.

    The message doesn't hold the URL, which may have a password.
    """
    wrong = f"{name} must be an address as in http://localhost:8000/v1"
    if not isinstance(url, str):
        raise InputError(f"{wrong}, got {type(url).__name__}")
    if set(url) & set("@?#"):
        raise InputError(
            f"{wrong} without user, password and query: put the key into an environment variable"
        )
    parts = _split_url(url)
    if parts is None or parts.scheme not in _SCHEME_PORTS or not parts.hostname:
        raise InputError(f"{wrong}: it needs http:// or https://, a host and at most a valid port")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{wrong}: it has a blank, or a character outside ASCII")


def is_loopback(address: str) -> bool:
    """Return whether an address is on this machine."""
    return urlsplit(address).hostname in _LOOPBACK


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number from 0 to 65,535
    except ValueError:
        return None
    return parts


def _origin(address: str) -> tuple[str, str | None, int]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or _SCHEME_PORTS[parts.scheme]


def _ollama_address(host: str) -> str:
    """Return the base URL that ``OLLAMA_HOST`` names, by the rules of Ollama's own client.

    The port is 11434 without a scheme, else that of the scheme. A server's 0.0.0.0 is this machine.
    """
    host = host.strip().strip("\"'")
    scheme, mark, rest = host.partition("://")
    if not mark:
        scheme, rest = "http", host
    rest = rest.rstrip("/")
    if rest.startswith(":") or not rest:
        rest = "127.0.0.1" + rest
    check_base_url(OLLAMA_HOST, f"{scheme}://{rest}")
    parts = urlsplit(f"{scheme}://{rest}")
    name = parts.hostname or ""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104  # not bound
    port = parts.port or (_SCHEME_PORTS[scheme] if mark else _OLLAMA_PORT)
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}{parts.path}"


def _check_string(name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str) or (not value and "prompt" not in name):
        expected = "a string or None" if optional else "a string that isn't empty"
        raise InputError(f"{name} must be {expected}, got {value!r:.80}")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"{name} must not contain half a surrogate pair, got {value!r:.80}")


DEFAULT_OPTIONS = ServiceOptions()

"""Fixtures for servers whose replies the test chooses, and for both clients with one interface."""

import asyncio
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply
from unrolled_client import AsyncClient, Client
from unrolled_client._streaming import parts, sizing


class BlockingAsyncSession:
    """An AsyncSession with the synchronous session's methods."""

    def __init__(self, wrapped, run):
        self.wrapped = wrapped
        self._run = run

    @property
    def state(self):
        return self.wrapped.state

    def feed(self, words):
        return self._run(self.wrapped.feed(words))


class BlockingAsyncClient:
    """An AsyncClient with the synchronous client's methods; its event loop runs in a separate thread."""

    def __init__(self, *args, make=AsyncClient, **kwargs):
        self.wrapped = make(*args, **kwargs)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __repr__(self):
        return repr(self.wrapped)

    def forward(self, *args, **kwargs):
        return self._run(self.wrapped.forward(*args, **kwargs))

    def server_info(self, **kwargs):
        return self._run(self.wrapped.server_info(**kwargs))

    def map(self, *args, **kwargs):
        return self._iterate(self.wrapped.map(*args, **kwargs))

    def sweep(self, *args, **kwargs):
        return self._iterate(self.wrapped.sweep(*args, **kwargs))

    def session(self, **kwargs):
        return BlockingAsyncSession(self.wrapped.session(**kwargs), self._run)

    def close(self):
        self._run(self.wrapped.close())

    def _iterate(self, outcomes):
        async def take():
            return await anext(outcomes, None)

        try:
            while (outcome := self._run(take())) is not None:
                yield outcome
        finally:
            self._run(outcomes.aclose())

    def _run(self, coroutine):
        if self._loop.is_closed():
            return asyncio.run(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


@pytest.fixture(scope="session")
def local_settings():
    """The settings for `Client.local` that give what a server of the suite has, by its address."""
    return {}


@pytest.fixture(scope="session")
def make_client(request, local_settings):
    """A constructor like `Client`; `pytest_generate_tests` runs tests of it in several ways.

    In process, the address stands for the settings of its server.
    """

    def make(target, **kwargs):
        match request.param:
            case "sync":
                return Client(target, **kwargs)
            case "in process":
                return Client.local(**local_settings[target], **kwargs)
            case "in process, async":
                return BlockingAsyncClient(make=AsyncClient.local, **local_settings[target], **kwargs)
            case way:
                return BlockingAsyncClient(target, merge=way == "async", **kwargs)

    return make


@pytest.fixture(scope="session")
def make_async_client(request, local_settings):
    """A constructor like `AsyncClient`; see `make_client`."""
    if request.param == "async":
        return AsyncClient
    return lambda target, **kwargs: AsyncClient.local(**local_settings[target], **kwargs)


@pytest.fixture
def in_small_parts(monkeypatch):
    """Calls above a kilobyte travel in parts of a few words."""
    monkeypatch.setattr(parts, "PART_BYTES", 3_000)
    monkeypatch.setattr(parts, "COMPUTED_PART_BYTES", 3_000)
    for name, value in {"MIN_BULK_BYTES": 1_000, "MAX_WHOLE_BYTES": 1_000, "MIN_DISTINCT_BYTES": 0}.items():
        monkeypatch.setattr(sizing, name, value)


@contextmanager
def servers_of(methods_for):
    """Yields a function that starts a server with the methods `methods_for(answer)` and returns HOST:PORT."""
    servers = []

    def start(answer):
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        handlers = grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", methods_for(answer))
        server.add_generic_rpc_handlers((handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(grace=None).wait()


@pytest.fixture
def serve():
    """A function that starts a server whose calls go to `answer(data, context)` and returns HOST:PORT."""

    def methods_for(answer):
        return dict.fromkeys(("Forward", "GetServerInfo"), grpc.unary_unary_rpc_method_handler(answer))

    with servers_of(methods_for) as start:
        yield start


@pytest.fixture
def serve_stream():
    """A function that starts a server whose streams go to `answer(requests, context)`; returns HOST:PORT."""
    limits = pb.Limits(max_words=65_536, max_reply_bytes=32 << 20)
    info = pb.GetServerInfoReply(limits=limits).SerializeToString()

    def methods_for(answer):
        return {
            "ForwardStream": grpc.stream_stream_rpc_method_handler(answer),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(lambda _data, _context: info),
        }

    with servers_of(methods_for) as start:
        yield start


@pytest.fixture(scope="session")
def reply_to():
    """A function that answers a request's bytes in the requested form.

    Each state depends on its prefix alone, as in the real service, but is a checksum of it.
    """

    def answer(data):
        request = pb.ForwardRequest.FromString(data)
        words, hidden = request.words, request.hidden_size
        seq = max(map(len, words))
        rest = pb.ForwardReply(
            shape=(len(words), seq, hidden), lengths=map(len, words), id=request.id, fingerprint="f00d"
        )
        prefixes = [[word[: at + 1] if at < len(word) else "" for at in range(seq)] for word in words]
        row_of = {"": 0}
        index = np.array([[row_of.setdefault(p, len(row_of)) for p in row] for row in prefixes], np.int32)
        numbers = np.array([zlib.crc32(p.encode()) for p in row_of], np.float32)
        rows = np.repeat(numbers[:, np.newaxis], hidden, axis=1)
        if request.reply_form == pb.REPLY_FORM_DISTINCT:
            return join_reply(rest, values=rows, index=index)
        return join_reply(rest, values=rows[index])

    return answer


@pytest.fixture(scope="session")
def exporter():
    """An in-memory span exporter, set up once per process as in an application."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter

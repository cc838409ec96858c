# syntax=docker/dockerfile:1

# The Python version of the checks and tests.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS base
# The official image has no byte code of the standard library and the server's user cannot write any, so each health
# probe would compile it again. Unchecked hashes keep byte code valid when a builder rewrites the files' time stamps.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(site-packages|tests?)/' \
    "$(python -c "import sysconfig; print(sysconfig.get_path('stdlib'))")"

# Extracts the requirements, so that other changes of pyproject.toml leave the dependencies cached.
FROM base AS requirements
WORKDIR /build
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
required = [*project['dependencies'], *project['optional-dependencies']['server']]; \
print(*(line for line in required if not line.startswith('unrolled-core')), sep='\n')" > requirements.txt

FROM base AS dependencies
# PyTorch's own index: its CPU build is a tenth of the size of the one with CUDA. The lock pins torch without a
# local label; if the indexes have 2.13.0 and 2.13.0+cpu, pip prefers the latter.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# pip before 25.3 reads the build backend's versions from PIP_CONSTRAINT, later versions from PIP_BUILD_CONSTRAINT.
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/build/constraints.txt \
    PIP_BUILD_CONSTRAINT=/build/constraints.txt \
    PIP_PYTHON=/opt/unrolled/bin/python
WORKDIR /build
COPY --from=requirements /build/requirements.txt ./
COPY constraints.txt ./
# hadolint ignore=DL3042  # the cache is a mount and in no layer
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/unrolled \
    && pip install --no-compile --extra-index-url "${TORCH_INDEX}" --requirement requirements.txt
# C++ headers, build tools and tests, which nothing loads: a quarter of the size.
# hadolint ignore=DL3003  # WORKDIR takes no pattern
RUN cd /opt/unrolled/lib/python*/site-packages \
    && rm -rf torch/include torch/test \
    && find torch/bin -mindepth 1 ! -name torch_shm_manager -delete \
    && find numpy sympy networkx mpmath -type d -name tests -prune -exec rm -rf {} + \
    # One file of torch needs a newer Python.
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x /py312_intrinsics /opt/unrolled

# The native core: its compiler is in no other stage.
FROM base AS core
# hadolint ignore=DL3008  # any version compiles the same results
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/build/constraints.txt \
    PIP_BUILD_CONSTRAINT=/build/constraints.txt
WORKDIR /build
COPY constraints.txt ./
COPY server/native native
RUN pip wheel --no-cache-dir --no-deps --wheel-dir wheels ./native

FROM dependencies AS project
COPY pyproject.toml LICENSE README.md ./
COPY protos protos
COPY client client
COPY server server
COPY --from=core /build/wheels wheels
# hadolint ignore=DL3042  # the cache is a mount and in no layer
RUN --mount=type=cache,target=/var/cache/pip \
    pip install --no-compile --no-deps --prefix /opt/project . wheels/*.whl \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/project

FROM base
# The user below has no home directory. A volume here keeps converted word vectors for the next container; with
# `docker run --read-only` only this folder and /tmp must be writable.
RUN install --directory --owner=10001 --group=10001 /var/cache/unrolled
# One environment in two layers: a change of the source ships only the second.
COPY --from=dependencies /opt/unrolled /opt/unrolled
COPY --from=project /opt/project /opt/unrolled
# Every interface, because a container's loopback cannot be reached from outside. This requires certificates or
# UNROLLED_ALLOW_PLAINTEXT=true: docs/operate/deploy.md shows both.
ENV PATH="/opt/unrolled/bin:$PATH" \
    UNROLLED_ADDRESS="[::]:50051" \
    UNROLLED_VECTORS_CACHE=/var/cache/unrolled
USER 10001:10001
EXPOSE 50051
# Accepted work is finished within UNROLLED_DRAIN_TIMEOUT_S; give `docker stop --timeout` more than that.
STOPSIGNAL SIGTERM
# Calls the standard health service, over TLS if the server has a certificate.
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["python", "-m", "unrolled_server.probe"]
ENTRYPOINT ["unrolled-server"]
# The commit that the image was built from, set by `make image`. Last, because it changes with every commit.
ARG REVISION=unknown
LABEL org.opencontainers.image.title="unrolled" \
      org.opencontainers.image.description="Words in, hidden states out: exact recurrent forward passes over gRPC." \
      org.opencontainers.image.revision="${REVISION}"

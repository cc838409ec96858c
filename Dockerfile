# syntax=docker/dockerfile:1

# The Python that the checks and tests run with.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
# PyTorch's own index: its CPU build is a tenth of the size of the one with CUDA. The lock names torch without a
# local label, and of 2.13.0 and 2.13.0+cpu pip takes the latter.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/build/constraints.txt \
    PIP_PYTHON=/opt/unrolled/bin/python
WORKDIR /build

# The dependencies come first, by the two files that name them: a change of the source leaves this layer cached.
COPY pyproject.toml constraints.txt ./
# hadolint ignore=DL3042  # the cache is a mount, no layer keeps it
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/unrolled \
    && python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['server'], sep='\n')" > requirements.txt \
    && pip install --extra-index-url "${TORCH_INDEX}" --requirement requirements.txt \
    # C++ headers and tests, which nothing loads: a seventh of the whole.
    && rm -rf /opt/unrolled/lib/python*/site-packages/torch/include /opt/unrolled/lib/python*/site-packages/torch/test

COPY README.md ./
COPY protos protos
COPY client client
COPY server server
# hadolint ignore=DL3042  # the cache is a mount, no layer keeps it
RUN --mount=type=cache,target=/var/cache/pip \
    pip install --no-deps .

FROM python:${PYTHON_VERSION}-slim
# The commit that the image was built from; `make image` says it.
ARG REVISION=unknown
LABEL org.opencontainers.image.title="unrolled" \
      org.opencontainers.image.description="Words in, hidden states out: exact recurrent forward passes over gRPC." \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/unrolled /opt/unrolled
# The user below has no home. A volume here keeps converted word vectors for the next container; with
# `docker run --read-only` it and /tmp are all that need to be writable.
RUN install --directory --owner=10001 --group=10001 /var/cache/unrolled
# Every interface, because a container's loopback is reached by nobody else. That needs certificates, or the word
# that plain text is meant (UNROLLED_ALLOW_PLAINTEXT=true): docs/operations.md has both.
ENV PATH="/opt/unrolled/bin:$PATH" \
    UNROLLED_ADDRESS="[::]:50051" \
    UNROLLED_VECTORS_CACHE=/var/cache/unrolled
USER 10001:10001
EXPOSE 50051
# Accepted work is finished within UNROLLED_DRAIN_TIMEOUT_S; give `docker stop --timeout` more than that.
STOPSIGNAL SIGTERM
# It asks the standard health service, over TLS where the server has a certificate.
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["python", "-m", "unrolled_server.probe"]
ENTRYPOINT ["unrolled-server"]

# One file, two images: docker build --target gateway . and docker build --target session-service .

# Python 3.11.16 of 2026-09-19, for all platforms. To take a newer one, put here what
# `docker buildx imagetools inspect python:3.11-slim-bookworm` shows as Digest, or build with --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM $PYTHON_IMAGE AS packages
WORKDIR /build
COPY requirements.txt .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt

FROM $PYTHON_IMAGE AS base
RUN useradd --system --uid 10001 --no-create-home chatkit
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG_FORMAT=json
COPY --from=packages /venv /venv
WORKDIR /app
COPY protos protos
COPY runtime runtime

FROM base AS gateway
COPY gateway gateway
ENV GATEWAY_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
USER 10001
CMD ["python", "-m", "gateway"]

FROM base AS session-service
COPY session_service session_service
RUN install --directory --owner=chatkit --mode=700 /data
VOLUME /data
ENV SESSION_SERVICE_LISTEN=0.0.0.0:50051 \
    DATABASE_URL=sqlite:////data/chatkit.db \
    CHATKIT_ATTACHMENTS_DIR=/data/attachments
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
    CMD ["python", "-m", "session_service.healthcheck"]
USER 10001
CMD ["python", "-m", "session_service"]

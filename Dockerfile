# Two images. `operator` is the operator; `worker` is what task images are built on:
#   FROM kongtask-worker
#   COPY tasks.py .
# Both run what they are given under an init, for example `kongtask worker`.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY scripts/locked.py scripts/
RUN python scripts/locked.py build >build.txt \
 && python scripts/locked.py dependencies otel >worker.txt \
 && python scripts/locked.py dependencies otel operator >operator.txt \
 && python -m venv /opt/build && /opt/build/bin/pip install -q --require-hashes -r build.txt
RUN python -m venv /opt/worker && /opt/worker/bin/pip install -q --require-hashes -r worker.txt
RUN python -m venv /opt/operator && /opt/operator/bin/pip install -q --require-hashes -r operator.txt
COPY README.md LICENSE ./
COPY sql sql
COPY crds crds
COPY manifests manifests
COPY kongtask kongtask
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w dist . \
 && /opt/worker/bin/pip install -q --no-index --no-deps dist/*.whl && /opt/worker/bin/pip check \
 && /opt/operator/bin/pip install -q --no-index --no-deps dist/*.whl && /opt/operator/bin/pip check

# A SIGTERM that reaches Python as PID 1 before it has a handler is lost: an init takes that place.
FROM ${PYTHON_IMAGE} AS runtime
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 65532 kongtask \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /app --shell /usr/sbin/nologin kongtask
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
ENTRYPOINT ["/usr/bin/tini", "--"]

FROM runtime AS operator
COPY --from=build /opt/operator /opt/operator
ENV PATH=/opt/operator/bin:${PATH}
USER 65532:65532
EXPOSE 8080
CMD ["python", "-m", "kongtask.operator.main"]

FROM runtime AS worker
COPY --from=build /opt/worker /opt/worker
ENV PATH=/opt/worker/bin:${PATH} PYTHONPATH=/app
USER 65532:65532
CMD ["kongtask", "worker"]

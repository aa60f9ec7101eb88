# Three images from one file; tests/docker/prove builds and uses all of them.
#
#   docker build -t kdcompress .                                 torch-free: transcribe, bench, export --verify
#   docker build --target train -t kdcompress:train .            with torch: everything
#   docker build --target test -t kdcompress:test .              with linters and tests; running it is the gate
#
# BASE_IMAGE            any image with Python 3.10 or newer, venv and pip, on Debian
# PIP_INDEX_URL         a mirror of the package index; pip's own default unless given
# PIP_EXTRA_INDEX_URL   one more
# TORCH_INDEX_URL       where torch's builds are: PyTorch's index for CPUs, for a CUDA release, or a mirror of one.
#                       Unless given, torch comes from the index above, which on Linux is a CUDA build of some gigabytes.
# ONNXRUNTIME           `onnxruntime-gpu[cuda,cudnn]` makes the runtime image use GPUs (docker run --gpus all,
#                       --provider cuda). It replaces onnxruntime: the two cannot be installed side by side.
# VERSION               for the labels; refused where it is not the one in kdcompress/__init__.py
#
# An index with a password: arguments stay readable in an image's history, so give pip's configuration as a secret
# instead, --secret id=pip,src=$HOME/.config/pip/pip.conf. It is mounted while packages are installed and left nowhere.
#
# Layers go from what changes seldom to what changes often: the lists of requirements, not pyproject.toml, decide what
# is installed again, and the package itself comes last. No stage needs a compiler: everything is installed from wheels.

ARG BASE_IMAGE=python:3.11-slim-bookworm

# What to install, by stage; a COPY from here is cached as long as the list itself is the same.
FROM ${BASE_IMAGE} AS requirements
WORKDIR /requirements
COPY .ci/requirements.py pyproject.toml ./
RUN python3 requirements.py pyproject.toml .

# The wheel, installed where nothing else is: the images copy the package from here and keep no tool that made it.
FROM ${BASE_IMAGE} AS package
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY --from=requirements /requirements/build.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/xdg/pip/pip.conf \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir -r /requirements/build.txt \
    && python3 -m venv --without-pip /opt/kdcompress
WORKDIR /src
COPY LICENSE README.md pyproject.toml ./
COPY export export
COPY recipes recipes
COPY kdcompress kdcompress
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python3 -m pip --python /opt/kdcompress/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${BASE_IMAGE} AS runtime-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG ONNXRUNTIME=onnxruntime
# Any user may be given (docker run --user): caches of other libraries need a home that all can write to.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /home/kdcompress kdcompress \
    && install -d -m 1777 /home/kdcompress /work
COPY --from=requirements /requirements/base.txt /requirements/
# The tests of numpy and onnx are 40 MB that nothing imports.
RUN --mount=type=secret,id=pip,target=/etc/xdg/pip/pip.conf \
    sed -i "s/^onnxruntime\([><=]\)/${ONNXRUNTIME}\1/" /requirements/base.txt \
    && python3 -m venv --without-pip /opt/kdcompress \
    && python3 -m pip --python /opt/kdcompress/bin/python install --no-cache-dir -r /requirements/base.txt \
    && find /opt/kdcompress \( -path '*/numpy/*/tests' -o -path '*/onnx/backend/test' \) -prune -exec rm -r {} +

# torch has a layer of its own: a new bound of another library does not fetch it again.
FROM runtime-dependencies AS train-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG TORCH_INDEX_URL
COPY --from=requirements /requirements/torch.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/xdg/pip/pip.conf \
    python3 -m pip --python /opt/kdcompress/bin/python install --no-cache-dir \
    ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} -r /requirements/torch.txt
COPY --from=requirements /requirements/train.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/xdg/pip/pip.conf \
    python3 -m pip --python /opt/kdcompress/bin/python install --no-cache-dir -r /requirements/train.txt

FROM train-dependencies AS test-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY --from=requirements /requirements/dev.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/xdg/pip/pip.conf \
    python3 -m pip --python /opt/kdcompress/bin/python install --no-cache-dir -r /requirements/dev.txt

FROM train-dependencies AS train
ENV PATH=/opt/kdcompress/bin:$PATH \
    HOME=/home/kdcompress
COPY docker/healthcheck.py docker/sbom.py /opt/kdcompress/share/
COPY --from=package /opt/kdcompress/bin/kdcompress /opt/kdcompress/bin/
COPY --from=package /opt/kdcompress/lib/ /opt/kdcompress/lib/
ARG VERSION
RUN { test -z "${VERSION}" || test "$(kdcompress --version)" = "kdcompress ${VERSION}"; } \
    && python /opt/kdcompress/share/sbom.py /opt/kdcompress/share/sbom.cdx.json
LABEL org.opencontainers.image.title="kdcompress" \
      org.opencontainers.image.description="Distils, exports and measures small CTC speech recognisers." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
USER 10001
WORKDIR /work
HEALTHCHECK --interval=60s --timeout=30s --start-period=10s CMD ["python", "/opt/kdcompress/share/healthcheck.py"]
ENTRYPOINT ["kdcompress"]
CMD ["--help"]

# Running it is the check: lint, types, gate, wheel, suite. What it measured is then in /src/build/gate.
FROM test-dependencies AS test
WORKDIR /src
COPY . .
RUN python3 -m pip --python /opt/kdcompress/bin/python install --no-deps --no-index --no-build-isolation -e . \
    && install -d -m 0777 build && chmod 0777 .
ENV PATH=/opt/kdcompress/bin:$PATH \
    HOME=/home/kdcompress \
    BIN=/opt/kdcompress/bin
USER 10001
ENTRYPOINT [".ci/check"]
CMD ["all"]

# Last, so that a build without --target makes it.
FROM runtime-dependencies AS runtime
ENV PATH=/opt/kdcompress/bin:$PATH \
    HOME=/home/kdcompress
COPY docker/healthcheck.py docker/sbom.py /opt/kdcompress/share/
COPY --from=package /opt/kdcompress/bin/kdcompress /opt/kdcompress/bin/
COPY --from=package /opt/kdcompress/lib/ /opt/kdcompress/lib/
ARG VERSION
# onnxruntime-gpu looks for CUDA's libraries where the system has them, not where pip puts them.
RUN { test -z "${VERSION}" || test "$(kdcompress --version)" = "kdcompress ${VERSION}"; } \
    && find /opt/kdcompress -path '*/nvidia/*/lib' -type d >/etc/ld.so.conf.d/kdcompress.conf \
    && ldconfig \
    && python /opt/kdcompress/share/sbom.py /opt/kdcompress/share/sbom.cdx.json
LABEL org.opencontainers.image.title="kdcompress" \
      org.opencontainers.image.description="Runs and measures distilled CTC speech recognisers, without PyTorch." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
USER 10001
WORKDIR /work
HEALTHCHECK --interval=60s --timeout=30s --start-period=10s CMD ["python", "/opt/kdcompress/share/healthcheck.py"]
ENTRYPOINT ["kdcompress"]
CMD ["--help"]

# hardpoint in a Debian container: Python, the package and its plugins, and no compiler.
#
#   docker build -t hardpoint .                              # bookworm; --build-arg RELEASE=trixie
#   docker run --rm hardpoint                                # prints greetings, as `./build.sh run`
#   docker run --rm hardpoint list                           # arguments go to the command: `hardpoint list`
#   docker run --rm -v "$PWD/plugins:/plugins:ro" hardpoint call mine greet World
#   docker build --target host -t my-host .                  # an image of your own: see the stage `host`
#
# It also runs with --read-only --cap-drop all --network none --security-opt no-new-privileges --memory 256m.
ARG RELEASE=bookworm

# ---- build: the wheel of hardpoint, the plugins, and a plugin's wheel -----------------------------------------------
FROM debian:${RELEASE}-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /build/tools \
    && python3 -m venv --without-pip /opt/hardpoint

# Install dependencies in a separate layer, which is rebuilt when pyproject.toml changes and not with every source.
WORKDIR /src
COPY pyproject.toml ./
RUN /build/tools/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' >/build/requirements \
    && /build/tools/bin/pip --no-cache-dir --disable-pip-version-check --python /opt/hardpoint/bin/python install --requirement /build/requirements \
    && /build/tools/bin/pip --no-cache-dir --disable-pip-version-check install 'setuptools>=77'

COPY README.md LICENSE ./
COPY contract contract
COPY src src
RUN /build/tools/bin/pip --no-cache-dir --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir /build/dist . \
    && /build/tools/bin/pip --no-cache-dir --disable-pip-version-check --python /opt/hardpoint/bin/python install --no-deps /build/dist/*.whl

COPY native_plugins native_plugins
RUN mkdir -p /build/plugins \
    && for source in native_plugins/*/*.c; do \
           cc -std=c11 -O2 -fPIC -fvisibility=hidden -shared -Wl,-z,defs,-z,relro,-z,now,-z,noexecstack -s -Icontract \
               "$source" -o "/build/plugins/$(basename "${source%.c}").so" || exit 1; \
       done

# ---- python: the base of both images, without a compiler --------------------------------------------------------------
FROM debian:${RELEASE}-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/*.log /var/log/apt

# ---- host: an example of your own image, with a host application and a plugin from a wheel ---------------------------
FROM build AS parts
RUN /build/tools/bin/pip --no-cache-dir --disable-pip-version-check install /build/dist/*.whl
WORKDIR /build
# In your own Dockerfile, COPY the plugin's project here instead.
RUN tools/bin/hardpoint new lowgerman --contract greeter
COPY examples/image/lowgerman.c lowgerman/
RUN tools/bin/pip --no-cache-dir --disable-pip-version-check wheel --no-deps --wheel-dir lowgerman/dist ./lowgerman \
    && tools/bin/pip --no-cache-dir --disable-pip-version-check --python /opt/hardpoint/bin/python install --no-deps lowgerman/dist/*.whl

FROM python AS host
COPY --from=parts /opt/hardpoint /opt/hardpoint
COPY examples/image/app.py /srv/
USER 10001:10001
ENTRYPOINT ["/opt/hardpoint/bin/python", "/srv/app.py"]

# ---- run: the default image -------------------------------------------------------------------------------------------
FROM python AS run
COPY --from=build /opt/hardpoint /opt/hardpoint
COPY --from=build /build/plugins /usr/local/lib/hardpoint/plugins
COPY examples/host.py examples/container.py /srv/
RUN mkdir -p /plugins /srv/build && ln -s /usr/local/lib/hardpoint/plugins /srv/build/plugins
LABEL org.opencontainers.image.title="hardpoint" \
      org.opencontainers.image.description="A native plugin host: C shared libraries as typed Python objects" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/hardpoint/bin:$PATH HARDPOINT_PATH=/plugins PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
USER 10001:10001
ENTRYPOINT ["python", "/srv/container.py"]

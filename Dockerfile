# A server of models, without torch. How to build and start it: docs/howto/container.md
FROM python:3.11-slim AS build
COPY . /source
RUN python -m venv /opt/songbag && \
    /opt/songbag/bin/pip install --no-cache-dir --constraint /source/constraints.txt '/source[serve]'

FROM python:3.11-slim
COPY --from=build /opt/songbag /opt/songbag
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent songbag
USER 10001
ENV PATH=/opt/songbag/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/readyz', timeout=4)"]
ENTRYPOINT ["songbag", "serve", "--host", "0.0.0.0", "--allow-remote", "--no-browser"]
CMD ["/models/model.songbag"]

"""Servers that several test files share."""

import pytest

from songbag.inference.model_file import load_model
from tests.helpers.serving_process import Server


@pytest.fixture(scope="package")
def server(model_path, tmp_path_factory):
    """A server with ordinary limits."""
    with Server(model_path, tmp_path_factory.mktemp("server"), workers=2) as running:
        yield running


@pytest.fixture(scope="session")
def audio(songs):
    return sorted((songs.parent / "audio").iterdir())


@pytest.fixture(scope="session")
def labels(model_path):
    return load_model(model_path).card.labels


@pytest.fixture(scope="package")
def strict_server(model_path, tmp_path_factory):
    """A server with one worker and small limits."""
    folder = tmp_path_factory.mktemp("server")
    options = {
        "waiting": 2,
        "max_megabytes": 1,
        "max_hours": 0.01,
        "idle_seconds": 1,
        "upload_seconds": 2,
    }
    with Server(model_path, folder, **options, max_seconds=2) as running:
        yield running


@pytest.fixture(scope="session")
def song(songs):
    return min((songs.parent / "audio").iterdir(), key=lambda path: path.stat().st_size)

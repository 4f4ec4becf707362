"""Models by address, from real servers of this machine."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

import songbag
from songbag.errors import ModelFileError, SettingsError
from songbag.inference.model_file import load_model
from songbag.storage.downloads import local_model
from tests.helpers.command import songbag as command
from tests.helpers.web import serving


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SONGBAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_model_of_the_web_is_downloaded_once_and_kept_by_its_hash(model_path, cache, nine):
    data = model_path.read_bytes()
    with serving({"/a/genre.songbag": ({}, data)}) as (url, asked):
        address = f"{url}/a/genre.songbag#sha256={sha256(data)}"
        model = songbag.load(address)
        assert model.labels == load_model(model_path).card.labels
        assert model.path == cache / "models" / sha256(data) / "genre.songbag"
        expected = command("predict", model_path, nine)
        assert command("predict", address, nine) == expected
        assert command("info", address).stdout == command("info", model_path).stdout
        assert asked == ["/a/genre.songbag"]
        model.path.write_bytes(data[:-1])  # damaged: fetched again
        assert local_model(address).read_bytes() == data
        assert len(asked) == 2


def test_what_is_not_the_file_that_was_meant_is_refused_and_not_kept(model_path, cache):
    data = model_path.read_bytes()
    answers = {
        "/other.songbag": ({}, b"another file"),
        "/half.songbag": ({"Content-Length": str(len(data))}, data[: len(data) // 2]),
    }
    with serving(answers) as (url, _):
        for name, said in (
            ("other", "its hash is sha256="),
            ("half", "the download broke off at"),
            ("missing", "could not be downloaded (HTTP Error 404"),
        ):
            with pytest.raises(ModelFileError) as error:
                songbag.load(f"{url}/{name}.songbag#sha256={sha256(data)}")
            assert said in str(error.value)
    with pytest.raises(ModelFileError, match="could not be downloaded"):
        songbag.load(f"{url}/genre.songbag#sha256={sha256(data)}")  # nobody is there
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://host/genre.songbag", "genre.songbag#sha256=..."),
        ("https://host/genre.songbag#sha256=12", "64 digits"),
        ("ftp://host/genre.songbag", "hf://user/model"),
        ("hf://model", "write hf://user/model"),
    ],
)
def test_addresses_that_cannot_be_used_say_how_they_are_written(address, said):
    with pytest.raises(SettingsError) as error:
        songbag.load(address)
    assert said in str(error.value)
    done = command("predict", address, "new")
    assert done.returncode == 2
    assert said in done.stderr


def test_a_model_of_the_hub(model_path, tmp_path):
    """Against a server that answers as the hub does, as far as the library asks."""
    pytest.importorskip("huggingface_hub")
    data, commit = model_path.read_bytes(), "a" * 40
    files = [
        {"type": "file", "path": name, "size": 1, "oid": "b" * 40}
        for name in ("README.md", "genre.songbag", "mood.songbag")
    ]
    tree = "tree/main?recursive=true&expand=false"
    facts = {"ETag": f'"{sha256(data)}"', "X-Repo-Commit": commit}
    answers = {
        f"/api/models/user/model/{tree}": ({}, json.dumps(files[:2]).encode()),
        f"/api/models/user/two/{tree}": ({}, json.dumps(files).encode()),
        "/user/model/resolve/main/genre.songbag": (facts, data),
        "/user/two/resolve/v1/genre.songbag": (facts, data),
    }
    with serving(answers) as (url, asked):
        environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
        }

        def info(address):
            return command("info", address, env=environment)

        expected = command("info", model_path).stdout
        for address in ("hf://user/model", "hf://user/two@v1/genre.songbag"):
            done = info(address)
            assert (done.stdout, done.returncode) == (expected, 0), done.stderr
        assert "genre.songbag, mood.songbag" in info("hf://user/two").stderr
        assert "the hub did not give it" in info("hf://user/none").stderr
        before = len([path for path in asked if "resolve" in path])
        assert info("hf://user/model").returncode == 0  # its contents are kept
        assert len([path for path in asked if "resolve" in path]) <= before + 1


def test_without_the_extra_it_says_what_to_install():
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from songbag.cli import main; main(['info', 'hf://user/model'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'songbag[hub]'" in done.stderr
    assert "Traceback" not in done.stderr

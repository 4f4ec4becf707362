"""What people install: the archives hold what they should, and work far from the checkout.

The environments are made by uv, which the Makefile installs; torch comes from its cache.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

import songbag

ROOT = Path(__file__).parent.parent
BUILD = """
import os, sys
from setuptools import build_meta
source, place = sys.argv[1:]
os.chdir(source)
print(getattr(build_meta, os.environ["HOOK"])(place))
"""
SCRIPT = '''
import songbag
from songbag.settings import Recipe


def best(model: songbag.Model, path: str) -> str:
    """What a user may write."""
    answers = model.predict([path])
    return str(answers["predicted"].iloc[0])


def pooling(recipe: Recipe) -> None:
    reveal_type(recipe.training.pooling)


reveal_type(songbag.load("genre.songbag"))
reveal_type(songbag.train("songs.csv", "genre.songbag").metrics)
'''

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="paths of Linux environments"),
]


def run(*command, cwd, **more):
    """Run a program as a user would: from a folder elsewhere, nothing of the checkout in reach."""
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"} | more
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def listed():
    """Files of the checkout that git knows, or would not ignore."""
    names = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive of a clean copy, and the wheel made of what it holds."""
    base = tmp_path_factory.mktemp("archives")
    for name in listed():
        (base / "clean" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, base / "clean" / name)
    build = (sys.executable, "-c", BUILD)
    run(*build, base / "clean", base, cwd=base, HOOK="build_sdist")
    (sdist,) = base.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(base, filter="data")
    run(*build, base / sdist.name.removesuffix(".tar.gz"), base, cwd=base, HOOK="build_wheel")
    (wheel,) = base.glob("*.whl")
    return sdist, wheel


def install(folder, what):
    """Return an environment's folder of programs."""
    uv = Path(sys.executable).parent / "uv"
    links = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    run(uv, "venv", "-q", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pinned = ("--constraint", ROOT / "constraints.txt")
    run(uv, "pip", "install", "-q", "--python", python, *pinned, what, cwd=folder, **links)
    return python.parent


@pytest.fixture(scope="module")
def core(archives, tmp_path_factory):
    return install(tmp_path_factory.mktemp("core"), archives[1])


@pytest.fixture(scope="module")
def whole(archives, tmp_path_factory):
    return install(tmp_path_factory.mktemp("whole"), f"{archives[1]}[train,serve]")


def test_the_wheel_holds_the_package_and_nothing_else(archives):
    names = set(zipfile.ZipFile(archives[1]).namelist())
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == {name for name in listed() if name.startswith("songbag/")}
    assert "songbag/py.typed" in packaged
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    vendor = "songbag/serving/static/vendor"
    fonts = {f"{vendor}/{name}.LICENSE" for name in ("inter", "newsreader", "wavesurfer")}
    assert licences == {"LICENSE", "songbag/encoders/musicnn_license.txt", *fonts}


def test_the_source_archive_holds_no_tests_and_no_stray_files(archives):
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if "." in Path(name).name}
    others = {name for name in names if not re.match(r"songbag/|songbag\.egg-info", name)}
    made = {"PKG-INFO", "setup.cfg"}
    assert others - made - {""} == {"MANIFEST.in", "README.md", "pyproject.toml"}


def test_the_metadata_says_what_the_project_says(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        data = email.message_from_bytes(wheel.read(name))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (data["Name"], data["Version"]) == ("songbag", songbag.__version__)
    assert data["License-Expression"] == "MIT AND ISC AND BSD-3-Clause AND OFL-1.1"
    assert data["Description-Content-Type"] == "text/markdown"
    assert data.get_payload(decode=True).decode() == (ROOT / "README.md").read_text()
    assert set(data.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    kinds = data.get_all("Classifier")
    for version in ("3.11", "3.12", "3.13", "3.14"):
        assert f"Programming Language :: Python :: {version}" in kinds


def test_the_core_predicts_tags_and_finds_without_torch(core, songs, model_path, tmp_path):
    program = core / "songbag"
    assert songbag.__version__ in run(program, "--version", cwd=tmp_path)
    audio = sorted((songs.parent / "audio").iterdir())[:3]
    own = {"SONGBAG_CACHE": str(tmp_path / "cache")}
    answers = run(program, "predict", model_path, *audio, "--quiet", cwd=tmp_path, **own)
    assert answers.count(",ok,") == 3
    assert run(program, "tag", *audio, "--quiet", cwd=tmp_path, **own).count("\n") > 3
    alike = run(program, "similar", songs, "--to", audio[0], "--quiet", cwd=tmp_path, **own)
    assert len(alike.splitlines()) > 3
    for missing, extra in (("demo", "train"), ("serve", "serve")):
        words = [program, missing, *([model_path] if missing == "serve" else ["-o", "d"])]
        done = subprocess.run([*map(str, words)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"songbag[{extra}]" in done.stderr, done.stderr
    code = "import importlib.util as u; print([n for n in ('torch', 'scipy', 'fastapi') if u.find_spec(n)])"
    assert run(core / "python", "-c", code, cwd=tmp_path) == "[]\n"


def test_a_first_model_from_the_wheel(whole, tmp_path):
    """The demo, its songs predicted and drawn, and its model served."""
    program = whole / "songbag"
    own = {"SONGBAG_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    shown = run(program, "demo", "--songs", 8, cwd=tmp_path, **own)
    report = tmp_path / shown.splitlines()[0].removeprefix("report  ")
    assert "</html>" in report.read_text()
    model, songs = tmp_path / "demo" / "demo.songbag", tmp_path / "demo" / "songs.csv"
    answers = run(program, "predict", model, songs, "--quiet", cwd=tmp_path, **own)
    assert answers.count(",ok,") == 24
    run(program, "map", songs, "-o", "map.html", "--quiet", cwd=tmp_path, **own)
    assert "</html>" in (tmp_path / "map.html").read_text()
    command = [str(program), "serve", str(model), "--no-browser", "--port", "0", "--workers", "1"]
    server = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        url = server.stderr.readline().split()[-1]
        page = urllib.request.urlopen(url, timeout=30).read().decode()
        assert "<title>" in page
        body = next((tmp_path / "demo" / "audio").iterdir()).read_bytes()
        request = urllib.request.Request(f"{url}predict", data=body, method="POST")
        assert b'"status":"ok"' in urllib.request.urlopen(request, timeout=60).read()
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()


def test_a_users_script_is_checked_against_the_types(core, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    shown = run(
        *(Path(sys.executable).parent / "mypy", "--strict", "--python-executable"),
        *(core / "python", "script.py"),
        cwd=tmp_path,
    )
    found = re.findall(r'Revealed type is "(.*)"', shown)
    assert found == ["str", "songbag.api.model.Model", "dict[str, Any]"], shown


def test_a_script_without_the_name_guard_may_predict(core, songs, model_path, tmp_path):
    """In processes, of an installed package: nothing may need the checkout or a main guard."""
    code = f"""
        import songbag

        table = songbag.load({str(model_path)!r}).predict({str(songs)!r}, workers=2)
        print(list(table["status"].unique()), len(table))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(code))
    own = {"SONGBAG_CACHE": str(tmp_path / "cache")}
    assert run(core / "python", "script.py", cwd=tmp_path, **own) == "['ok'] 24\n"

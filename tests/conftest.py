"""What tests share: songs made once, a model trained once, and where real songs lie."""

import functools
import os
import shutil
import sys
from pathlib import Path

import pytest

# Two threads of torch on two busy cores are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
EMOTIFY = ROOT.parent / "shared" / "data" / "emotify" / "songs.csv"


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run what is too slow for every change")
    parser.addoption("--torture", action="store_true", help="what hurts, in its full size")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--torture"):
        kept = [item for item in items if "torture" in item.keywords]
        config.hook.pytest_deselected(items=[one for one in items if one not in kept])
        items[:] = kept
    if config.getoption("--full") or config.getoption("--torture"):
        return
    kept = [item for item in items if "full" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "full" in item.keywords])
    items[:] = kept


def pytest_configure(config):
    config.addinivalue_line("markers", "full: too slow for every change; runs with --full")
    config.addinivalue_line("markers", "torture: small in every run, in full size with --torture")


@pytest.fixture
def often(request):
    """``often(few, many, full)``: how many times, in every run, under --torture, under --full."""

    def choose(few, many, full=None):
        if request.config.getoption("--torture"):
            return many
        return full if full and request.config.getoption("--full") else few

    return choose


@pytest.fixture
def figure(record_property):
    """``figure(name, value)`` is printed at the end of a run with --torture."""
    return lambda name, value: record_property(f"figure {name}", value)


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--torture"):
        return
    terminalreporter.section("figures")
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name.startswith("figure "):
                where = report.nodeid.partition("[")[0]
                terminalreporter.write_line(f"{where}  {name.removeprefix('figure ')}: {value}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a skip is a failure, unless it is for want of a GPU or of Emotify."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value)
        if "GPU" not in reason and "Emotify" not in reason:
            report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"


def pytest_runtest_setup(item):
    """Let torch parse the functions of its ONNX exporter once a process.

    It does so for every export, which is two thirds of one.
    """
    exporter = sys.modules.get("torch.onnx._internal.exporter._registration")
    if exporter is not None and not hasattr(exporter.ONNXRegistry.from_torchlib, "cache_info"):
        parse = functools.cache(exporter.ONNXRegistry.from_torchlib)
        exporter.ONNXRegistry.from_torchlib = staticmethod(parse)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """One cache for all processes of a run: many tests hear the same songs."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["SONGBAG_CACHE"] = str(shared / "cache")


@pytest.fixture
def alone(monkeypatch):
    """Count only threads that the test starts: others may have left idle ones (Dask's loop)."""
    import threading

    before = set(threading.enumerate())
    monkeypatch.setattr(
        threading, "active_count", lambda: 1 + len(set(threading.enumerate()) - before)
    )


@pytest.fixture(scope="session")
def songs(tmp_path_factory):
    """A songs.csv of 24 generated songs of 18 seconds in several formats."""
    from songbag.console import Console
    from songbag.tasks.demo import write_songs

    return write_songs(tmp_path_factory.mktemp("songs"), 8, 1, Console(quiet=True), 18.0)


@pytest.fixture(scope="session")
def trained(songs, tmp_path_factory):
    """A founding model after a few epochs, with its evidence (tests.helpers.songs.Trained)."""
    from songbag.recipes.load import load_recipe
    from tests.helpers.songs import audio_dataset, train_file

    recipe = load_recipe("founding", {"training.epochs": 8})
    path = tmp_path_factory.mktemp("model") / "genre.songbag"
    return train_file(audio_dataset(songs, workers=None), path, recipe)


@pytest.fixture(scope="session")
def model_path(trained):
    return trained.model_path


@pytest.fixture
def nine(songs, tmp_path):
    """Five good songs, an empty file, a JPEG named .mp3, half an mp3 and a 0.1 s wav."""
    import numpy as np

    from songbag.audio.waveform import write_waveform

    folder = tmp_path / "nine"
    folder.mkdir()
    for file in sorted((songs.parent / "audio").iterdir())[:5]:
        shutil.copy(file, folder)
    rng = np.random.default_rng(0)
    (folder / "empty.mp3").touch()
    (folder / "photo.mp3").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + rng.bytes(5000))
    noise = (0.1 * rng.standard_normal(22050 * 60)).astype(np.float32)
    write_waveform(folder / "half.mp3", noise, 22050)
    data = (folder / "half.mp3").read_bytes()
    (folder / "half.mp3").write_bytes(data[: len(data) // 2])
    write_waveform(folder / "tiny.wav", noise[:2205], 22050)
    return folder


@pytest.fixture(scope="session")
def emotify():
    if not EMOTIFY.exists():
        pytest.skip("Emotify is not here")
    return EMOTIFY

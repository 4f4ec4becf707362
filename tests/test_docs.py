"""Every command and snippet of the README and the docs runs; what pages name exists."""

import csv
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from contextlib import chdir
from pathlib import Path

import click
import numpy as np
import pytest

from songbag.cli import main
from tests.helpers import known_folders
from tests.helpers.command import songbag
from tests.helpers.encoders import write_encoder
from tests.helpers.recordings import write_recording

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
RUN = set()  # pages that a test of this file runs, by `runs`


def blocks(name):
    return BLOCK.findall((ROOT / name).read_text())


def runs(name):
    """Mark a test that runs all blocks of a page."""

    def mark(test):
        RUN.add(name)
        return test

    return mark


def run(kind, text, folder):
    """Run one block in a folder, as a user would; warnings are errors.

    What needs no shell runs in this process, which has imported torch already.
    """
    if kind == "python" and "keras" in text:  # Keras warns in its own way
        run_alone(kind, text, folder)
    elif kind == "python":
        with chdir(folder):
            exec(compile(text, "a page", "exec"), {"__name__": "__main__"})
    else:
        for line in text.replace("\\\n", " ").splitlines():
            run_line(line, folder)


def run_line(line, folder):
    """Run one command of a block; a shell gets what has pipes, patterns or more than one command."""
    words = shlex.split(line, comments=True)
    quiet = re.sub(r"'[^']*'|#.*", "", line)
    if words[:1] == ["songbag"] and not re.search(r"[|<>;&$*?`]", quiet):
        done = songbag(*words[1:], cwd=folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    elif words:
        run_alone("sh", line, folder)


def run_alone(kind, text, folder):
    """Run one block in a process of its own."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    # Keras 3.15 hands tensors to NumPy 2 in a way that NumPy deprecates.
    quiet = "error,ignore:__array__ implementation:DeprecationWarning"
    environment |= {"PYTHONWARNINGS": quiet}
    command = ["sh", "-ec", text] if kind == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def runnable(text):
    """Return a shell block without installing and making, whose targets must exist."""
    lines = []
    for line in text.splitlines():
        if re.match(r"(python -m )?pip install ", line):
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            names = re.findall(r"songbag\[(\w+)\]", line)
            assert set(names) <= set(extras["optional-dependencies"]), line
        elif line.startswith("make "):
            assert line.split()[1] in make_targets(), line
        else:
            lines.append(line)
    return "\n".join(lines)


def make_targets():
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def run_page(name, folder, *sooner):
    """Run a page's blocks in order; ``sooner`` are pairs of a pattern and what replaces it."""
    for kind, text in blocks(name):
        for pattern, replacement in sooner:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        if kind == "sh":
            text = runnable(text)
        run(kind, text, folder)


@pytest.fixture
def own_songs(songs, tmp_path):
    """What a reader has: songs.csv, audio/ and new/."""
    shutil.copytree(songs.parent / "audio", tmp_path / "audio")
    shutil.copy(songs, tmp_path / "songs.csv")
    (tmp_path / "new").mkdir()
    for file in sorted((tmp_path / "audio").iterdir())[:3]:
        shutil.copy(file, tmp_path / "new")
    return tmp_path


@pytest.fixture
def windows(tmp_path):
    """A folder with windows.csv: song, label, labels, artist, v1, v2."""
    with open(tmp_path / "windows.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["song", "label", "labels", "artist", "v1", "v2"])
        for k in range(24):
            for window in range(4):
                values = (k % 2 + 0.3 * window, (k * 7 + window * 3) % 5)
                sets = ("", "sad", "piano", "piano;sad")[k % 4]
                rows.writerow([f"song {k}", "ab"[k % 2], sets, f"artist {k // 2}", *values])
    return tmp_path


FINDINGS_ARE_1 = (r"^(songbag check (?!.*\|\|)[^#\n]*)", r"\1 || test $? = 1 ")
QUICK_COMPARISON = (
    r"songbag compare (?!\S+\.songbag)(\S+)",
    r"songbag compare \1 --seeds 1 --epochs 1 --folds 2",
)


@runs("README.md")
def test_the_readme_runs(own_songs):
    kinds = [kind for kind, _ in blocks("README.md")]
    assert kinds == ["sh", "sh", "sh", "python"]
    # Fewer epochs and folds: this is about the commands, not about the figures.
    run_page(
        "README.md",
        own_songs,
        FINDINGS_ARE_1,
        (r"(songbag (?:train|crossval) \S+)", r"\1 --epochs 1"),
        QUICK_COMPARISON,
        ("--poolings mean,vote,attention", "--poolings mean,attention"),
        ("songbag crossval", "songbag crossval --folds 2"),
        (r'train\("songs.csv", "genre.songbag"\)', 'train("songs.csv", "g.songbag", epochs=1)'),
    )


@pytest.mark.full
@runs("docs/index.md")
def test_the_start_page_runs(own_songs):
    run_page("docs/index.md", own_songs, ("demo -o demo", "demo -o demo --songs 12"))
    assert (own_songs / "demo" / "demo-training" / "report.html").exists()


@pytest.mark.full
@runs("docs/tutorial.md")
def test_the_tutorial_runs(tmp_path):
    python = [text for kind, text in blocks("docs/tutorial.md") if kind == "python"]
    for kind, text in blocks("docs/tutorial.md"):
        if kind == "sh":
            sooner = text.replace("--epochs 15", "--epochs 3").replace("--folds 3", "--folds 2")
            run(kind, sooner, tmp_path)
    run("python", "\n".join(python).replace("epochs=15", "epochs=3"), tmp_path)


@pytest.mark.full
@runs("docs/howto/own-songs.md")
def test_the_page_on_own_songs_runs(own_songs):
    run_page(
        "docs/howto/own-songs.md",
        own_songs,
        FINDINGS_ARE_1,
        ("--epochs 10", "--epochs 2"),
        ("songbag crossval", "songbag crossval --folds 2"),
        ("--precision 0.9", "--precision 0.5"),  # 24 songs do not prove more
    )
    assert (own_songs / "answers-windows.csv").exists()


@pytest.mark.full
@runs("docs/howto/labels-in-time.md")
def test_the_page_on_labels_in_time_runs(tmp_path):
    for number in range(3):
        write_recording(tmp_path / "recordings", f"r{number}", number, 60.0)
    write_recording(tmp_path / "new", "r3", 3, 60.0)
    run_page("docs/howto/labels-in-time.md", tmp_path)
    assert (tmp_path / "raven" / "r3.Table.1.selections.txt").exists()


@pytest.mark.full
@runs("docs/howto/unknown-songs.md")
def test_the_page_on_unknown_songs_runs(own_songs):
    run_page("docs/howto/unknown-songs.md", own_songs)


@runs("docs/howto/changed-sound.md")
def test_the_page_on_changed_sound_runs(own_songs, model_path):
    shutil.copy(model_path, own_songs / "genre.songbag")
    run_page("docs/howto/changed-sound.md", own_songs)
    assert len((own_songs / "eval" / "robust.csv").read_text().splitlines()) == 9


@pytest.mark.full
@runs("docs/howto/similar-songs.md")
def test_the_page_on_similar_songs_runs(own_songs):
    shutil.copy(sorted((own_songs / "new").iterdir())[0], own_songs / "new" / "drift_001.wav")
    run_page("docs/howto/similar-songs.md", own_songs)
    assert len((own_songs / "neighbours.csv").read_text().splitlines()) > 3


@pytest.mark.full
@runs("docs/howto/map-of-songs.md")
def test_the_page_on_maps_runs(own_songs, model_path):
    shutil.copy(model_path, own_songs / "genre.songbag")
    run_page("docs/howto/map-of-songs.md", own_songs)
    assert "waltz" in (own_songs / "map.html").read_text()
    assert "confidence" in (own_songs / "answers.html").read_text()


@runs("docs/howto/label-few-songs.md")
def test_the_page_on_labelling_runs(own_songs):
    """Half of the songs have labels; the page of songbag label has tests of its own."""
    from songbag.tasks.label import Decision, LabelTable

    (own_songs / "audio").rename(own_songs / "songs")
    lines = (own_songs / "songs.csv").read_text().replace("audio/", "songs/").splitlines()
    known = dict(line.split(",")[:2] for line in lines[1:])
    (own_songs / "songs.csv").write_text("\n".join([lines[0], *lines[1::2], ""]))
    for kind, text in blocks("docs/howto/label-few-songs.md"):
        if "songbag label" not in text:
            text = text.replace("-n 25", "-n 8").replace("n=10", "n=3")
            run(kind, runnable(text) if kind == "sh" else text, own_songs)
            continue
        table = LabelTable.open(own_songs / "next.csv", sorted(set(known.values())), False)
        for number, song in enumerate(table.songs):
            label = known[str(Path(song.path).relative_to(own_songs))]
            table.decide(number, Decision("labelled", (label,)))
    assert len((own_songs / "next.csv").read_text().splitlines()) == 9


@runs("docs/howto/sort-songs.md")
def test_the_page_on_sorting_runs(own_songs, model_path):
    shutil.copy(model_path, own_songs / "genre.songbag")
    run_page("docs/howto/sort-songs.md", own_songs)
    assert not (own_songs / "sorted").exists()
    assert not (own_songs / "songbag.journal").exists()
    assert len((own_songs / "answers.jsonl").read_text().splitlines()) == 3


@pytest.mark.full
@runs("docs/howto/window-tables.md")
def test_the_page_on_window_tables_runs(tmp_path):
    rng = np.random.default_rng(0)
    with open(tmp_path / "features.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "chroma_stft_mean", "mfcc1_mean", "label"])
        for song in range(40):
            genre = ("blues", "rock")[song % 2]
            for window in range(4):
                values = rng.normal(song % 2, 1, 2).round(3)
                rows.writerow([f"{genre}.{song:05d}.{window}.wav", *values, genre])
    page = blocks("docs/howto/window-tables.md")
    python = "\n".join(text for kind, text in page if kind == "python")
    run("python", python.replace("epochs=40", "epochs=3"), tmp_path)
    for kind, text in page:
        if kind == "sh":
            run(kind, text, tmp_path)


@pytest.mark.full
@runs("docs/howto/several-labels.md")
def test_the_page_on_several_labels_runs(own_songs, windows):
    with open(own_songs / "songs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(own_songs / "songs.csv", "w", newline="") as file:
        sets = csv.writer(file)
        sets.writerow(["path", "labels", "artist"])
        for number, row in enumerate(rows):
            labels = row["label"] + (";loud" if number % 3 == 0 else "")
            sets.writerow([row["path"], labels, row["artist"]])
    run_page("docs/howto/several-labels.md", own_songs, ("--multilabel", "--multilabel --epochs 5"))
    assert ";loud" in (own_songs / "songs.csv").read_text()


@pytest.mark.full
@runs("docs/howto/check.md")
def test_the_page_on_checking_runs(tmp_path):
    run_page("docs/howto/check.md", tmp_path)
    assert (tmp_path / "music" / "cleaned.csv").is_file()


@runs("docs/howto/compare.md")
def test_the_page_on_comparing_runs(own_songs, windows, request):
    full = request.config.getoption("--full")
    lines = (own_songs / "songs.csv").read_text().splitlines(keepends=True)
    (own_songs / "more.csv").write_text("".join(lines))
    (own_songs / "songs.csv").write_text("".join(lines[:19]))
    assert len(blocks("docs/howto/compare.md")) == 6
    for kind, text in blocks("docs/howto/compare.md"):
        if full or not re.search("songbag.compare", text):  # the README's comparison runs always
            text = re.sub("songbag train", "songbag train --recipe fast --encoder none", text)
            run(kind, re.sub(*QUICK_COMPARISON, text), own_songs)


@runs("docs/howto/known-data.md")
def test_the_page_on_known_data_runs(tmp_path):
    known_folders.gtzan(tmp_path / "genres", known_folders.touch)
    for kind, text in blocks("docs/howto/known-data.md"):
        # Downloads have their own server in tests/known; empty files cannot be trained on.
        lines = [line for line in runnable(text).splitlines() if "data get" not in line]
        run(kind, "\n".join(line for line in lines if "train" not in line), tmp_path)
    assert len((tmp_path / "gtzan.csv").read_text().splitlines()) == 930


@runs("docs/howto/report.md")
def test_the_page_on_reports_runs(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "genre-training")
    (tmp_path / "genre-training" / "report.html").unlink()
    run_page("docs/howto/report.md", tmp_path)
    assert (tmp_path / "genre-training" / "report.html").exists()


@runs("docs/howto/serving.md")
def test_the_page_on_serving_runs(model_path, songs, tmp_path):
    from tests.helpers.serving_process import Server

    for name in ("song.mp3", "other.mp3"):
        shutil.copy(next((songs.parent / "audio").glob("*.mp3")), tmp_path / name)
    asked = 0
    with Server(model_path, tmp_path) as server:
        for kind, text in blocks("docs/howto/serving.md"):
            if "songbag serve" not in text:  # its options are checked with all others
                run(kind, text.replace("http://127.0.0.1:8765", server.url), tmp_path)
                asked += 1
    assert asked == 3


@runs("docs/howto/share-models.md")
def test_the_page_on_sharing_runs(own_songs, model_path, monkeypatch):
    from tests.helpers.web import serving

    monkeypatch.setenv("SONGBAG_CACHE", str(own_songs / "cache"))
    shutil.copy(model_path, own_songs / "genre.songbag")
    data = model_path.read_bytes()
    with serving({"/genre.songbag": ({}, data)}) as (url, asked):
        hashed = ("HASH", hashlib.sha256(data).hexdigest())
        run_page("docs/howto/share-models.md", own_songs, ("https://example.org", url), hashed)
    assert asked == ["/genre.songbag"]
    assert (own_songs / "README.md").read_text().startswith('---\nlicense: "mit"\n')
    assert len((own_songs / "answers.csv").read_text().splitlines()) == 4


@runs("docs/howto/export.md")
def test_the_page_on_exporting_runs(model_path, tmp_path):
    import soundfile

    shutil.copy(model_path, tmp_path / "genre.songbag")
    noise = 0.1 * np.random.default_rng(0).standard_normal(22050 * 12)
    soundfile.write(tmp_path / "song.wav", noise, 22050, subtype="PCM_16")
    run_page("docs/howto/export.md", tmp_path)


@pytest.mark.full
@runs("docs/howto/large-collections.md")
def test_the_page_on_large_collections_runs(own_songs, model_path, request):
    full = request.config.getoption("--full")
    shutil.copy(model_path, own_songs / "genre.songbag")
    shutil.copytree(own_songs / "audio", own_songs / "music" / "audio")
    shutil.copy(own_songs / "songs.csv", own_songs / "music")
    for kind, text in blocks("docs/howto/large-collections.md"):
        # A folder stands for the object store, two processes for the cluster.
        text = text.replace("s3://music", "music").replace("tcp://scheduler:8786", "local:2")
        lines = runnable(text).splitlines() if kind == "sh" else text.splitlines()
        if dask := [line for line in lines if "dask " in line]:
            assert options_exist(dask)
            continue
        if not full:  # trainings and clusters take their time
            lines = [line for line in lines if not re.match(r"(songbag|torchrun .*) train", line)]
            lines = [line.replace("--cluster local:2", "") for line in lines]
        text = re.sub(r"(-m songbag|songbag) train", r"\1 train --epochs 1", "\n".join(lines))
        run(kind, text, own_songs)


def options_exist(lines):
    """Look up the commands of Dask that start machines, which a test cannot."""
    dask = Path(sys.executable).with_name("dask")
    for name, rest in re.findall(r"dask (scheduler|worker)([^;\n]*)", "\n".join(lines)):
        text = subprocess.run([dask, name, "--help"], capture_output=True, text=True).stdout
        assert set(re.findall(r"--[a-z-]+", rest)) <= set(re.findall(r"--[a-z-]+", text)), name
    return True


@pytest.mark.full
@runs("docs/howto/encoders.md")
def test_the_page_on_encoders_runs(own_songs):
    write_encoder(own_songs / "encoder.onnx", stated={"sample_rate": 8000, "window": 4000})
    # Not the vote: its graph alone takes ten seconds, and other tests make it.
    mean = ("--pooling vote --epochs 20", "--pooling mean_logit")
    run_page("docs/howto/encoders.md", own_songs, mean)
    assert (own_songs / "vectors.parquet").exists()


@pytest.mark.full
@runs("docs/howto/own-parts.md")
def test_the_page_on_own_parts_runs(own_songs, monkeypatch):
    page = blocks("docs/howto/own-parts.md")
    python = [text for kind, text in page if kind == "python"]
    quiet = "import warnings\nwarnings.simplefilter('ignore')\n"  # of torch's exporter
    run_alone("python", quiet + "\n".join(python), own_songs)
    install(own_songs / "packages", python[-1])
    paths = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{own_songs / 'packages'}{os.pathsep}{paths}")
    for kind, text in page:
        if kind == "sh":
            run_alone(kind, runnable(text), own_songs)


def install(folder, code):
    """Put the package of the page where Python finds it, as an installer would."""
    text = (ROOT / "docs" / "howto" / "own-parts.md").read_text()
    (project,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    described = tomllib.loads(project)["project"]
    metadata = folder / f"{described['name']}-{described['version']}.dist-info"
    metadata.mkdir(parents=True)
    names = {"Metadata-Version": "2.1", "Name": described["name"], "Version": described["version"]}
    (metadata / "METADATA").write_text("".join(f"{key}: {names[key]}\n" for key in names))
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
            for group, entries in described["entry-points"].items()
        )
    )
    (folder / "my_parts.py").write_text(code)


@pytest.mark.full
@runs("docs/howto/follow-training.md")
def test_the_page_on_callbacks_runs(own_songs, monkeypatch):
    """The page's own class is fed; TensorBoard, where it is not installed, by a stand-in."""
    points = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, epoch=None):
            points.append((name, float(value), epoch))

        def close(self):
            points.append(self.folder)

    stand_in = types.ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    run_page("docs/howto/follow-training.md", own_songs)
    losses = [epoch for name, _, epoch in points[:-1] if name.endswith("/loss")]
    assert losses == [1, 2, 3]
    assert points[-2][0] == "test/accuracy"
    assert points[-1] == "runs/first"


@pytest.mark.full
@runs("docs/explanation/poolings.md")
def test_the_page_on_poolings_runs(windows):
    run_page("docs/explanation/poolings.md", windows)


def test_every_page_with_commands_is_run():
    assert {name for name in NAMES if blocks(name)} == RUN


@pytest.mark.parametrize("name", NAMES)
def test_no_command_hides_from_the_tests(name):
    """Commands stand in blocks of sh or python, which run, or in a line of prose."""
    text = BLOCK.sub("", (ROOT / name).read_text())
    if name.startswith(("docs/reference", "docs/decisions", "docs/experiments")):
        return
    for line in text.splitlines():
        assert not re.match(r"\s*(\$ |songbag [a-z]|pip |python |make [a-z])", line), line


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_prose_exist(name):
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for command in re.findall(r"`(songbag [a-z][^`]*)`|^(songbag .*)", text, re.MULTILINE):
        words = shlex.split("".join(command).partition("|")[0], comments=True)
        if words[1] in ("FOLDER", "COMMAND"):
            continue
        assert words[1] in main.commands, command
        found = main.commands[words[1]]
        if isinstance(found, click.Group) and len(words) > 2:
            found = found.commands[words[2]]
        options = {name for option in found.params for name in option.opts}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= options | {"--help"}, command
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert target in make_targets(), target


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for target, anchor in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", page.read_text()):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
            assert anchor[1:] in {anchor_of(head) for head in heads}, target + anchor


def anchor_of(head):
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")


def test_lines_fit_a_screen():
    for page in {*PAGES, *ROOT.glob("*.md")}:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            wide = len(line) > 120 and not line.lstrip().startswith("|") and "](" not in line
            assert not wide, f"{page.name}, line {number}"
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140


def test_the_tree_in_the_readme_is_true():
    tree = (ROOT / "README.md").read_text().partition("songbag/\n")[2].partition("```")[0]
    columns = [re.split(r" {3,}", line.strip())[0] for line in tree.splitlines()]
    names = re.findall(r"(\w+)(/?)", " ".join(columns))
    for name, slash in names:
        path = ROOT / "songbag" / name
        assert path.is_dir() if slash else path.with_suffix(".py").exists(), name
    rooms = {path.parent.name for path in (ROOT / "songbag").glob("*/__init__.py")}
    assert rooms == {name for name, slash in names if slash}


def test_the_examples_are_python():
    for path in (ROOT / "examples").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")


def test_the_reference_is_what_docstrings_say():
    from docs.make_reference import page

    written = (ROOT / "docs" / "reference" / "python.md").read_text()
    assert written == page(), "run: python docs/make_reference.py"


def test_the_page_on_poolings_says_what_the_registry_says():
    from songbag.parts import poolings

    text = (ROOT / "docs" / "explanation" / "poolings.md").read_text()
    spaces = {"logits": "logit", "probabilities": "probability", "–": None}
    rows = re.findall(r"^\| (`.*?) \| .*? \| (\S+) \|", text, re.MULTILINE)
    listed = {
        name: spaces[space] for names, space in rows for name in re.findall(r"`(\w+)`", names)
    }
    assert listed.pop("mean") == listed["mean_probability"]  # its short name
    assert listed == {name: poolings()[name].space for name in poolings()}


def test_every_test_that_the_page_on_reliability_names_exists():
    page = (ROOT / "docs" / "explanation" / "reliability.md").read_text()
    tests = {
        f"{path.relative_to(ROOT / 'tests')}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    file, named = "", set()
    for path, test in re.findall(r"`([\w/]+\.py)?::(test_\w+)`", page):
        file = path or file
        named.add(f"{file}::{test}")
    assert named - tests == set()
    assert len(named) > 80

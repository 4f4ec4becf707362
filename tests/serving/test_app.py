"""Starting and stopping a server; its answers, and what it says about itself."""

import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
import requests
from click.testing import CliRunner

from songbag.audio.waveform import write_waveform
from songbag.cli import main
from songbag.inference.model_file import load_model
from songbag.settings import Excerpt
from tests.helpers.command import songbag
from tests.helpers.serving_process import Server, alive, with_card


def test_answers_are_byte_equal_to_predict(server, model_path, audio, tmp_path):
    kinds = {path.suffix: path for path in audio}
    for path in kinds.values():
        shutil.copy(path, tmp_path)
    song = 0.3 * np.random.default_rng(0).standard_normal(8000 * 9).astype(np.float32)
    write_waveform(tmp_path / "telephone.wav", song, 8000)
    write_waveform(tmp_path / "cancelling.wav", np.stack([song, -song]), 22050)
    names = sorted(path.name for path in tmp_path.iterdir())
    files = ["--csv", "a.csv", "--json", "a.json", "--windows", "--cache", tmp_path / "cache"]
    assert songbag("predict", model_path, *names, *files, cwd=tmp_path).returncode == 0
    answers = [server.predict(tmp_path / name, csv=True) for name in names]
    assert "narrow: " in answers[names.index("telephone.wav")].text
    assert "cancelling: " in answers[names.index("cancelling.wav")].text
    assert [answer.status_code for answer in answers] == [200] * len(names)
    raw = [msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw]) for answer in answers]
    # The very bytes of the JSON file, song by song: its row, then its windows.
    whole = b",".join(
        bytes(one["song"])[:-1] + b',"windows_detail":' + bytes(one["windows"]) + b"}"
        for one in raw
    )
    made = msgspec.json.format(b"[" + whole + b"]", indent=1) + b"\n"
    assert made == (tmp_path / "a.json").read_bytes()
    for part, file in (("songs", "a.csv"), ("windows", "a-windows.csv")):
        texts = [answer.json()["csv"][part] for answer in answers]
        head = texts[0].partition("\n")[0] + "\n"
        assert (
            head + "".join(text.removeprefix(head) for text in texts)
            == (tmp_path / file).read_text()
        )


def test_songs_at_once_get_their_own_answers(server, audio):
    alone = [server.predict(path).content for path in audio[:6]]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda path: server.predict(path).content, audio[:6] * 3))
    assert together == alone * 3
    assert len(set(alone)) == 6


def test_bad_files_get_their_reason_and_no_path(server, model_path, nine, labels):
    listed = songbag("predict", model_path, ".", cwd=nine).stdout
    for path in sorted(nine.iterdir()):
        answer = server.predict(path, name=f"music/{path.name}")
        body = answer.json()
        assert body["song"]["id"] == path.name
        assert "songbag-serve" not in answer.text
        if path.name in ("empty.mp3", "photo.mp3"):
            assert answer.status_code == 422
            assert body["reason"] == body["song"]["reason"]
            assert re.search(rf"{path.name},failed,{body['reason']},", listed)
            assert body["message"].startswith(f"{path.name}: ")
        else:
            assert answer.status_code == 200
            assert body["song"]["predicted"] in labels
    assert not server.uploads()


def test_a_song_may_be_called_anything(server, audio):
    name = 'Bad <b>"band"</b> & söng\u202e.mp3'
    with open(audio[0], "rb") as file:
        form = {"files": {"file": ("x.mp3", file)}, "data": {"id": name}}
        body = requests.post(f"{server.url}/predict", timeout=30, **form).json()
    assert body["song"]["id"] == name.replace("\u202e", "")
    traversing = server.predict(audio[0], name="../../etc/passwd").json()
    assert traversing["song"]["id"] == "passwd"


def test_parts_are_given_as_asked(server, audio):
    assert set(server.predict(audio[0], windows=False).json()) == {"song"}
    body = server.predict(audio[0], peaks=True, kept=True).json()
    assert set(body) == {"song", "windows", "recording", "kept"}
    recording = body["recording"]
    assert recording["heard_from"] == 0
    assert recording["seconds"] == pytest.approx(body["windows"][-1]["end"], abs=2.5)
    assert 1000 < len(recording["peaks"]) <= 2000
    assert 0 < max(recording["peaks"]) <= 1.5


def test_an_excerpt_is_drawn_where_it_lies(model_path, audio, tmp_path):
    recipe = load_model(model_path).card.recipe
    middle = msgspec.structs.replace(recipe, excerpt=Excerpt(seconds=10, place="middle"))
    path = with_card(model_path, tmp_path / "middle.songbag", recipe=middle)
    with Server(path, tmp_path) as server:
        body = server.predict(audio[0], peaks=True).json()
    assert body["recording"]["seconds"] == pytest.approx(18, abs=0.1)
    assert body["recording"]["heard_from"] == pytest.approx(4, abs=0.1)
    assert body["windows"][0]["start"] == 0
    assert 7.5 < body["song"]["seconds"] <= 10


def test_the_description_is_what_it_answers(server, audio, labels):
    made = requests.get(f"{server.url}/openapi.json", timeout=10).json()
    plain = {"/model", "/models", "/predict", "/without"}
    named = {"/models/genre/predict", "/models/genre/without"}
    assert set(made["paths"]) == plain | named | {"/health", "/healthz", "/readyz", "/metrics"}
    answer = made["paths"]["/predict"]["post"]["responses"]["200"]
    one, several = answer["content"]["application/json"]["schema"]["oneOf"]
    schemas = made["components"]["schemas"]

    def check(value, schema):
        if "oneOf" in schema:  # an answer or an error
            schema = schema["oneOf"]["reason" in value]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            schema = schema["anyOf"][value is None]
        kind = {"object": dict, "array": list, "string": str, "number": (int, float)}
        assert (
            value is None if schema["type"] == "null" else isinstance(value, kind[schema["type"]])
        )
        if isinstance(value, dict):
            assert set(schema["required"]) <= set(value) <= set(schema["properties"])
            for name, part in value.items():
                check(part, schema["properties"][name])
        if isinstance(value, list):
            for part in value:
                check(part, schema["items"])

    check(server.predict(audio[0], peaks=True, kept=True, csv=True).json(), one)
    with open(audio[0], "rb") as file:
        files = [("file", ("a.mp3", file)), ("file", ("b.mp3", b"no song"))]
        form = {"files": files, "timeout": 30, "params": {"windows": False}}
        both = requests.post(f"{server.url}/predict", **form).json()
    for error in both["answers"][1:]:
        assert error.pop("song")["status"] == "failed"
    check(both, several)
    assert {f"p_{label}" for label in labels} < set(schemas["Song"]["properties"])
    parameters = {p["name"] for p in made["paths"]["/predict"]["post"]["parameters"]}
    assert parameters == {"windows", "peaks", "csv", "kept", "tags", "id"}


def test_model_and_health(server, model_path, labels):
    card = requests.get(f"{server.url}/model", timeout=10).json()
    assert card["labels"] == list(labels)
    assert card["figures"]["metrics"]["accuracy"]["value"] is not None
    assert card["hash"] == load_model(model_path).hash
    assert "heard" not in card
    health = server.health()
    assert (health["status"], health["at_work"], health["waiting"]) == ("ok", 0, 0)
    assert health["model"] == card["hash"]


def test_every_error_is_json_with_a_reason(server):
    url = server.url
    answers = [
        (requests.get(f"{url}/nothing", timeout=10), 404),
        (requests.get(f"{url}/static/../app.py", timeout=10), 404),
        (requests.get(f"{url}/static/%2e%2e/app.py", timeout=10), 404),
        (requests.get(f"{url}/predict", timeout=10), 405),
        (requests.post(f"{url}/predict", timeout=10), 422),
        (requests.post(f"{url}/predict", files={"song": b"x"}, timeout=10), 422),
        (requests.post(f"{url}/models/other/predict", data=b"x", timeout=10), 404),
        (requests.post(f"{url}/predict?windows=maybe", timeout=10), 422),
        (requests.post(f"{url}/without", data=b"{", timeout=10), 422),
        (requests.post(f"{url}/without", json={"kept": 5}, timeout=10), 422),
        (
            requests.post(
                f"{url}/predict",
                data=b"no form",
                headers={"Content-Type": "multipart/form-data"},
                timeout=10,
            ),
            400,
        ),
    ]
    for answer, status in answers:
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"reason", "message"}


def test_nothing_reports_to_anybody(model_path, audio, tmp_path):
    """ONNX Runtime's reports begin with a file in the temporary folder and one at home."""
    places = {name: str(tmp_path / name) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")}
    for place in places.values():
        os.mkdir(place)
    own = ("ORT_DISABLE_TELEMETRY", "CI")  # in a CI it says nothing anyway
    environment = {k: v for k, v in os.environ.items() if k not in own} | places
    assert songbag("predict", model_path, audio[0], env=environment).returncode == 0
    # The other way round, so that this test can fail: told to report, it leaves its file.
    assert not list(tmp_path.rglob(".ses"))
    loud = environment | {"ORT_DISABLE_TELEMETRY": "0"}
    assert songbag("predict", model_path, audio[0], env=loud).returncode == 0
    assert list(tmp_path.rglob(".ses"))


def test_static_files_stay_readable():
    import songbag.serving

    folder = Path(songbag.serving.__file__).parent / "static"
    for path in folder.iterdir():
        if path.is_file():
            assert path.read_text().count("\n") < 300, path.name
    listed = (folder / "vendor" / "README.md").read_text()
    for path in (folder / "vendor").iterdir():
        if path.suffix != ".md":
            assert (folder / "vendor" / f"{path.name.partition('.')[0]}.LICENSE").exists(), path
            assert f"`{path.name}`" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "add --allow-remote"),
        (["--host", "0.0.0.0", "--token", "x" * 20], "add --allow-remote"),
        (["--host", "0.0.0.0", "--allow-remote"], "needs a --token"),
        (["--host", "0.0.0.0", "--allow-remote", "--token", "short"], "5 letters"),
        (["--max-megabytes", "0"], "max_megabytes"),
        (["--allow-origin", "*"], "no wildcard"),
        (["--allow-origin", "https://a.example/page"], "no path"),
    ],
)
def test_unsafe_options_are_refused(model_path, arguments, said):
    done = CliRunner(env={"SONGBAG_TOKEN": None}).invoke(
        main, ["serve", str(model_path), "--no-browser", *arguments]
    )
    assert done.exit_code == 2
    assert said in done.output


def test_a_taken_port_and_a_model_of_tables_are_said(server, model_path, tmp_path):
    port = server.url.rpartition(":")[2]
    done = CliRunner().invoke(main, ["serve", str(model_path), "--no-browser", "--port", port])
    assert done.exit_code == 2
    assert "--port 0 takes a free port" in done.output
    done = CliRunner().invoke(main, ["serve", str(model_path), str(model_path), "--no-browser"])
    assert done.exit_code == 2
    assert "two models have the same name" in done.output
    table = with_card(model_path, tmp_path / "t.songbag", source="table")
    done = CliRunner().invoke(main, ["serve", str(table), "--no-browser"])
    assert done.exit_code == 2
    assert "cannot predict songs" in done.output


def test_without_the_extra_it_says_what_to_install(model_path):
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        f"from songbag.cli import main; main(['serve', {str(model_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'songbag[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_it_cleanly(model_path, tmp_path):
    command = [sys.executable, "-m", "songbag", "serve", str(model_path), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-browser"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    lines = [process.stderr.readline() for _ in range(2)]
    assert re.fullmatch(r"genre\.songbag is at http://127\.0\.0\.1:\d+/\n", lines[0])
    assert lines[1] == "Ctrl-C stops it.\n"
    # As a terminal does it: to the whole group, workers included.
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(20) == 0
    assert rest == "Stopped.\n"
    process.stderr.close()


def test_a_killed_server_leaves_no_process_and_no_file_for_long(model_path, audio, tmp_path):
    server = Server(model_path, tmp_path)
    workers = server.workers()
    assert workers
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    left = list(server.temporary.glob("songbag-serve-*"))
    assert left
    server.until(lambda: not any(map(alive, workers)))
    with Server(model_path, tmp_path) as again:
        assert not any(folder.exists() for folder in left)
        assert again.predict(audio[0]).ok
    assert not list(again.temporary.glob("songbag-serve-*"))

"""Starting and stopping a server."""

import os
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from songbag.cli import main
from tests.helpers.serving_process import Server, alive, with_card


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "add --allow-remote"),
        (["--host", "0.0.0.0", "--token", "x" * 20], "add --allow-remote"),
        (["--host", "0.0.0.0", "--allow-remote"], "needs a --token"),
        (["--host", "0.0.0.0", "--allow-remote", "--token", "short"], "5 letters"),
        (["--max-megabytes", "0"], "max_megabytes"),
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

"""Results as text in a terminal and in a pipe."""

import os
import re
import sys
from types import SimpleNamespace

from songbag.cli.terminal import conclusion_text, leakage_text
from tests.helpers.report_pages import compared, leaked


def test_a_comparison_on_a_pipe_is_plain_and_fits(tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    found = compared(systems=6)
    found["systems"][0]["system"] = "a name [bold]that is longer than any column should be"
    verdict = SimpleNamespace(folder=tmp_path, **({"metric": "accuracy"} | found))
    text = conclusion_text(verdict)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]" in text
    assert text.splitlines()[0] == found["said"][0]
    assert "5 more pairs" in text
    for row in found["systems"]:
        assert f"{row['accuracy']:.3f}" in text
    many = leakage_text(leaked()["rows"], leaked()["said"])
    assert max(map(len, many.splitlines())) <= 80
    assert "permuted window" in many


def test_a_single_song_shows_a_timeline_of_every_label(model_path, songs):
    """A real pseudo-terminal of 80 columns, without colours."""
    import pty

    path = next(iter(sorted((songs.parent / "audio").iterdir())))
    output = b""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="80", TERM="xterm", NO_COLOR="1")
        command = [sys.executable, "-m", "songbag", "predict", str(model_path), str(path)]
        os.execv(sys.executable, command)
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        output += data
        if not data:
            break
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    text = output.decode()
    assert not re.search(r"\x1b\[[0-9;]*3\dm", text)  # no colour
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").split("\n")
    drawn = {line.split()[0]: line.split()[-1] for line in lines if re.search("[▁▂▃▄▅▆▇█]", line)}
    assert set(drawn) == {"drift", "gallop", "waltz"}
    assert len({len(bars) for bars in drawn.values()}) == 1
    assert max(map(len, lines)) <= 80

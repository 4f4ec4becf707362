"""Downloads against a real server: cut off and gone on with, damaged, without ranges."""

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import numpy as np
import pytest

from songbag.console import Console
from songbag.errors import DownloadError, SettingsError
from songbag.known.data_set import Archive, data_set
from songbag.known.download import download, get
from songbag.known.tables import table_of
from tests.helpers import known_folders as make
from tests.helpers.command import songbag as command

QUIET = Console(quiet=True)


class Server:
    """Serves one file; ``cut`` bytes are sent and the line is cut, ``ranges`` are answered."""

    def __init__(self, data):
        self.data, self.cut, self.ranges, self.asked, self.sent = data, None, True, [], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                outer.asked.append(wanted)
                first = (
                    int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and outer.ranges else 0
                )
                if first >= len(outer.data):
                    self.send_response(416)
                    self.end_headers()
                    return
                body = outer.data[first:]
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                body = body if outer.cut is None else body[: outer.cut]
                outer.sent += len(body)
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/master.zip"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def archive(tmp_path):
    """A zip of a miniature ESC-50, as its repository gives it."""
    make.esc(tmp_path / "made" / "ESC-50-master", write=make.touch)
    (tmp_path / "made" / "ESC-50-master" / "noise.bin").write_bytes(
        np.random.default_rng(0).bytes(1_000_000)
    )
    path = shutil.make_archive(str(tmp_path / "served"), "zip", tmp_path / "made")
    with open(path, "rb") as file:
        return file.read()


def described(server, data, folder="ESC-50-master"):
    return Archive(url=server.url, hash=f"md5:{hashlib.md5(data).hexdigest()}", folder=folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_that_is_cut_off_goes_on_where_it_was(archive, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with Server(archive) as server:
        one, server.cut = described(server, archive), 500_000
        with pytest.raises(DownloadError, match="The same command goes on from there"):
            download(one, folder, print)
        assert names(folder) == ["ESC-50-master.zip.part"]
        here = (folder / "ESC-50-master.zip.part").read_bytes()
        assert 400_000 < len(here) <= 500_000 and archive.startswith(here)
        server.cut = None
        path = download(one, folder, print)
        assert path.read_bytes() == archive
        assert server.asked == [None, f"bytes={len(here)}-"]
        assert server.sent == 500_000 + len(archive) - len(here)
        assert download(one, folder, print) == path  # it is there: nothing is asked
        assert len(server.asked) == 2
    assert names(folder) == ["ESC-50-master.zip"]


def test_a_server_without_ranges_sends_all_again(archive, tmp_path):
    with Server(archive) as server:
        one, server.ranges, server.cut = described(server, archive), False, 5_000
        with pytest.raises(DownloadError):
            download(one, tmp_path, print)
        server.cut = None
        assert download(one, tmp_path, print).read_bytes() == archive


def test_a_download_that_was_whole_but_not_renamed_is_taken(archive, tmp_path):
    (tmp_path / "ESC-50-master.zip.part").write_bytes(archive)
    with Server(archive) as server:
        assert download(described(server, archive), tmp_path, print).read_bytes() == archive
        assert server.sent == 0


def test_another_file_than_was_published_is_refused_and_removed(archive, tmp_path):
    with Server(archive[:-1] + b"x") as server:
        one = described(server, archive)
        with pytest.raises(DownloadError, match="not what was published"):
            download(one, tmp_path, print)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("ESC")]


def test_no_server_and_no_such_file_are_said(archive, tmp_path):
    with Server(archive) as server:
        one = described(server, archive)
    with pytest.raises(DownloadError, match="stopped after 0 MB"):
        download(one, tmp_path, print)


def test_get_unpacks_whole_or_not_at_all_and_the_table_is_made(archive, tmp_path):
    folder = tmp_path / "data"
    with Server(archive) as server:
        facts = msgspec.structs.replace(
            data_set("esc50"), files=(described(server, archive),),
            counts={"songs": 30, "labels": 2, "folds": 5},
        )  # fmt: skip
        place = get(facts, folder, QUIET)
        assert place == folder / "ESC-50-master"
        assert len(table_of(facts, place).rows) == 30
        (folder / "ESC-50-master.zip").unlink()
        assert get(facts, folder, QUIET) == place  # unpacked already: nothing is asked
        assert len(server.asked) == 1
        shutil.rmtree(place)
        other = msgspec.structs.replace(facts, files=(described(server, archive, "ESC-50-main"),))
        with pytest.raises(DownloadError, match="there is no folder ESC-50-main in it"):
            get(other, folder, QUIET)
    assert names(folder) == ["ESC-50-main.zip"]


def test_a_disk_without_room_is_refused_before(archive, tmp_path):
    with Server(archive) as server:
        large = msgspec.structs.replace(described(server, archive), megabytes=10**9)
        with pytest.raises(DownloadError, match="Name a folder on a larger disk"):
            get(msgspec.structs.replace(data_set("esc50"), files=(large,)), tmp_path, QUIET)
        assert not server.asked


def test_what_may_not_be_downloaded_says_where_to_go(tmp_path):
    for name in ("gtzan", "magnatagatune", "mtg_jamendo", "emotify"):
        done = command("data", "get", name, tmp_path / "data")
        assert done.returncode == 2
        assert data_set(name).manual in done.stderr
    with pytest.raises(SettingsError, match="is not downloaded"):
        get(data_set("gtzan"), tmp_path, QUIET)
    assert not (tmp_path / "data").exists()

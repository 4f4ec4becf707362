"""Tags: what is written is read by mutagen, and nothing else in the file changes."""

import os
import stat

import mutagen
import numpy as np
import pytest
from mutagen import id3

from songbag.audio.decode import packets_hash
from songbag.audio.tags import read_field, write_field
from songbag.audio.waveform import write_waveform
from songbag.errors import SettingsError, TagError

ENDINGS = (".mp3", ".flac", ".opus", ".m4a", ".wav", ".ogg", ".aiff")
FIELDS = ("genre", "artist", "album", "grouping", "comment", "SONGBAG_GENRE")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A second of noise in every format that has tags."""
    import soundfile

    folder = tmp_path_factory.mktemp("sounds")
    noise = (0.1 * np.random.default_rng(0).standard_normal(22050)).astype(np.float32)
    for ending in ENDINGS:
        if ending in (".ogg", ".aiff"):
            soundfile.write(folder / f"song{ending}", noise, 22050)
        else:
            write_waveform(folder / f"song{ending}", noise, 22050)
    return folder


@pytest.fixture
def song(sounds, tmp_path):
    def copy(ending, name="song"):
        target = tmp_path / f"{name}{ending}"
        target.write_bytes((sounds / f"song{ending}").read_bytes())
        return target

    return copy


def packets(path):
    with open(path, "rb") as file:
        return packets_hash(path, file)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_field_is_written_read_and_removed(song, ending):
    path = song(ending)
    sound = packets(path)
    before = read_field(path, "genre")
    write_field(path, "album", ["Über, 100 %"])
    for field in FIELDS:
        assert read_field(path, field) == (("Über, 100 %",) if field == "album" else ())
        write_field(path, field, ["a", "Motörhead 雪"])
        assert read_field(path, field) == ("a", "Motörhead 雪")
        write_field(path, field, [] if field != "album" else ["Über, 100 %"])
    assert read_field(path, "genre") == before == ()
    assert read_field(path, "album") == ("Über, 100 %",)
    assert packets(path) == sound
    assert "Über, 100 %" in str(mutagen.File(path).tags.pprint())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_id3v23_stays_with_its_other_frames(song):
    path = song(".mp3")
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=1, text="a/b"))
    tags.add(id3.TYER(encoding=0, text="1999"))
    tags.add(id3.TPE1(encoding=1, text=["A", "B"]))
    tags.add(id3.COMM(encoding=0, lang="eng", desc="iTunNORM", text="0000"))
    tags.add(id3.TCON(encoding=0, text="(17)"))
    tags.add(id3.APIC(encoding=0, mime="image/png", type=3, desc="", data=b"\x89PNG" * 500))
    tags.save(path, v2_version=3, v23_sep=None)
    with open(path, "ab") as file:
        old = b"TAG" + b"an old title".ljust(94, b"\0") + b"a comment".ljust(30, b"\0") + b"\x11"
        file.write(old)
    assert read_field(path, "genre") == ("Rock",)
    assert read_field(path, "genre", raw=True) == ("(17)",)
    assert read_field(path, "comment") == ()
    write_field(path, "genre", ["Pöp"])
    write_field(path, "comment", ["mine"])
    found = id3.ID3(path, translate=False, load_v1=False)
    assert found.version == (2, 3, 0)
    assert {frame.HashKey for frame in found.values()} == {
        *("TIT2", "TYER", "TPE1", "COMM:iTunNORM:eng", "COMM::eng", "TCON", "APIC:"),
    }
    assert found["TPE1"].text == ["A", "B"]
    assert path.read_bytes()[-128:] == old
    write_field(path, "genre", ["(17)"], raw=True)
    assert read_field(path, "genre", raw=True) == ("(17)",)


def test_mode_and_link_stay(song, tmp_path):
    path = song(".flac")
    path.chmod(0o640)
    link = tmp_path / "link.flac"
    link.symlink_to(path.name)
    write_field(link, "genre", ["x"])
    assert link.is_symlink()
    assert read_field(path, "genre") == ("x",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("field", ["gener", "TITLE", "", "genre\n", "A_b", "SONGBAG="])
def test_a_field_that_is_not_known_is_refused(song, field):
    with pytest.raises(SettingsError, match="no field of tags"):
        write_field(song(".flac"), field, ["x"])


def test_what_cannot_be_tagged_is_said_and_left(song, tmp_path):
    path = song(".mp3")
    whole = path.read_bytes()
    path.chmod(0o444)
    with pytest.raises(TagError, match="read-only"):
        write_field(path, "genre", ["x"])
    path.chmod(0o644)
    os.link(path, tmp_path / "second.mp3")
    with pytest.raises(TagError, match="2 names"):
        write_field(path, "genre", ["x"])
    (tmp_path / "second.mp3").unlink()
    with pytest.raises(TagError, match="field of your own"):
        write_field(path, "genre", ["17"])  # which means Rock
    with pytest.raises(TagError, match="would read as"):
        write_field(path, "genre", ["a\0b"])
    assert path.read_bytes() == whole
    for name, data in {
        "empty.mp3": b"",
        "text.mp3": b"words " * 100,
        "riff.wav": whole[:0] + b"RIFF\xff\xff\xff\xffWAVEfmt ",
        "song.webm": b"\x1a\x45\xdf\xa3" * 50,
        "half.flac": b"fLaC\0\0\0\x22" + b"\xff" * 20,
        "half.m4a": b"\0\0\0\x18ftypM4A " + b"\xff" * 40,
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TagError, match=name):
            write_field(tmp_path / name, "genre", ["x"])
        assert (tmp_path / name).read_bytes() == data
    with pytest.raises(TagError, match="No such file"):
        read_field(tmp_path / "none.mp3", "genre")
    assert not list(tmp_path.glob(".*"))


def test_without_mutagen_the_line_to_install_it_is_said(song, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mutagen", None)
    with pytest.raises(SettingsError, match=r"pip install 'songbag\[tags\]'"):
        read_field(song(".mp3"), "genre")

"""The facts of a file: measured once, again where the cache is damaged, and what is odd."""

import numpy as np
import pytest

from songbag.audio.meter import SoundFacts
from songbag.audio.waveform import write_waveform
from songbag.data.song import Song
from songbag.quality import file_facts
from songbag.quality.file_facts import Facts, file_findings
from songbag.recipes.load import load_recipe
from songbag.settings import Excerpt, Limits

RATE = 22050


@pytest.mark.parametrize("damage", ["flip", "empty"])
def test_damaged_facts_are_made_again(waves, tmp_path, damage):
    write_waveform(tmp_path / "a.wav", waves[0], RATE)
    song = Song(id="a", path=str(tmp_path / "a.wav"))

    def measured():
        sources = [song.source(Excerpt())]
        ((found, file),) = file_facts.measure_all(
            sources, tmp_path / "c", Limits(), 1, lambda made, n: made
        )
        return found, file_facts.read_codes(file)

    before = measured()
    (file,) = (tmp_path / "c").rglob("*.safetensors")
    data = file.read_bytes()
    file.write_bytes(b"" if damage == "empty" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    after = measured()
    assert after[0] == before[0]
    assert np.array_equal(after[1], before[1])


def test_what_few_files_have_is_odd_and_a_mixed_collection_is_not():
    alike = {"codec": "mp3float", "channels": 2, "seconds": 30, "sound": SoundFacts(level_db=-15)}
    usual = Facts(native_rate=44100, **alike)
    songs = [Song(id=str(n), path="x", label="a") for n in range(20)]

    def odd(strange):
        found = file_findings(songs, [usual] * (20 - len(strange)) + strange, load_recipe("auto"))
        return [(one.kind, one.id) for one in found]

    eight = Facts(native_rate=8000, **alike)
    assert odd([eight]) == [("odd", "19")]
    assert odd([eight] * 8) == []

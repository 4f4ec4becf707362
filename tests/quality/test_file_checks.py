"""What sets a file apart from the others."""

from songbag.data.song import Song
from songbag.quality.file_checks import file_findings
from songbag.quality.file_facts import Facts


def test_what_few_files_have_is_odd_and_a_mixed_collection_is_not():
    usual = Facts(codec="mp3float", native_rate=44100, channels=2, seconds=30, level_db=-15)
    songs = [Song(id=str(n), path="x", label="a") for n in range(20)]

    def odd(strange):
        found = file_findings(songs, [usual] * (20 - len(strange)) + strange, 5.0)
        return [(one.kind, one.id) for one in found]

    eight = Facts(codec="mp3float", native_rate=8000, channels=2, seconds=30, level_db=-15)
    assert odd([eight]) == [("odd", "19")]
    assert odd([eight] * 8) == []

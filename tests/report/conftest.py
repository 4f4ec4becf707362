"""Folders of a run that tests may change."""

import pytest

from tests.helpers.report_pages import all_wrong, copied_run


@pytest.fixture
def run(trained, songs, tmp_path):
    """The files of a training, and its songs, where a test may change them."""
    return copied_run(trained, songs, tmp_path)


@pytest.fixture
def wrong(run):
    """The same with every answer wrong, so that there are mistakes to show."""
    return all_wrong(run)


@pytest.fixture
def mute(wrong):
    """The same where nobody knows the files: quick, because nothing is decoded."""
    (wrong / "audio.csv").unlink()
    return wrong

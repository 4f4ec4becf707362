"""One reader for songs and windows: the same files, delimiters, encodings and refusals."""

import numpy as np
import pandas
import pytest

from songbag.data.table_files import read_columns, read_rows
from songbag.errors import SongTableError


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "id,x\na,1\n"), ("a.csv", "id;x\na;1\n"), ("a.csv", "id\tx\na\t1\n"),
     ("a.tsv", "id\tx\na\t1\n"), ("a.csv", "\ufeffid,x\r\na,1\r\n")],
)  # fmt: skip
def test_rows_and_columns_are_those_of_the_same_table(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    assert list(read_rows(tmp_path / name)) == [(2, {"id": "a", "x": "1"})]
    columns = read_columns(tmp_path / name)
    assert {column: values.tolist() for column, values in columns.items()} == {
        "id": ["a"],
        "x": [1],
    }


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("a.csv", "id,x\nb\xe9,1\n".encode("latin-1"), "line 2: not UTF-8"),
     ("a.csv", b"", "the table is empty"),
     ("a.csv", b'id,x\n"a,1\n', "not a table"),
     ("a.parquet", b"PAR1 no", "not a Parquet file"),
     ("b.csv", None, "no such table")],
)  # fmt: skip
def test_songs_and_windows_are_refused_with_the_same_reason(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SongTableError, match=message):
            list(read_rows(tmp_path / name))
    with pytest.raises(SongTableError, match=message):
        read_columns(tmp_path / name)


def test_missing_values_are_empty_cells_and_a_named_index_is_a_column(tmp_path):
    frame = pandas.DataFrame(
        {"x": [1.5, np.nan], "when": pandas.to_datetime(["2020-01-01", None]), "t": ["a", None]},
        index=pandas.Index(["i", "j"], name="id"),
    )
    frame.to_parquet(tmp_path / "a.parquet")
    rows = [
        (2, {"id": "i", "x": "1.5", "when": "2020-01-01 00:00:00", "t": "a"}),
        (3, {"id": "j", "x": "", "when": "", "t": ""}),
    ]
    assert list(read_rows(frame)) == rows
    assert list(read_rows(tmp_path / "a.parquet")) == rows


def test_feature_columns_of_parquet_are_views_of_one_matrix(tmp_path):
    frame = pandas.DataFrame({"s": ["a", "b"], "f_0": [0.0, 1.0], "f_1": [2.0, 3.0], "n": [1, 2]})
    frame.to_parquet(tmp_path / "a.parquet")
    columns = read_columns(tmp_path / "a.parquet", "f_*")
    assert columns["f_0"].base is columns["f_1"].base
    assert columns["f_0"].base.tolist() == [[0, 2], [1, 3]]
    assert set(columns) == set(frame)

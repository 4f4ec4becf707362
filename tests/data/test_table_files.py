"""One reader for songs and windows: the same files, delimiters, encodings and refusals."""

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from songbag.data.table_files import numbers, read_columns, read_rows
from songbag.errors import SongTableError


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "id,x\na,1\n"), ("a.csv", "id;x\na;1\n"), ("a.csv", "id\tx\na\t1\n"),
     ("a.tsv", "id\tx\na\t1\n"), ("a.csv", "\ufeffid,x\r\na,1\r\n"), ("a.csv", "id,x\ra,1\r"),
     ("a.csv", "sep=;\nid;x\na;1\n"), ("a.csv", '"sep=\t"\nid\tx\na\t1\n'.replace('"', "")),
     ("a.csv", "id,x \na,1\n"), ("a.csv", 'id,x\n"a",1\n'), ("a.csv", "id,x,\na,1,\n")],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_rows_and_columns_are_those_of_the_same_table(tmp_path, name, text, encoding):
    text = text.lstrip("\ufeff") if encoding == "utf-16" else text
    (tmp_path / name).write_bytes(text.encode(encoding))
    ((line, row),) = read_rows(tmp_path / name)
    assert line == 2 + text.startswith("sep=")
    assert {key.strip(): cell for key, cell in row.items() if key} == {"id": "a", "x": "1"}
    for features, value in (((), "1"), ("x", 1.0), (None, 1.0)):
        columns = read_columns(tmp_path / name, features)
        found = {key: values.tolist() for key, values in columns.items() if "Unnamed" not in key}
        assert found == {"id": ["a"], "x": [value]}


TEXTS = ["NA", "None", "null", "nan", "001", "1", "true", "1e5", " a"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.xlsx", "a.jsonl", "a.parquet"])
def test_text_in_a_file_stays_as_it_is(tmp_path, name):
    frame = pandas.DataFrame({"path": "a.wav", "id": TEXTS, "label": TEXTS, "x": range(9)})
    write = {"csv": "to_csv", "tsv": "to_csv", "xlsx": "to_excel", "parquet": "to_parquet"}
    how = {"sep": "\t"} if name == "a.tsv" else {}
    if name == "a.jsonl":
        frame.to_json(tmp_path / name, orient="records", lines=True)
    else:
        getattr(frame, write[name[2:]])(tmp_path / name, index=False, **how)
    rows = [row for _, row in read_rows(tmp_path / name)]
    assert [row["label"] for row in rows] == TEXTS
    assert [row["x"] for row in rows] == list("012345678")
    columns = read_columns(tmp_path / name, None, text=("id", "label", "path"))
    assert columns["id"].tolist() == TEXTS
    assert numbers(columns["x"], "x").tolist() == list(range(9))


def test_polars_and_arrow_are_tables_too():
    frame = pandas.DataFrame({"id": ["a", "b"], "x": [1.5, 2.0], "f": [[1.0, 2.0], [3.0, 4.0]]})
    for table in (pyarrow.table(frame), polars.from_pandas(frame)):
        assert [row for _, row in read_rows(table)][1]["x"] == "2.0"
        assert np.stack(read_columns(table)["f"]).tolist() == frame["f"].tolist()
    with pytest.raises(TypeError, match="this is a dict"):
        read_columns({"id": ["a"]})


def test_whole_numbers_beside_a_missing_cell_stay_whole(tmp_path):
    frame = pandas.DataFrame({"path": ["a", "b", "c"], "label": [3, 4, None]})
    assert frame["label"].dtype == float  # what pandas makes of it
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    for table in (frame, tmp_path / "a.parquet", tmp_path / "a.xlsx", polars.from_pandas(frame)):
        assert [row["label"] for _, row in read_rows(table)] == ["3", "4", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id;x\na;1,5\nb;2\n", None),
        ("id;x\na;1,5\nb;2.5\n", "'x' does not hold numbers: row 1 is '1,5'. Decimal points and"),
        ("id;x\na;1,000,5\nb;2\n", "'x' does not hold numbers: row 1 is '1,000,5'"),
        ("id;x\na;1\nb;two\n", "'x' does not hold numbers: row 2 is 'two'"),
    ],
)
def test_decimal_commas_are_read_or_named(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    column = read_columns(tmp_path / "a.csv", "x" if "two" not in text else ())["x"]
    if message is None:
        assert numbers(column, "'x'").tolist() == [1.5, 2]
    else:
        with pytest.raises(SongTableError, match=message):
            numbers(column, "'x'")


def test_a_row_that_is_too_long_is_refused_wherever_it_stands(tmp_path):
    (tmp_path / "a.csv").write_text("id,x\n" + "a,1\n" * 2000 + "a,1,2\n")
    with pytest.raises(SongTableError, match="not a table"):
        read_columns(tmp_path / "a.csv", "x")


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,x \na,1,2\n")
    frame = pandas.DataFrame([["a", 1, 2]], columns=["id", "x", "x"])
    for table in (tmp_path / "a.csv", frame):
        with pytest.raises(SongTableError, match="two columns are called 'x'"):
            read_columns(table, "x")
        with pytest.raises(SongTableError, match="two columns are called 'x'"):
            list(read_rows(table))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("a.csv", "id,x\nb\xe9,1\n".encode("latin-1"), "line 2: not UTF-8"),
     ("a.csv", b"", "the table is empty"),
     ("a.csv", b'id,x\n"a,1\n', "not a table"),
     ("a.csv", b"id,x\na,1,2\n", "more cells than columns|not a table"),
     ("a.xlsx", b"PK no", "not an Excel file"),
     ("a.jsonl", b'{"id": 1}\n[2]\n', "line 2: not an object"),
     ("a.jsonl", b'{"id": 1\n', "line 1: not JSON"),
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

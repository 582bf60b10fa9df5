"""Bodies for MLflow's scoring protocol, right and wrong, as hypothesis makes them up."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

Values: TypeAlias = st.SearchStrategy[Any]

numbers = st.one_of(
    st.integers(-5, 5),
    st.floats(-5, 5),
    st.floats(-5, 5, width=32),
    st.sampled_from([None, -0.0, 1e-320, 2**31, 2**53 + 1, 2**70, 1e40]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["x", "", "1", "1.5", "true", "2020-01-01", "2020-01-01T00:00:00Z", "YQ=="]),
)
cells = st.sampled_from(["1", "1.5", "-3", "", "x", "true", "nan", '"a,b"', "2020-01-01", "1e400"])


def tables(columns: Mapping[str, Values]) -> st.SearchStrategy[bytes]:
    """Documents that have all columns, with values that may be right, in every form."""
    names = list(columns)
    row = st.fixed_dictionaries(dict(columns))
    rows = st.lists(row, min_size=1, max_size=3)

    def split(order: Sequence[str], rows: Sequence[Mapping[str, Any]], index: bool) -> Any:
        document = {"columns": order, "data": [[row[name] for name in order] for row in rows]}
        return document | ({"index": list(range(len(rows)))} if index else {})

    splits = st.builds(
        split, st.one_of(st.just(names), st.permutations(names)), rows, st.booleans()
    )
    arrays = rows.map(lambda rows: [list(row.values()) for row in rows])
    lists = rows.map(lambda rows: {name: [row[name] for row in rows] for name in names})
    documents = st.one_of(
        splits.map(lambda values: {"dataframe_split": values}),
        arrays.map(lambda values: {"dataframe_split": {"data": values}}),
        rows.map(lambda values: {"dataframe_records": values}),
        st.tuples(
            st.sampled_from(["inputs", "instances"]), st.one_of(rows, arrays, lists, row)
        ).map(lambda pair: dict([pair])),
    )
    return documents.map(lambda document: json.dumps(document).encode())


def texts(columns: Mapping[str, Values]) -> st.SearchStrategy[bytes]:
    """Any document, and what is nearly one: cut off, with a byte changed, in another encoding."""
    anything = _anything(list(columns)).map(lambda document: json.dumps(document).encode())
    documents = st.one_of(anything, tables(columns))
    return st.one_of(
        anything,
        st.builds(lambda text, end: text[:end], documents, st.integers(0, 200)),
        st.builds(
            lambda text, at, byte: text[:at] + byte + text[at + 1 :],
            documents,
            st.integers(0, 100),
            st.binary(max_size=2),
        ),
        st.builds(
            lambda text, encoding: text.decode().encode(encoding),
            documents,
            st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
        ),
        st.binary(max_size=20),
    )


def _anything(columns: Sequence[str]) -> st.SearchStrategy[Any]:
    forms = st.sampled_from(["dataframe_records", "dataframe_split", "inputs", "instances"])
    names = st.sampled_from([*columns, "other"])
    values = st.one_of(numbers, scalars)
    lists = st.lists(values, max_size=3)
    some = st.dictionaries(names, values, max_size=4)
    table = st.one_of(
        st.lists(some, max_size=3),
        st.lists(lists, max_size=3),
        st.dictionaries(names, lists, max_size=4),
        st.fixed_dictionaries(
            {},
            optional={
                "data": st.lists(st.lists(values, max_size=len(columns)), max_size=3),
                "columns": st.lists(st.one_of(names, values), max_size=len(columns) + 1),
                "index": lists,
                "other": values,
            },
        ),
        some,
        lists,
        values,
    )
    nested = st.recursive(
        values, lambda inner: st.one_of(st.lists(inner), st.dictionaries(names, inner))
    )
    return st.one_of(
        st.dictionaries(forms, table, min_size=1, max_size=1),
        st.dictionaries(st.one_of(forms, st.just("params"), names), table, max_size=3),
        st.dictionaries(forms, nested, max_size=1),
        nested,
    )


def csv_texts(columns: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Text that is CSV with some of these columns, or is not."""
    names = st.sampled_from([*columns, "other"])

    def lines(header: Sequence[str]) -> st.SearchStrategy[str]:
        row = st.lists(cells, min_size=len(header), max_size=len(header))
        return st.lists(row, max_size=3).map(
            lambda rows: "\n".join(",".join(line) for line in [header, *rows])
        )

    return st.one_of(
        st.permutations(columns).flatmap(lines).map(str.encode),
        st.lists(names, min_size=1, max_size=len(columns) + 1).flatmap(lines).map(str.encode),
        st.text(max_size=20).map(str.encode),
        st.binary(max_size=20),
    )

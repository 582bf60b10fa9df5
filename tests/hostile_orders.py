"""What a training is asked for by who means harm; the API and Airflow's DAG see the same."""

from typing import Any

MEGABYTES = "x" * 2_000_000

REFUSED: dict[str, tuple[Any, ...]] = {
    "model_name": (
        "",
        "../../etc/passwd",
        "a/b",
        "{{ 7 * 7 }}",
        "$(id)",
        "`id`",
        "'; drop table dag; --",
        "-rf",
        "iris\n",
        "iris\0",
        "x" * 129,
        MEGABYTES,
        5,
        ["iris"],
        {"name": "iris"},
    ),
    "data_uri": (
        "",
        "/srv/tables/t.csv\n",
        "/srv/tables/t.csv\r\nHost: elsewhere",
        "/srv/tables/t.csv\0.png",
        "/srv/\x1b[2Jtables",
        "/srv/\u2028tables",
        "/" + "x" * 2048,
        MEGABYTES,
        7,
        ["/srv/tables/t.csv"],
    ),
    "target": ("", "a\nb", "a\n", "a\0", "\x7f", "x" * 257, MEGABYTES, 7, {"column": "a"}),
    "margin": (-1, "much", "1e400", float("inf"), float("nan"), 10**400, 1e300, True, [0]),
}
"""Values of each parameter that neither takes."""

INERT: tuple[dict[str, Any], ...] = (
    {"target": "{{ 7 * 7 }}"},
    {"target": "$(touch /tmp/touched)"},
    {"target": "../../etc/passwd"},
    {"target": "=cmd|' /C calc'!A0"},
    {"data_uri": "/srv/tables/{{ conf }}.csv"},
    {"data_uri": "/srv/tables/../../etc/passwd"},
)
"""Names that a column or a file may have: they are taken, and are no more than names."""

"""Tables in an object store: `s3://`, at the endpoint and with the keys of the environment."""

import re
from collections.abc import Generator

import fsspec

from airflow_host.training.deadline import STEP_SECONDS, Deadline
from airflow_host.training.errors import BadData

CHUNK_BYTES = 1024 * 1024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.IGNORECASE | re.ASCII)


def read(uri: str, deadline: Deadline) -> Generator[bytes]:
    """The content of an object, in pieces. Raises `BadData` and what the store's client raises."""
    name = uri.removeprefix("s3://")
    bucket, _, key = name.partition("/")
    if not _BUCKET.fullmatch(bucket) or not key:
        raise BadData(f"{deadline.place} names no object: write s3://bucket/table.csv")
    store = fsspec.filesystem(
        "s3",
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": STEP_SECONDS,
            "read_timeout": STEP_SECONDS,
            "retries": {"max_attempts": 2},
        },
    )
    try:
        with store.open(name, "rb", cache_type="readahead", block_size=8 * CHUNK_BYTES) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                deadline.step()
                yield chunk
    except Exception as error:
        if "locate credentials" not in str(error):
            raise
        raise BadData(
            f"{deadline.place} cannot be read without keys: give the airflow host AWS_ACCESS_KEY_ID"
            " and AWS_SECRET_ACCESS_KEY, or let its cloud give them by 169.254.169.254 in"
            " TRAINING_DATA_HOSTS in the env file of the airflow host"
        ) from None

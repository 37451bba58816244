"""The rows of a Parquet file as JSON objects, read a few at a time. Takes the extra ``statechain[parquet]``.

What JSON has no type for becomes: dates, times and timestamps ISO 8601 strings; decimals numbers; binary values base64;
durations seconds; maps objects; and numbers that are not finite null.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from statechain.codec import JSONValue

__all__ = ["parquet_rows"]

ROWS_AT_ONCE = 1_000


def parquet_rows(path: Path) -> Iterator[JSONValue]:
    """Yield the rows of a file. Raises ValueError where it is no Parquet file, or pyarrow is not installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415 -- an extra, and slow to load
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ValueError("a Parquet file is read with pyarrow: pip install 'statechain[parquet]'") from error
    try:
        # 96-bit timestamps of older writers: as nanoseconds, years before 1678 and after 2262 would overflow.
        with parquet.ParquetFile(path, coerce_int96_timestamp_unit="us") as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                # A key that occurs twice is no error: the last value counts, as in JSON.
                for row in _to_microseconds(batch, pa.timestamp).to_pylist(maps_as_pydicts="lossy"):
                    yield _as_json(row)
    except pa.ArrowException as error:
        raise ValueError("it is no Parquet file, or it is damaged") from error


def _to_microseconds(batch: Any, timestamp: Callable[..., Any]) -> Any:  # noqa: ANN401 -- pyarrow has no types
    """Cut timestamps off at the microsecond, which is as fine as Python's are."""
    for place, field in enumerate(batch.schema):
        if str(field.type).startswith("timestamp[ns"):
            cut = batch.column(place).cast(timestamp("us", tz=field.type.tz), safe=False)
            batch = batch.set_column(place, field.name, cut)
    return batch


def _as_json(value: Any) -> JSONValue:  # noqa: ANN401 -- a column may have any type of Arrow
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): _as_json(item) for name, item in value.items()}
        case list():
            return [_as_json(item) for item in value]
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return _moment_as_json(value)


def _moment_as_json(value: Any) -> JSONValue:  # noqa: ANN401
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _:
            return str(value)

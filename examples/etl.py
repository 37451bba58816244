"""Use case, ETL: extract rows from a CSV file, transform and load them in batches, tolerate a few bad rows."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from orders import storage_url

from statechain import Engine, TaskRegistry

tasks = TaskRegistry()
loaded: list[dict[str, Any]] = []  # the target table

LOAD = {
    "StartAt": "Rows",
    "States": {
        "Rows": {
            "Type": "Map",
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
                "Parameters": {"Bucket": "exports", "Key": "customers.csv"},
            },
            "ItemBatcher": {"MaxItemsPerBatch": 2},
            "MaxConcurrency": 4,
            "ToleratedFailureCount": 1,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "Transform",
                "States": {
                    "Transform": {"Type": "Task", "Resource": "transform", "Next": "Load"},
                    "Load": {"Type": "Task", "Resource": "load", "End": True},
                },
            },
            "End": True,
        }
    },
}


@tasks.register
async def transform(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the columns their types."""
    return [{"name": row["name"].title(), "spent": float(row["spent"])} for row in batch["Items"]]


@tasks.register
async def load(rows: list[dict[str, Any]]) -> int:
    """Write the rows of one batch."""
    loaded.extend(rows)
    return len(rows)


def export(folder: str) -> None:
    """Write the file to load: of five rows, one is bad."""
    bucket = Path(folder, "exports")
    bucket.mkdir()
    (bucket / "customers.csv").write_text("name,spent\nada,10.5\ngrace,7\nalan,3\nedsger,4\nbad,not a number\n")


async def main() -> None:
    """Load the file. A folder takes the place of S3: a bucket is a folder in it."""
    with tempfile.TemporaryDirectory() as folder:
        export(folder)
        async with Engine(storage_url(), tasks=tasks, files=folder) as engine:
            done = await (await engine.create_state_machine("load", LOAD)).execute({})
    print(done.status, "loaded", sorted(row["name"] for row in loaded))


if __name__ == "__main__":
    asyncio.run(main())

"""Writes files/*.parquet. Run: python parquet.py (pyarrow)."""
import datetime
import os

import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "files"))
table = pa.table(
    {
        "id": pa.array([1, -2, 3], pa.int64()),
        "small": pa.array([7, 8, 255], pa.uint8()),
        "x": pa.array([0.5, None, 1e3], pa.float64()),
        "half": pa.array([1.5, -2.25, 0.0], pa.float32()),
        "count": pa.array([1, None, 3], pa.int32()),
        "name": pa.array(["a", None, "größe"]),
        "day": pa.array([datetime.date(1970, 1, 2), datetime.date(2000, 1, 1), datetime.date(1969, 12, 31)]),
        "yes": pa.array([True, False, True]),
    }
)
for kind in ["none", "snappy", "gzip", "zstd", "lz4"]:
    pq.write_table(table, f"{kind}.parquet", compression=kind)
pq.write_table(pa.table({"nested": pa.array([[1], [2, 3]])}), "nested.parquet")

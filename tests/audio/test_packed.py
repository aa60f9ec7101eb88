"""Audio inside other files may be read by many threads at once."""

import subprocess
import sys
from pathlib import Path

# A process of its own: what this guards against is a crash of the interpreter.
_READERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from kdcompress.audio.packed import read_packed, table_row

table = Path(sys.argv[1])
with ThreadPoolExecutor(16) as threads:
    rows = list(threads.map(lambda at: read_packed(table_row(table, at % 16, "a")), range(1500)))
assert all(row == (20_000, bytes([at % 16]) * 20_000) for at, row in enumerate(rows))
"""


def test_threads_read_the_rows_of_one_parquet_file(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"bytes": bytes([value]) * 20_000, "path": f"{value}.wav"} for value in range(16)]
    parquet.write_table(pyarrow.table({"audio": rows}), tmp_path / "rows.parquet", row_group_size=1)
    command = [sys.executable, "-c", _READERS, str(tmp_path / "rows.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

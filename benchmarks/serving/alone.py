"""The model alone: predicts in a loop, with no server, for as long as it is told to.

    PEX_INTERPRETER=1 dist/api_host.pex benchmarks/serving/alone.py FOLDER ROWS.json

For each line of standard input, "ROWS SECONDS", it answers with a line: the seconds that each call
took, and those of the processor, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
import skops.io


def main() -> None:
    """Answers until the end of the input."""
    folder, document = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    file = Path(folder) / "model.skops"
    # It was trained here, a moment ago.
    model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    table = pd.DataFrame(document["rows"], columns=document["columns"])
    for line in sys.stdin:
        rows, seconds = line.split()
        rows_asked = table.head(int(rows))
        calls: list[float] = []
        cpu, end = time.process_time(), time.perf_counter() + float(seconds)
        while (begin := time.perf_counter()) < end:
            model.predict(rows_asked)
            calls.append(time.perf_counter() - begin)
        sys.stdout.write(json.dumps({"calls": calls, "cpu": time.process_time() - cpu}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

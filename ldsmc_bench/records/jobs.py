"""Which job asked for which run, as the logs of commands tell: where pictures lie is not part of a run's identity."""

import json
from pathlib import Path


def jobs(results_dir: str | Path) -> list[tuple[str, Path]]:
    """(run id, folder of its log) of each job that came to a run, the latest last; damaged logs count for nothing."""
    found = []
    for outcome in sorted(Path(results_dir, "logs").glob("**/outcome.json")):
        try:
            run_id = json.loads(outcome.read_bytes())["run_id"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if run_id and (outcome.parent / ".hydra" / "config.yaml").exists():
            found.append((run_id, outcome.parent))
    return found

"""A job an hour in Airflow: new recordings are captioned, what is done is not done again.

Exit code 2 is a mistake that another try repeats; everything else may succeed later.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run_sonogloss(words: list[str]) -> dict[str, Any]:
    """Run a command and return its report.

    Raises:
        ValueError: a mistake in options or inputs; in a graph, raise AirflowFailException in its place.
        RuntimeError: the job could not go on, or too much of it failed; worth another try.
    """
    done = subprocess.run(
        [sys.executable, "-m", "sonogloss", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    report: dict[str, Any] = json.loads(done.stdout)
    if done.returncode == 0:
        return report
    message = report["error"]["message"] if "error" in report else "; ".join(report["problems"])
    raise (ValueError if done.returncode == 2 else RuntimeError)(message)


# The graph, for Airflow 2.4 and later; imported here, so that what stands above needs no Airflow.
import pendulum  # noqa: E402
from airflow.decorators import dag, task  # noqa: E402
from airflow.exceptions import AirflowFailException  # noqa: E402


@dag(schedule="@hourly", start_date=pendulum.datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def caption_archive() -> None:
    """One run at a time: a second writer of an output is refused."""

    @task(retries=3, retry_delay=pendulum.duration(minutes=5))
    def caption() -> dict[str, Any]:
        try:
            audio, output = "gs://my-bucket/recordings/**/*.flac", "gs://my-bucket/results/cpu"
            report = run_sonogloss(["caption", "--audio", audio, "--output", output, "--captioner", "pocket:zeraucap"])
        except ValueError as error:
            raise AirflowFailException(str(error)) from error
        return {name: report[name] for name in ("counts", "computed", "dead_letter_codes")}

    caption()


caption_archive()

"""Run `eg-agent identify --json` on every exported pattern, and check each answer.

    python tools/export_realdata.py ../shared/realdata OUT
    python tools/identify_all.py OUT [--report answers.jsonl]

OUT is what `export_realdata.py` wrote: .xy files and manifest.csv. Files of one wavelength go to one call.
Checked are the exit status (0, or 3 when a pattern was refused), one JSON object a file, the published
schema, and that each has a verdict with a reason. Prints the verdicts; exit status 1 when a check failed.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import jsonschema

SCHEMA = Path(__file__).resolve().parents[1] / "docs/reference/schemas/identification.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", type=Path, help="keep all answers, one JSON object a line")
    arguments = parser.parse_args()
    with (arguments.folder / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    by_wavelength: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        second = row["wavelength2"]
        pair = (
            f"{row['wavelength']},{second}" if second and second != row["wavelength"] else row["wavelength"]
        )
        by_wavelength[pair].append(row["file"])
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    lines, problems = [], []
    for wavelength, files in sorted(by_wavelength.items()):
        command = [
            sys.executable,
            "-m",
            "eg_agent.cli.main",
            "identify",
            "--json",
            "--wavelength",
            wavelength,
        ]
        done = subprocess.run(
            [*command, *(str(arguments.folder / name) for name in files)],
            capture_output=True,
            text=True,
            check=False,
        )
        answers = done.stdout.splitlines()
        refused = any('"verdict":"refused"' in answer for answer in answers)
        if done.returncode != (3 if refused else 0):
            problems.append(
                f"wavelength {wavelength}: exit status {done.returncode}: {done.stderr.strip()[-500:]}"
            )
        if len(answers) != len(files):
            problems.append(f"wavelength {wavelength}: {len(files)} files, {len(answers)} answers")
        lines += answers
    verdicts: Counter[str] = Counter()
    for line in lines:
        answer = json.loads(line)
        name = answer["provenance"]["source"]["name"]
        problems += [f"{name}: {error.message}" for error in validator.iter_errors(answer)]
        if not answer["reason"].strip():
            problems.append(f"{name}: no reason")
        verdicts[answer["verdict"]] += 1
        if answer["verdict"] == "refused":
            print(f"refused {Path(name).name}: {answer['reason']}")
    if arguments.report:
        arguments.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(rows)} patterns, {len(lines)} answers: {dict(verdicts)}; {len(problems)} problems")
    for problem in problems[:20]:
        print(problem)
    return 1 if problems or len(lines) != len(rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())

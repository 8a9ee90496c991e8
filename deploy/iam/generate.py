"""Write the IAM policies beside this file, with an account's own names in them if they are given.

    python deploy/iam/generate.py                                        # as they are in the repository
    python deploy/iam/generate.py --out my-iam --account 123456789012 --region eu-west-1 --catalog my-bucket/ragwright

The policies themselves are in ragwright/endpoints/iam.py.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path

from ragwright.endpoints.iam import Place, documents

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description="Write the IAM policies that ragwright needs.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for them")
    for one in fields(Place):
        parser.add_argument(f"--{one.name}", default=one.default, help=f"instead of {one.default}")
    given = vars(parser.parse_args())
    folder = given.pop("out")
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents(Place(**given)).items():
        (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

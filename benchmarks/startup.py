"""What a user waits for before any work is done: imports, a question cold and warm, a flow."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from comparison import Comparison
from contenders import Setup
from prefect_on_loopback import PrefectServer
from processes import output_of, step

FAQ = str(Path(__file__).resolve().parents[1] / "data" / "sagemaker_faq.csv")
QUESTION = "Which instance types does Managed Spot Training support?"
EMPTY_FLOW = "from prefect import flow\n@flow\ndef empty():\n    return 1\nempty()"
OUR_FLOW = "import sys\nfrom flows.watch_source import watch_source\nwatch_source(source=sys.argv[1])"
LOAD_MODELS = """
import sys
from pathlib import Path
from ragwright.models import get_model
from ragwright.progress import silent
from ragwright.serving.runtimes import open_encoder, open_text_model
from ragwright.settings import Settings
settings, cache = Settings(), Path(sys.argv[1])
encoder = open_encoder(get_model(settings.embedding.model), cache=cache, progress=silent)
encoder.sentence_vectors(encoder.tokenize(["Hello"], truncate=True))
open_text_model(get_model(settings.generation.model), cache=cache, progress=silent).close()
"""


def measure(setup: Setup) -> list[Comparison]:
    """Processes from their start to their end, by turns with the least that the same would take."""
    home = setup.fresh("startup")
    names = {name: value for name, value in os.environ.items() if not name.startswith(("RAGWRIGHT_", "PREFECT_"))}
    ours = {"RAGWRIGHT_HOME": str(home), "RAGWRIGHT_MODEL_CACHE": str(setup.cache)}
    environment = names | ours | {"PREFECT_LOGGING_LEVEL": "ERROR"}
    home.mkdir(parents=True)
    tool = str(Path(sys.executable).with_name("ragwright"))

    def took(*command: str) -> float:
        return process(command, environment)

    def python(code: str, *given: str) -> float:
        return took(sys.executable, "-c", code, *given)

    def cold() -> float:
        took(tool, "endpoints", "down")
        return took(tool, "ask", QUESTION)

    interpreter = "an interpreter that does nothing"
    pairs: list[tuple[str, Callable[[], float], str, Callable[[], float]]] = [
        ("import of ragwright", lambda: python("import ragwright"), interpreter, lambda: python("pass")),
        ("`ragwright --help`", lambda: took(tool, "--help"), interpreter, lambda: python("pass")),
        ("import of the flows", lambda: python("import flows.pipeline"), "import of Prefect's `flow`",
         lambda: python("from prefect import flow")),
        ("`ragwright ask`, endpoints down", cold, "loading both models in one process",
         lambda: python(LOAD_MODELS, str(setup.cache))),
        ("`ragwright ask`, endpoints up", lambda: took(tool, "ask", QUESTION), "import of what it uses",
         lambda: python("import ragwright.cli.ask, ragwright.assembly, lancedb")),
        ("flow `watch_source`, with a server that runs", lambda: python(OUR_FLOW, FAQ), "an empty flow",
         lambda: python(EMPTY_FLOW)),
    ]  # fmt: skip
    try:
        with step("an index to ask"):
            took(tool, "reindex", "--source", FAQ)
        with PrefectServer(home) as server:
            environment |= server.environment()
            return [by_turns(setup, *pair) for pair in pairs]
    finally:
        process((tool, "endpoints", "down"), environment)
        shutil.rmtree(home, ignore_errors=True)


def by_turns(
    setup: Setup, what: str, ours: Callable[[], float], beside: str, theirs: Callable[[], float]
) -> Comparison:
    """Both, in turn, once without a clock: the first time, bytecode is written and files are read from the disk.

    Raises:
        Failed: A process did not end as it should.
    """
    pairs: list[tuple[float, float]] = []
    with step(f"{what}, beside {beside}"):
        ours(), theirs()
        while len(pairs) < setup.repeats and sum(map(sum, pairs)) < setup.patience:
            pairs.append((ours(), theirs()))
    mine, others = zip(*pairs, strict=True)
    return Comparison(what, "s", mine, beside, others, direction="share")


def process(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """Seconds of a process of its own.

    Raises:
        Failed: It did not exit with 0.
    """
    started = time.perf_counter()
    output_of(command, environment=environment, accepted=(0,), silent=True, limit=300)
    return round(time.perf_counter() - started, 3)

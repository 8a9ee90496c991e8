"""Whether constrained decoding keeps its word: every reply of the model, over many varied turns, is in the format.

The turns are those of the agent's benchmark, its attacks, the evaluation questions, sums of random numbers, and texts
made to upset a parser: quotes, brackets, fences, other scripts, control characters. Each is the first of a new
conversation, so that any of them can be played again by itself. A reply that is cut off counts against the format.

    python benchmarks/agent_format.py --turns 500
    python benchmarks/agent_format.py --turns 500 --part 1/10 --out format     # the same in parts, in any order
    python benchmarks/agent_format.py --turns 500 --sum format                 # adds them up; refuses a missing one
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processes import unwind_on_sigterm

from ragwright.agent import open_agent, tool
from ragwright.agent.benchmark.cases import load_attacks, load_cases
from ragwright.agent.benchmark.playing import record_turn
from ragwright.agent.benchmark.running import NewAgents
from ragwright.agent.benchmark.scoring import Share, TurnRecord, format_shares, is_action
from ragwright.agent.benchmark.subjects import in_service, subject
from ragwright.bundled import bundled
from ragwright.errors import ConfigurationError
from ragwright.evaluation.questions import load
from ragwright.generation import open_generator
from ragwright.settings import Settings, load_settings

_PIECES = (
    '{"action": ', '"action_input"', "```json", "```", "\\", '\\"', "'", '"', "{", "}", "[", "]", "<|im_end|>",
    "[/INST]", "\u00e9\u00e8\u00fc", "\u65e5\u672c\u8a9e", "\u041f\u0440\u0438\u0432\u0435\u0442", "\U0001f600",
    "\u0645\u0631\u062d\u0628\u0627", "\u200b", "\t", "\n\n", "null", "NaN", "%s", "\\u0000", "hello", "please",
    "tell me", "what is", "why", "a story", "in JSON", "in one word", "3.14", "1e9", "Final Answer",
)  # fmt: skip


def main() -> int:
    """Play, print, and exit 1 if a single reply is not in the format."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct-q4", help="As for `ragwright benchmark agent`.")
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--part", default="1/1", help="Of the turns, 2/3 for the second third: to share them among homes."
    )
    parser.add_argument("--out", type=Path, help="Folder for the report of this part.")
    parser.add_argument("--sum", type=Path, metavar="FOLDER", help="Ask nothing; add up the parts in a folder.")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    if flags.sum is not None:
        return show(summed(flags.sum, flags.model, flags.turns, flags.seed), as_json=flags.json)
    part, parts = map(int, flags.part.split("/"))
    turns = varied_turns(flags.turns, flags.seed)[part - 1 :: parts]
    started = time.perf_counter()
    records = play(flags.model, turns, load_settings())
    strict, _ = format_shares(records)
    broken = [text for record in records for text in record.raw if not is_action(text)]
    report = {
        "model": flags.model,
        "seed": flags.seed,
        "of_turns": flags.turns,
        "part": [part, parts],
        "turns": len(turns),
        "replies": strict.trials,
        "in_format": strict.successes,
        "broken": broken[:10],
        "errors": dict(Counter(record.error for record in records if record.error)),
        "tools": dict(Counter(name for record in records for name in record.tools)),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if flags.out is not None:
        flags.out.mkdir(parents=True, exist_ok=True)
        (flags.out / f"{part}-of-{parts}.json").write_text(json.dumps(report))
    return show(report, as_json=flags.json)


def show(report: Mapping[str, Any], *, as_json: bool) -> int:
    """Print a report; 1 if a single reply is not in the format."""
    share = Share(report["in_format"], report["replies"])
    low, high = share.interval
    if as_json:
        print(json.dumps({**report, "interval": [low, high]}, ensure_ascii=False))
    else:
        print(f"{share.successes} of {share.trials} replies over {report['turns']} turns are in the format.")
        print(f"95 % interval: {low:.2%} to {high:.2%}; {report['seconds']} s; tools called: {report['tools']}")
        for text in (*report["broken"], *report["errors"]):
            print(f"not in the format: {text!r}")
    return 0 if share.successes == share.trials else 1


def summed(folder: Path, model: str, turns: int, seed: int) -> dict[str, Any]:
    """The parts of one run as one report.

    Raises:
        ConfigurationError: One is missing, or they are not of one run.
    """
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*-of-*.json"))]
    parts = {tuple(report["part"]) for report in found}
    whole = {(part, len(found)) for part in range(1, len(found) + 1)}
    same = all((r["model"], r["of_turns"], r["seed"]) == (model, turns, seed) for r in found)
    if not found or parts != whole or not same or sum(report["turns"] for report in found) != turns:
        raise ConfigurationError(
            f"{sorted(parts)} are not all parts of one run with {turns} turns, seed {seed} and {model!r}",
            place=str(folder),
            hint="Run what is missing with the same flags, into a folder of its own.",
        )
    added = {name: sum(r[name] for r in found) for name in ("turns", "replies", "in_format", "seconds")}
    counted = {name: dict(sum((Counter(r[name]) for r in found), Counter())) for name in ("errors", "tools")}
    return {"model": model, "seed": seed, **added, "broken": [text for r in found for text in r["broken"]], **counted}


def varied_turns(count: int, seed: int) -> list[str]:
    """So many different turns, the same ones for the same seed."""
    said = [turn.say for case in load_cases() for turn in case.turns] + [attack.say for attack in load_attacks()]
    said += [question.question for question in load(bundled("questions.jsonl")).questions]
    generator = random.Random(seed)
    generator.shuffle(said)
    turns = list(dict.fromkeys(said))[: count // 2]
    while len(turns) < count:
        if len(turns) % 2:
            turn = " ".join(generator.choices(_PIECES, k=generator.randint(1, 12)))
        else:
            sign = generator.choice(["+", "-", "*", "/", "**", "times", "plus", "% of", "divided by"])
            turn = f"what is {generator.randint(0, 10**6) / 100} {sign} {generator.randint(1, 40)}?"
        if turn.strip() and turn not in turns:
            turns.append(turn)
    return turns


def play(model: str, turns: list[str], settings: Settings) -> list[TurnRecord]:
    """Every turn with an agent of its own; the search finds a fixed text, which costs nothing and changes no format."""

    def search(question: str) -> str:
        """Looks a question up in the FAQ."""
        return "A training job may run for up to 28 days."

    asked = subject(model, settings)
    # Short replies are as much in the format as long ones. A server that takes no grammar is an error here.
    bounds = {"constrained": "on", "max_reply_chars": 60}
    own = asked.settings.model_copy(update={"agent": asked.settings.agent.model_copy(update=bounds)})
    with in_service(asked):
        generator = open_generator(own)
        assert generator is not None
        found = tool(search, name="Search", trusted=False, direct=True)
        with open_agent(own, search=False, tools=[found], generator=generator) as agent:
            new = NewAgents(agent, generator)
            records = []
            for number, turn in enumerate(turns, start=1):
                records.append(record_turn(new(), turn))
                if number % 50 == 0:
                    print(f"{number} of {len(turns)}", file=sys.stderr, flush=True)
    return records


if __name__ == "__main__":
    sys.exit(main())

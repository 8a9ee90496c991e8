"""First index, unchanged re-index, and one after a change: beside libraries, the bare encoder and the floor."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence

from comparison import Comparison, Target
from contenders import (
    FIRST_IMPORTS,
    LANGCHAIN,
    LANGCHAIN_NONE,
    LIBRARIES,
    LLAMAINDEX,
    LLAMAINDEX_NONE,
    RAGWRIGHT,
    TUTORIAL,
    Contender,
    Pass,
    Setup,
    attempt,
    bare_encoder,
    embedding_endpoint,
    seconds,
)
from reindex import Sources, run

FASTER = Target("at least", 1)
OF_BARE_ENCODER = Target("at least", 0.9)
TO_FLOOR = Target("at most", 2)
UNCHANGED = {
    LANGCHAIN_NONE: Target("at least", 20),
    LANGCHAIN: Target("at least", 20),
    LLAMAINDEX_NONE: FASTER,
    LLAMAINDEX: FASTER,
}
CHANGED = {LANGCHAIN_NONE: Target("at least", 10), LANGCHAIN: Target("at least", 10)}
READERS = ("pandas", "pyarrow")


def first(setup: Setup) -> list[Comparison]:
    """An index from nothing: with an encoder that takes no time, then with one that does."""
    sources = setup.sources(setup.rows)

    def once(contender: Contender) -> Pass | str:
        place = contender.place(sources)
        state = setup.fresh("first") if place.exists() else place  # the first one is kept for what comes after
        imports = ("--imports", *FIRST_IMPORTS) if contender.ours else ()
        try:
            return attempt(contender, setup, sources["original"], state, *imports)
        finally:
            if state != place:
                shutil.rmtree(state, ignore_errors=True)

    passes = by_turns(setup, (RAGWRIGHT, *LIBRARIES, TUTORIAL), once)
    what = f"first index, {setup.rows:,} rows, an encoder that takes no time"
    # Into nothing they do a part of the work: what was promised is beside those that keep what they embed.
    targets = {LANGCHAIN: FASTER, LLAMAINDEX: FASTER}
    return [*compared(what, passes, targets), *first_with_encoder(setup)]


def first_with_encoder(setup: Setup) -> list[Comparison]:
    """The same with a real model behind an endpoint, beside the bare encoder's throughput and the libraries'."""
    sources, home = setup.sources(setup.encoder_rows), setup.fresh("encoder")
    cache = ("--cache", str(setup.cache.absolute()))

    def once(contender: Contender) -> Pass | str:
        if contender.ours:
            for name in ("catalog", "store"):  # the endpoint lives in the same folder, and stays
                shutil.rmtree(home / name, ignore_errors=True)
            given = ("--embedder", "minilm", "--imports", *FIRST_IMPORTS)
            return attempt(contender, setup, sources["original"], home, *given, *cache)
        state = setup.fresh("with-encoder")
        try:
            return attempt(contender, setup, sources["original"], state, "--encoder", "endpoint")
        finally:
            shutil.rmtree(state, ignore_errors=True)

    with embedding_endpoint(setup, home):
        once(RAGWRIGHT)  # the server meets every shape of text once without a clock
        passes = by_turns(setup, (RAGWRIGHT, LANGCHAIN, LLAMAINDEX, TUTORIAL), once)
    bare = [bare_encoder(setup, sources["original"]) for _ in range(setup.repeats)]
    what = f"first index, {setup.encoder_rows:,} rows, all-MiniLM-L6-v2 on this processor"
    ours = [one["report"]["embedded"] / one["seconds"] for one in complete(passes[RAGWRIGHT])]
    alone = [one["embedded"] / one["seconds"] for one in bare]
    share = Comparison(
        f"{what}: sections embedded",
        "a second",
        tuple(ours),
        "the bare encoder",
        tuple(alone),
        direction="share",
        target=OF_BARE_ENCODER,
    )
    return [share, *compared(what, passes, {LANGCHAIN: FASTER, LLAMAINDEX: FASTER})]


def unchanged(setup: Setup) -> list[Comparison]:
    """The same bytes again: beside reading, hashing and comparing alone, and beside the libraries."""
    found = again(setup, setup.sources(setup.rows), LIBRARIES)
    if setup.large_rows:
        # LlamaIndex would hold about 10 GB here: its docstore is loaded whole.
        found += again(setup, setup.sources(setup.large_rows), (LANGCHAIN_NONE,))
    return found


def again(setup: Setup, sources: Sources, peers: Sequence[Contender]) -> list[Comparison]:
    """One size of it."""

    def once(contender: Contender) -> Pass | str:
        return attempt(contender, setup, sources["original"], contender.indexed(setup, sources))

    def floor(reader: str) -> Pass:
        given = ("--source", sources["original"], "--state", str(sources.folder / "floor"), "--reader", reader)
        return run(sys.executable, "table_floor.py", *given)

    for reader in READERS:
        floor(reader)  # keeps the hashes to compare with
    floors = [min((floor(reader) for reader in READERS), key=lambda one: one["seconds"]) for _ in range(setup.repeats)]
    passes = by_turns(setup, (RAGWRIGHT, *peers), once)
    for one in complete(passes[RAGWRIGHT]):
        if one["report"]["embedded"] or one["report"]["written"]:
            raise SystemExit(f"an unchanged source of {sources.rows} rows was embedded or written: {one['report']}")
    what = f"unchanged, {sources.rows:,} rows"
    ours = seconds(complete(passes[RAGWRIGHT]))
    beside = "reading, hashing and comparing alone"
    to_floor = Comparison(what, "s", ours, beside, seconds(floors), direction="share", target=TO_FLOOR)
    return [to_floor, *compared(what, passes, UNCHANGED)]


def changed(setup: Setup) -> list[Comparison]:
    """1 % of the rows edited, 0.5 % removed, 0.5 % added, and back again, which is as much."""
    sources = setup.sources(setup.rows)
    turns = dict.fromkeys((RAGWRIGHT, *LIBRARIES), 0)

    def once(contender: Contender) -> Pass | str:
        name = ("changed", "original")[turns[contender] % 2]
        turns[contender] += 1
        imports = ("--imports", *FIRST_IMPORTS) if contender.ours else ()
        return attempt(contender, setup, sources[name], contender.indexed(setup, sources), *imports)

    passes = by_turns(setup, tuple(turns), once)
    for contender, turn in turns.items():
        if turn % 2:  # leave the index as benchmarks after this one expect it
            once(contender)
    return compared(f"1 % edited, 0.5 % gone, 0.5 % new, {setup.rows:,} rows", passes, CHANGED)


def by_turns(
    setup: Setup, contenders: Sequence[Contender], once: Callable[[Contender], Pass | str]
) -> dict[Contender, list[Pass | str]]:
    """Every contender's passes; they take turns, so that a slow moment of the machine hits all of them.

    One that fails is not asked again.
    """
    passes: dict[Contender, list[Pass | str]] = {contender: [] for contender in contenders}
    for turn in range(setup.repeats):
        for contender, found in passes.items():
            gave_up = bool(found) and isinstance(found[-1], str)
            if not gave_up and not (contender.heavy and turn):
                found.append(once(contender))
    return passes


def complete(passes: Sequence[Pass | str]) -> list[Pass]:
    """Those that ended."""
    return [one for one in passes if not isinstance(one, str)]


def compared(
    what: str, passes: dict[Contender, list[Pass | str]], targets: dict[Contender, Target]
) -> list[Comparison]:
    """Ragwright's seconds beside each peer's."""
    ours = seconds(complete(passes[RAGWRIGHT]))
    found = []
    for peer, theirs in passes.items():
        if not peer.ours:
            failed = next((one for one in theirs if isinstance(one, str)), "")
            took = () if failed else seconds(complete(theirs))
            found.append(Comparison(what, "s", ours, peer.name, took, target=targets.get(peer), failed=failed))
    return found

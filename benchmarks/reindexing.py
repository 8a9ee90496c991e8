"""First index, unchanged re-index, and one after a change: beside libraries, the bare encoder and the floor."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from comparison import Comparison, Target
from contenders import (
    BARE_ENCODER,
    FIRST_IMPORTS,
    FLOORS,
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
    Turns,
    by_turns,
    complete,
    embedding_endpoint,
    seconds,
    stage,
)
from processes import Failed
from sources import Sources

FASTER = Target("at least", 1)
OF_BARE_ENCODER = Target("at least", 0.9)
TO_FLOOR = Target("at most", 2)
# What a library does into nothing is its own work alone: a promise kept beside that is kept beside any store.
UNCHANGED = {LANGCHAIN_NONE: Target("at least", 20), LLAMAINDEX_NONE: FASTER}
# The promise is beside LangChain with a local store; beside its own work alone it is harder to keep.
CHANGED = {LANGCHAIN_NONE: Target("at least", 10), LANGCHAIN: Target("at least", 10)}
# What the re-index's own process imports by and by; the libraries' scripts have imported all of theirs.
CHANGED_IMPORTS = (*FIRST_IMPORTS, "ragwright.sources.jsonl_file", "ragwright.stores.lancedb")
# Into nothing a first index is half the work, so the promise is beside those that keep what they embed.
FIRST = {LANGCHAIN: FASTER, LLAMAINDEX: FASTER}
ENCODER_REPEATS, WARM_ROWS = 3, 100
LARGE_PEERS = (LANGCHAIN_NONE, LLAMAINDEX_NONE)


def first(setup: Setup) -> list[Comparison]:
    """An index from nothing, with an encoder that takes no time, and the memory that it takes."""
    sources = setup.sources(setup.rows)

    def once(contender: Contender) -> Pass:
        imports = ("--imports", *FIRST_IMPORTS) if contender.ours else ()
        if not contender.place(sources).exists():  # the first one is kept for what comes after
            return contender.settle(setup, sources, "original", *imports)
        return aside(setup, contender, sources["original"], *imports)

    passes = by_turns(setup, {each: partial(once, each) for each in (RAGWRIGHT, *LIBRARIES)})
    what = f"first index, {setup.rows:,} rows, an encoder that takes no time"
    memory = f"peak memory, first index, {setup.rows:,} rows"
    return [*compared(what, passes, FIRST), *compared(memory, passes, {}, unit="MiB", figures=peaks)]


def first_with_encoder(setup: Setup) -> list[Comparison]:
    """An index from nothing with a real model behind an endpoint, beside that model alone, and beside the libraries."""
    sources, home = setup.sources(setup.encoder_rows), setup.fresh("encoder")
    cache = ("--cache", str(setup.cache.absolute()))

    def ours(given: Sources = sources) -> Pass:
        for name in ("catalog", "store"):  # the endpoint lives in the same folder, and stays
            shutil.rmtree(home / name, ignore_errors=True)
        options = ("--embedder", "minilm", "--imports", *FIRST_IMPORTS, *cache)
        return RAGWRIGHT.index(setup, given["original"], home, *options)

    def bare() -> Pass:
        return BARE_ENCODER.index(setup, sources["original"], None, *cache)

    def peer(contender: Contender) -> Pass:
        return aside(setup, contender, sources["original"], "--encoder", "endpoint")

    def served(once: Callable[[], Pass], *, remember: bool) -> Pass:
        """By a server that has met shapes of text without a clock, and knows nothing of the passes before."""
        with embedding_endpoint(setup, home, remember=remember):
            ours(setup.sources(min(setup.encoder_rows, WARM_ROWS)))
            return once()

    works = {RAGWRIGHT: partial(served, ours, remember=True), BARE_ENCODER: bare}
    for each in (LANGCHAIN, LLAMAINDEX, TUTORIAL):
        works[each] = partial(served, partial(peer, each), remember=False)
    passes = by_turns(setup, works, most=ENCODER_REPEATS)
    what = f"first index, {setup.encoder_rows:,} rows, all-MiniLM-L6-v2 on this processor"
    mine, alone = complete(passes[RAGWRIGHT]), complete(passes[BARE_ENCODER])
    share = partial(Comparison, direction="share")
    return [
        share(
            f"{what}: sections embedded",
            "a second",
            tuple(one["report"]["embedded"] / one["seconds"] for one in mine),
            BARE_ENCODER.name,
            tuple(one["embedded"] / one["seconds"] for one in alone),
            target=OF_BARE_ENCODER,
        ),
        # Where the rest goes: what the encoder does for questions, which nobody else has, and what is lost beside it.
        share(f"{what}: embedding and writing", "s", stage(mine, "write_partition"), BARE_ENCODER.name, seconds(alone)),
        share(f"{what}: the answerability model", "s", stage(mine, "calibrate_candidate"), "all of it", seconds(mine)),
        *compared(what, passes, FIRST),
    ]


def unchanged(setup: Setup) -> list[Comparison]:
    """The same bytes again, and the same rows written otherwise: beside the floor, and beside the libraries."""
    found = again(setup, setup.sources(setup.rows), LIBRARIES)
    if setup.large_rows:
        found += again(setup, setup.sources(setup.large_rows), LARGE_PEERS)
    return found


def again(setup: Setup, sources: Sources, peers: Sequence[Contender]) -> list[Comparison]:
    """One size of it."""

    def once(contender: Contender) -> Pass:
        contender.ready(setup, sources)
        return contender.settle(setup, sources, "original")

    passes = by_turns(setup, {each: partial(once, each) for each in (*FLOORS, RAGWRIGHT, *peers)})
    rewritten = RAGWRIGHT.settle(setup, sources, "rewritten")
    RAGWRIGHT.ready(setup, sources)
    for one in (*complete(passes[RAGWRIGHT]), rewritten):
        if one["report"]["embedded"] or one["report"]["written"]:
            raise Failed(f"an unchanged source of {sources.rows} rows was embedded or written: {one['report']}")
    what = f"unchanged, {sources.rows:,} rows"
    ours = seconds(complete(passes[RAGWRIGHT]))
    best = min((seconds(complete(passes[floor])) for floor in FLOORS), key=statistics.median)
    beside = "reading, hashing and comparing alone"
    return [
        Comparison(what, "s", ours, beside, best, direction="share", target=TO_FLOOR),
        *compared(what, passes, UNCHANGED),
        Comparison(f"{what}, every line rewritten", "s", seconds([rewritten]), beside, best, direction="share"),
    ]


def changed(setup: Setup) -> list[Comparison]:
    """1 % of the rows edited, 0.5 % removed, 0.5 % added, and back again, which is as much."""
    sources = setup.sources(setup.rows)
    everyone = (RAGWRIGHT, *LIBRARIES)
    states = dict.fromkeys(everyone, "")

    def once(contender: Contender) -> Pass:
        if not states[contender]:
            contender.ready(setup, sources)
        states[contender] = "original" if states[contender] == "changed" else "changed"
        imports = ("--imports", *CHANGED_IMPORTS) if contender.ours else ()
        return contender.settle(setup, sources, states[contender], *imports)

    passes = by_turns(setup, {each: partial(once, each) for each in everyone})
    for one in complete(passes[RAGWRIGHT]):
        ledger, expected = one["report"]["ledger"], {"updated": sources.edited}
        expected |= dict.fromkeys(("added", "removed"), sources.moved)
        found = {name: ledger[name] for name in expected}
        if found != expected or one["report"]["embedded"] != one["report"]["plan"]["insert"]:
            raise Failed(f"{found} rows were taken for changed, and {expected} were: {one['report']}")
    return compared(f"1 % edited, 0.5 % gone, 0.5 % new, {setup.rows:,} rows", passes, CHANGED)


def aside(setup: Setup, contender: Contender, source: str, *more: str) -> Pass:
    """One pass into an index that is gone afterwards."""
    state = setup.fresh("aside")
    try:
        return contender.index(setup, source, state, *more)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def peaks(passes: Sequence[Pass]) -> tuple[float, ...]:
    """Of memory, MiB."""
    return tuple(float(one["peak_mb"]) for one in passes)


def compared(
    what: str,
    passes: Turns,
    targets: Mapping[Contender, Target],
    *,
    unit: str = "s",
    figures: Callable[[Sequence[Pass]], tuple[float, ...]] = seconds,
) -> list[Comparison]:
    """Ragwright's figures beside each peer's."""
    ours = figures(complete(passes[RAGWRIGHT]))
    found = []
    for peer, theirs in passes.items():
        if not peer.ours:
            failed = next((one for one in theirs if isinstance(one, str)), "")
            took = figures(complete(theirs))
            direction = "faster" if unit == "s" else "share"
            found.append(
                Comparison(what, unit, ours, peer.name, took, direction, target=targets.get(peer), failed=failed)
            )
    return found

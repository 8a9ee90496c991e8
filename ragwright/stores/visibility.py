"""Who sees a record at which generation, and waiting until reads show what was written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.errors import NotVisibleYet

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0


def visible_at(records: pa.Table | pa.RecordBatch, as_of: int) -> pa.Array | pa.ChunkedArray:
    """Whether a reader at generation `as_of` sees each record: `born <= as_of < died`."""
    return pc.and_(pc.less_equal(records["born"], as_of), pc.greater(records["died"], as_of))


def condition(as_of: int) -> str:
    """The same in SQL."""
    return f"born <= {int(as_of)} AND died > {int(as_of)}"


def wait_until(
    seen: Callable[[Sequence[str]], Set[str]],
    *,
    present: Sequence[str],
    absent: Sequence[str],
    timeout: float,
    place: str,
) -> None:
    """Poll until reads show every id of `present` and none of `absent`.

    Args:
        seen: Which of the given ids a fresh read shows.
        present: Ids that must be there.
        absent: Ids that must not.
        timeout: Limit in seconds; the first look is taken in any case.
        place: Store and space, for the error.

    Raises:
        NotVisibleYet: Time is up; the error says how many ids are wanting and names one.
    """
    deadline = time.monotonic() + timeout
    missing, lingering = list(present), list(absent)
    pause = _FIRST_PAUSE
    while True:
        found = seen([*missing, *lingering]) if missing or lingering else set()
        missing = [record_id for record_id in missing if record_id not in found]
        lingering = [record_id for record_id in lingering if record_id in found]
        if not missing and not lingering:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotVisibleYet(
                f"after {timeout:g} s reads do not show {len(missing)} records that were written and still show "
                f"{len(lingering)} that were removed, for example {(missing or lingering)[0]!r}.",
                place=place,
                hint="Try again; if it lasts, the write did not take place.",
            )
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)

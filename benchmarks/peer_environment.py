"""The environment that the peers run in: made by the suite, of the exact files that peers/requirements.txt names."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from processes import PEERS, Failed, output_of, step

WANTED, LOCKED = PEERS / "requirements.in", PEERS / "requirements.txt"


def peer_python(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made if it is not there, or holds other versions.

    Raises:
        Failed: It cannot be made.
    """
    folder = folder.absolute()
    python, has = folder / "bin" / "python", folder / "requirements.txt"
    if has.exists() and has.read_bytes() == LOCKED.read_bytes():
        return python
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise Failed("the peers' environment needs uv, which `make bench` installs")
    with step(f"the peers' environment, in {folder}"):
        output_of([uv, "venv", "--allow-existing", "--python", sys.executable, str(folder)], accepted=(0,), silent=True)
        # Copies, because NLTK, which LlamaIndex loads, refuses files that are linked from a cache.
        install = [uv, "pip", "sync", "--link-mode", "copy", "--require-hashes", "--python", str(python), str(LOCKED)]
        output_of(install, accepted=(0,), silent=True)
    shutil.copyfile(LOCKED, has)
    return python


def peer_versions() -> list[str]:
    """The packages that were asked for, with their versions."""
    lines = WANTED.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]

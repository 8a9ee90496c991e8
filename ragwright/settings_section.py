"""What every branch of the settings tree is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Adapter = Annotated[str, Field(pattern=r"^python:[\w.]+:\w+$")]


class Section(BaseModel):
    """A branch of the tree: frozen, and unknown names are errors, so that a typo does not pass as a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

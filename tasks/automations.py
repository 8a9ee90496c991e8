"""Bring the automations of a Prefect server to what a file says: `python -m tasks.automations FILE [--dry-run]`.

Prints one JSON document, and exits 1 with `{"error": ...}` in it when that fails. `ragwright automations apply` runs
this in a process of its own, because the command line does without Prefect.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import httpx
import yaml
from prefect import get_client
from prefect.events.filters import AutomationFilter, AutomationFilterTags
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.settings import get_current_settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragwright.errors import ConfigurationError, RagwrightError, RequestRejected, Unavailable

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

MARK = "ragwright"
"""Tag of the automations that are ours to change and remove."""


class Message(BaseModel):
    """The action that this file adds to Prefect's own: tell a person, over whichever blocks there are."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["message"]
    subject: str
    body: str

    def through(self, blocks: Mapping[str, Block]) -> list[dict[str, Any]]:
        """The message as actions of Prefect's."""
        # A webhook's body is JSON whatever the templates expand to; chat systems read `text`.
        payload = '{"text": {% filter tojson %}' + f"{self.subject}\n{self.body}" + "{% endfilter %}}"
        return [
            {"type": "call-webhook", "block_document_id": block.id, "payload": payload}
            if block.is_webhook
            else {
                "type": "send-notification",
                "block_document_id": block.id,
                "subject": self.subject,
                "body": self.body,
            }
            for block in blocks.values()
        ]


class Rule(BaseModel):
    """One automation of the file."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    trigger: dict[str, Any]
    actions: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def automation(self, blocks: Mapping[str, Block]) -> AutomationCore:
        """What Prefect is given. One that would do nothing still fires, which the event feed shows."""
        actions: list[dict[str, Any]] = []
        for action in self.actions:
            is_message = action.get("type") == "message"
            actions += Message.model_validate(action).through(blocks) if is_message else [action]
        return AutomationCore.model_validate(
            {
                "name": self.name,
                "description": self.description,
                "tags": [MARK],
                "enabled": True,
                "trigger": self.trigger,
                "actions": actions or [{"type": "do-nothing"}],
            }
        )


class Rules(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    notify: str = Field(description="Name of the blocks that messages go to.")
    automations: list[Rule]


@dataclass(frozen=True)
class Block:
    """A notification or Webhook block: where messages go. What it holds is not read."""

    id: str
    is_webhook: bool


def apply(file: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Create, update and remove automations until those with our tag are the file's; what was done, JSON-ready.

    Raises:
        ConfigurationError: The file is not valid, or no server is named.
        Unavailable: The server does not answer.
        RequestRejected: It refuses an automation.
    """
    rules = read(file)
    url = get_current_settings().api.url
    if url is None:
        raise ConfigurationError(
            "no Prefect server is named, and a temporary one would forget its automations",
            hint="`make up` starts one on this machine; PREFECT_API_URL names another.",
        )
    try:
        with get_client(sync_client=True) as client:
            blocks = _blocks(client, rules.notify)
            wanted = {rule.name: rule.automation(blocks) for rule in rules.automations}
            did = _apply(client, wanted, dry_run=dry_run)
    except httpx.HTTPStatusError as error:
        raise RequestRejected(
            f"the Prefect server answers {error.response.status_code}: {error.response.text[:500]}", place=url
        ) from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"the Prefect server does not answer ({type(error).__name__})",
            place=url,
            hint="Start it (`make up`), or name another in PREFECT_API_URL.",
        ) from error
    mute = [rule.name for rule in rules.automations if any(a.get("type") == "message" for a in rule.actions)]
    return {
        "server": url,
        "ui": get_current_settings().ui_url,
        "dry_run": dry_run,
        "notify": rules.notify,
        "blocks": sorted(blocks),
        "mute": [] if blocks else mute,
        "automations": did,
    }


def read(file: Path) -> Rules:
    """Read the file and check every part of it.

    Raises:
        ConfigurationError: It is missing, no YAML, or has a fault; the message names the automation and the field.
    """
    try:
        rules = Rules.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        for rule in rules.automations:
            rule.automation({})
    except OSError as error:
        raise ConfigurationError(
            f"the automations cannot be read: {error.strerror}", place=str(file), hint="Name another file with --file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the automations are not YAML: {error}", place=str(file)) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"the automations are not valid: {where}: {first['msg']}",
            place=f"{file}: {rule.name}" if "rule" in locals() else str(file),
            hint="docs/operations.md has the format.",
        ) from error
    names = [rule.name for rule in rules.automations]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"two automations are called {twice[0]!r}", place=str(file))
    return rules


def _apply(client: SyncPrefectClient, wanted: dict[str, AutomationCore], *, dry_run: bool) -> list[dict[str, Any]]:
    known: dict[str, Automation] = {}
    surplus: list[Automation] = []
    for one in client.read_automations(automations=AutomationFilter(tags=AutomationFilterTags(all_=[MARK]))):
        if one.name in wanted and one.name not in known:
            known[one.name] = one
        else:
            surplus.append(one)
    did = []
    for name, core in wanted.items():
        found = known.get(name)
        if found is None:
            what = "created"
            if not dry_run:
                client.create_automation(core)
        elif _same(found, core):
            what = "unchanged"
        else:
            what = "updated"
            if not dry_run:
                # The client leaves out what was not given, the defaults, which the server asks for.
                whole = core.model_dump(mode="json", exclude={"owner_resource"}) | {"enabled": found.enabled}
                client.update_automation(found.id, AutomationCore.model_validate(whole))
        did.append({"name": name, "did": what, "enabled": found is None or found.enabled})
    for one in surplus:
        if not dry_run:
            client.delete_automation(one.id)
        did.append({"name": one.name, "did": "removed", "enabled": one.enabled})
    return did


def _same(found: Automation, core: AutomationCore) -> bool:
    fields = ("description", "trigger", "actions")
    return all(getattr(found, field) == getattr(core, field) for field in fields)


def _blocks(client: SyncPrefectClient, name: str) -> dict[str, Block]:
    """Notification and Webhook blocks of that name, by `<type>/<name>`."""
    found = {}
    for document in client.read_block_documents(include_secrets=False):
        slug = document.block_type.slug if document.block_type else ""
        capabilities = document.block_schema.capabilities if document.block_schema else []
        if document.name == name and (slug == "webhook" or "notify" in capabilities):
            found[f"{slug}/{name}"] = Block(str(document.id), slug == "webhook")
    return found


def main() -> None:
    """Apply a file from a shell."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    flags = parser.parse_args()
    try:
        print(json.dumps(apply(flags.file, dry_run=flags.dry_run)))  # noqa: T201 # the result is for a program
    except RagwrightError as error:
        told = {"type": type(error).__name__, "message": error.what, "place": error.place, "hint": error.hint}
        print(json.dumps({"error": told}))  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()

"""What `ragwright doctor` looks at in an account: everything a run would need there, before anything is created."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragwright.cli.doctor import Check, failed
from ragwright.errors import ConfigurationError, RagwrightError, TransientError

if TYPE_CHECKING:
    from ragwright.endpoints.aws import Aws
    from ragwright.endpoints.iam import Place, Statement
    from ragwright.endpoints.presets import Preset
    from ragwright.settings import Settings

_ROLE = re.compile(r"arn:(?P<partition>aws[\w-]*):iam::(?P<account>\d{12}):role/(?P<name>.+)")
_CALLER = re.compile(
    r"arn:(?P<partition>aws[\w-]*):(iam|sts)::(?P<account>\d{12}):(?P<kind>root|user|assumed-role|federated-user)/?(?P<name>.*)"
)
_OPTIONAL = "Attach deploy/iam/optional.json to have it checked."


@dataclass(frozen=True)
class Caller:
    """Who the credentials belong to."""

    arn: str
    partition: str
    account: str
    kind: str
    name: str

    @property
    def principal(self) -> str | None:
        """What IAM can be asked about; None where it cannot."""
        match self.kind:
            case "user":
                return self.arn
            case "assumed-role":
                return f"arn:{self.partition}:iam::{self.account}:role/{self.name.partition('/')[0]}"
        return None


def examine_account(settings: Settings) -> Iterator[Check]:
    """Look at the account; changes nothing but a probe file in the catalog, which it removes."""
    from ragwright.endpoints.aws import Aws
    from ragwright.profiles import missing

    for name, purpose in missing(settings).items():
        yield Check("settings", "fail", f"missing: {name}, {purpose}", f"Set {name} in the environment or .env.")
    if settings.store_spec.startswith("pinecone:"):
        yield _pinecone(settings)
    on_sagemaker, on_s3 = settings.endpoints.host == "sagemaker", settings.catalog_url.startswith("s3://")
    if on_sagemaker:
        yield from _presets(settings)
    if on_sagemaker or on_s3:
        aws = Aws(settings.sagemaker.region, retry=settings.retry)
        try:
            yield from _account(aws, settings)
        finally:
            aws.close()


def _account(aws: Aws, settings: Settings) -> Iterator[Check]:
    try:
        caller = _caller(aws)
    except TransientError as error:
        yield _unclear("credentials", error)
        return
    except RagwrightError as error:
        yield Check("credentials", "fail", f"missing: {error.what}", error.hint)
        return
    yield Check("credentials", "ok", f"{caller.arn} in {aws.region}")
    place = _place(settings, caller, aws.region)
    if settings.endpoints.host == "sagemaker":
        yield from _roles(aws, settings, caller)
    yield from _permissions(aws, settings, caller, place)
    if settings.endpoints.host == "sagemaker":
        yield from _quotas(aws, settings)
    if settings.catalog_url.startswith("s3://"):
        yield _catalog(settings)


def _caller(aws: Aws) -> Caller:
    arn = str(aws.call("sts", "get_caller_identity")["Arn"])
    found = _CALLER.fullmatch(arn)
    if found is None:
        raise ConfigurationError(f"the caller {arn!r} is of no known kind")
    return Caller(arn, found["partition"], found["account"], found["kind"], found["name"])


def _unclear(name: str, error: RagwrightError, hint: str | None = None) -> Check:
    otherwise = "Try again." if isinstance(error, TransientError) else "Look at it by hand, in the console."
    return Check(name, "unknown", f"could not check: {error.what}", hint or error.hint or otherwise)


def _is_denied(error: RagwrightError) -> bool:
    from ragwright.endpoints.aws import code_of

    return code_of(error) in ("AccessDenied", "AccessDeniedException")


def _place(settings: Settings, caller: Caller, region: str) -> Place:
    from ragwright.endpoints.iam import Place

    section = settings.sagemaker
    return Place(
        account=caller.account,
        region=region,
        partition=caller.partition,
        catalog=settings.catalog_url.removeprefix("s3://").strip("/"),
        containers=_role_name(section.role_arn),
        scheduler=_role_name(section.scheduler_role_arn),
        group=section.scheduler_group,
    )


def _role_name(arn: str) -> str:
    """Name of a role with its path, as it stands in its ARN."""
    found = _ROLE.fullmatch(arn)
    return found["name"] if found else ""


def _roles(aws: Aws, settings: Settings, caller: Caller) -> Iterator[Check]:
    section = settings.sagemaker
    wanted = (
        ("execution role", "RAGWRIGHT_SAGEMAKER__ROLE_ARN", section.role_arn, "sagemaker", "containers"),
        (
            "switch role",
            "RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN",
            section.scheduler_role_arn,
            "scheduler",
            "scheduler",
        ),
    )
    for name, variable, arn, service, file in wanted:
        if not arn:
            continue  # said among the settings
        found = _ROLE.fullmatch(arn)
        if found is None or found["account"] != caller.account:
            yield Check(
                name,
                "fail",
                f"{arn!r} is no role of account {caller.account}",
                f"Set {variable} to arn:{caller.partition}:iam::{caller.account}:role/NAME.",
            )
            continue
        yield _role(aws, name, arn, f"{service}.amazonaws.com", file)


def _role(aws: Aws, name: str, arn: str, service: str, file: str) -> Check:
    from ragwright.endpoints.aws import code_of

    try:
        role = aws.call("iam", "get_role", RoleName=arn.rpartition("/")[2])["Role"]
    except RagwrightError as error:
        if code_of(error) == "NoSuchEntity":
            return Check(
                name,
                "fail",
                f"missing: {arn}",
                f"Create it with {file}-trust.json and {file}.json of deploy/iam; docs/aws.md has the commands.",
            )
        return _unclear(name, error, _OPTIONAL if _is_denied(error) else None)
    if not _trusts(role.get("AssumeRolePolicyDocument"), service):
        return Check(
            name, "fail", f"{arn} does not trust {service}", f"Give it the trust policy deploy/iam/{file}-trust.json."
        )
    return Check(name, "ok", f"{arn} trusts {service}")


def _trusts(document: Any, service: str) -> bool:
    if not isinstance(document, Mapping):
        return False
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal")
        named = principal.get("Service", []) if isinstance(principal, Mapping) else []
        if statement.get("Effect") == "Allow" and service in ([named] if isinstance(named, str) else named):
            return True
    return False


def _permissions(aws: Aws, settings: Settings, caller: Caller, place: Place) -> Iterator[Check]:
    principal = caller.principal
    if principal is None:
        yield Check(
            "permissions",
            "unknown",
            f"could not check: IAM does not tell of a {caller.kind}",
            "Run as a role with deploy/iam/runner.json.",
        )
        return
    lacking: list[tuple[str, str]] = []
    asked = 0
    for statement in _wanted(settings, place):
        try:
            decisions = _simulated(aws, principal, statement)
        except RagwrightError as error:
            yield _unclear("permissions", error, _OPTIONAL if _is_denied(error) else None)
            return
        asked += len(decisions)
        lacking += [(action, resource) for action, resource, allowed in decisions if not allowed]
    for action, resource in lacking:
        yield Check("permissions", "fail", f"missing: {action} on {resource}", _allow(principal))
    if not lacking:
        yield Check("permissions", "ok", f"{asked} of {asked} that a run needs are allowed to {principal}")


def _allow(principal: str) -> str:
    return f"Attach deploy/iam/runner.json, with your names in it, to {principal}."


def _wanted(settings: Settings, place: Place) -> Iterator[Statement]:
    """The runner's statements that these settings come to; which source is read is not known yet."""
    from ragwright.endpoints.iam import runner

    for statement in runner(place):
        service = statement.actions[0].partition(":")[0]
        if statement.sid == "ReadSource" or any(arn.endswith(":role/") for arn in statement.resources):
            continue
        if settings.catalog_url.startswith("s3://") if service == "s3" else settings.endpoints.host == "sagemaker":
            yield statement


def _simulated(aws: Aws, principal: str, statement: Statement) -> list[tuple[str, str, bool]]:
    """What IAM would decide, as (action, resource, allowed), on examples of the resources under the conditions."""
    context = [
        {"ContextKeyName": key, "ContextKeyValues": [values[0]], "ContextKeyType": "string"}
        for keys in statement.conditions.values()
        for key, values in keys.items()
    ]
    resources = [arn if arn == "*" else arn.replace("*", "ragwright-doctor") for arn in statement.resources]
    answer = aws.call(
        "iam",
        "simulate_principal_policy",
        PolicySourceArn=principal,
        ActionNames=list(statement.actions),
        ResourceArns=resources,
        ContextEntries=context,
    )
    return [
        (found["EvalActionName"], found.get("EvalResourceName", "*"), found["EvalDecision"] == "allowed")
        for found in answer["EvaluationResults"]
    ]


def _quotas(aws: Aws, settings: Settings) -> Iterator[Check]:
    presets = [preset for preset in _chosen_presets(settings) if preset.instances]
    if not presets:
        return
    try:
        quotas = {
            quota["QuotaName"]: float(quota["Value"])
            for quota in aws.pages(
                "service-quotas", "list_service_quotas", "Quotas", ServiceCode="sagemaker", MaxResults=100
            )
        }
    except RagwrightError as error:
        yield _unclear("quota", error, _OPTIONAL if _is_denied(error) else None)
        return
    for preset in presets:
        yield _quota(preset, quotas)


def _quota(preset: Preset, quotas: Mapping[str, float]) -> Check:
    name = f"{preset.model}"
    told = {instance.type: quotas.get(f"{instance.type} for endpoint usage") for instance in preset.instances}
    enough = [kind for kind, quota in told.items() if quota is not None and quota >= preset.count]
    first = preset.instances[0].type
    said = ", ".join(f"{kind} {'not known' if quota is None else f'{quota:g}'}" for kind, quota in told.items())
    raise_it = f"Raise 'SageMaker: {first} for endpoint usage' to {preset.count} or more in the Service Quotas console."
    if first in enough:
        return Check("quota", "ok", f"{name}: {said}")
    if enough:
        return Check("quota", "warn", f"{name}: {said}; it will run on {enough[0]}", raise_it)
    if None in told.values():
        return Check("quota", "unknown", f"could not check: {name}: {said}", raise_it)
    return Check("quota", "fail", f"missing: room for {name}: {said}", raise_it)


def _chosen_presets(settings: Settings) -> list[Preset]:
    """The presets of the endpoints that the settings want; those that cannot be told are told elsewhere."""
    from ragwright.assembly import wanted_endpoints
    from ragwright.endpoints.presets import preset_for

    found = []
    for spec in wanted_endpoints(settings):
        try:
            found.append(preset_for(spec, settings))
        except ConfigurationError:
            continue
    return found


def _presets(settings: Settings) -> Iterator[Check]:
    from ragwright.assembly import wanted_endpoints
    from ragwright.endpoints.presets import preset_for

    for spec in wanted_endpoints(settings):
        try:
            preset = preset_for(spec, settings)
        except ConfigurationError as error:
            yield failed("preset", error)
            continue
        lacking = list(_lacking(preset, settings))
        yield from lacking
        if not lacking:
            kind = preset.instances[0].type if preset.instances else "serverless"
            yield Check("preset", "ok", f"{spec.name}: {preset.name} ({kind})")


def _lacking(preset: Preset, settings: Settings) -> Iterator[Check]:
    """What a gated model asks of its user."""
    section = settings.sagemaker
    if preset.gated and not preset.model_data and section.hugging_face_token is None:
        yield Check(
            "preset",
            "fail",
            f"missing: a Hugging Face token for {preset.name}, whose model is gated",
            "Set RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN, or give the preset `model_data` on S3.",
        )
    if preset.eula and preset.name not in section.accept_eula:
        yield Check(
            "preset",
            "fail",
            f"missing: your acceptance of the licence of {preset.name}: {preset.eula}",
            f"Read it, then add {preset.name!r} to sagemaker.accept_eula.",
        )


def _catalog(settings: Settings) -> Check:
    """Whether files can be made there that only one writer can make: publishing rests on that."""
    from ragwright.index.catalog import Catalog

    probe = f"probe-{uuid.uuid4().hex}"
    hint = (
        "Create the bucket in this region, and allow deploy/iam/runner.json. The catalog takes credentials from the "
        'environment or the instance, not from a profile: `eval "$(aws configure export-credentials --format env)"`.'
    )
    try:
        with Catalog(settings.catalog_url, "ragwright-doctor") as catalog:
            first = catalog.create(probe, b"1")
            again = catalog.create(probe, b"2")
            kept = catalog.read(probe)
            catalog.delete(probe)
    except TransientError as error:
        return _unclear("catalog", error)
    except RagwrightError as error:
        return Check("catalog", "fail", f"{error.place}: {error.what}", hint)
    if not first or again or kept != b"1":
        return Check(
            "catalog",
            "fail",
            f"{settings.catalog_url} overwrites a file that must be made once",
            "Use S3 itself, or a store that honours conditional writes (If-None-Match).",
        )
    return Check("catalog", "ok", f"{settings.catalog_url} can be written, and a file is made once")


def _pinecone(settings: Settings) -> Check:
    from importlib.util import find_spec

    if not os.environ.get("PINECONE_API_KEY"):
        return Check("pinecone", "unknown", "could not check without PINECONE_API_KEY")
    if find_spec("pinecone") is None:
        return Check("pinecone", "fail", "missing: the SDK", "pip install 'ragwright[pinecone]'")
    from ragwright.stores.pinecone_index import PineconeIndex, PineconeSpec

    try:
        spec = PineconeSpec.parse(settings.store_spec.removeprefix("pinecone:"))
        index = PineconeIndex(spec, timeout=10, ready_timeout=0)
        try:
            there = index.open() is not None
        finally:
            index.close()
    except TransientError as error:
        return _unclear("pinecone", error)
    except RagwrightError as error:
        return failed("pinecone", error)
    return Check(
        "pinecone",
        "ok",
        f"the key is accepted; index {spec.index!r} {'is there' if there else 'will be created by the first re-index'}",
    )

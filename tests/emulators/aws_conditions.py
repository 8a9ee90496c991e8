"""What the conditions of an IAM policy can see of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulators.aws_calls import ACCOUNT, Call
from moto.sagemaker.models import sagemaker_backends


def context_of(call: Call, service: str, action: str, resource: str) -> dict[str, str]:
    """The keys that IAM would know, of one permission that a call needs."""
    context = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in call.body.get("Tags") or ()}
    if service == "sagemaker":
        context |= {f"aws:ResourceTag/{key}": value for key, value in _tags_of(resource, call.region).items()}
        if action == "AddTags" and call.action != "AddTags":
            context["sagemaker:TaggingAction"] = call.action
    if action == "PassRole":
        context["iam:PassedToService"] = f"{call.service}.amazonaws.com"
    return context


def hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Whether the conditions of a statement do; a key that the request does not have matches nothing."""
    assert conditions.keys() <= {"StringEquals"}, f"{conditions} is not emulated"
    return all(context.get(key) in values for key, values in conditions.get("StringEquals", {}).items())


def _tags_of(resource: str, region: str) -> dict[str, str]:
    """Tags of an endpoint; those of what is not there went with it."""
    backend = sagemaker_backends[ACCOUNT][region]
    endpoint = backend.endpoints.get(resource.rpartition("/")[2]) if ":endpoint/" in resource else None
    return {tag["Key"]: tag["Value"] for tag in endpoint.tags or ()} if endpoint else {}

"""What the account says of itself where moto has no answer: who calls, what it may do, and its quotas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from xml.sax.saxutils import escape

from emulators.aws_calls import ACCOUNT, AwsError, Call
from emulators.aws_shapes import instance_types
from emulators.aws_switches import Permissions, Switches
from werkzeug.wrappers import Response

ROLE_NAME = "ragwright"
CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE_NAME}/session"
PLENTY = 100  # instances of the types that `Switches.quotas` does not name
PAGE = 100


class Account:
    """Answers for STS, IAM's simulator and Service Quotas."""

    def __init__(self, switches: Switches, permissions: Permissions) -> None:
        self._switches, self._permissions = switches, permissions

    def answer(self, call: Call) -> Response | None:
        """Carry out one call; None if it is for moto."""
        match call.service, call.action:
            case "sts", "GetCallerIdentity":
                said = f"<Arn>{CALLER}</Arn><UserId>AROAEXAMPLE:session</UserId><Account>{ACCOUNT}</Account>"
                return _xml("GetCallerIdentity", said)
            case "iam", "SimulatePrincipalPolicy":
                return self._simulate(call)
            case "servicequotas", "ListServiceQuotas":
                return self._list_quotas(call.body)
            case "servicequotas", "GetServiceQuota":
                return self._get_quota(call.body)
        return None

    def _simulate(self, call: Call) -> Response:
        actions = _members(call.body, "ActionNames")
        resources = _members(call.body, "ResourceArns") or ["*"]
        members = []
        for action in actions:
            for resource in resources:
                service, _, name = action.partition(":")
                decision = "allowed" if self._permissions.allows(service, name, resource) else "implicitDeny"
                members.append(
                    f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>{escape(resource)}"
                    f"</EvalResourceName><EvalDecision>{decision}</EvalDecision></member>"
                )
        results = f"<EvaluationResults>{''.join(members)}</EvaluationResults>"
        return _xml("SimulatePrincipalPolicy", f"<IsTruncated>false</IsTruncated>{results}")

    def _list_quotas(self, body: Mapping[str, object]) -> Response:
        types = instance_types() if body["ServiceCode"] == "sagemaker" else []
        begin = int(str(body.get("NextToken", 0)))
        more = {"NextToken": str(begin + PAGE)} if begin + PAGE < len(types) else {}
        return _json({"Quotas": [self._quota(kind) for kind in types[begin : begin + PAGE]], **more})

    def _get_quota(self, body: Mapping[str, object]) -> Response:
        for kind in instance_types():
            quota = self._quota(kind)
            if quota["QuotaCode"] == body["QuotaCode"] and body["ServiceCode"] == "sagemaker":
                return _json({"Quota": quota})
        raise AwsError("NoSuchResourceException", f"There is no quota {body['QuotaCode']}.")

    def _quota(self, instance_type: str) -> dict[str, object]:
        code = f"L-{hashlib.sha256(instance_type.encode()).hexdigest()[:8].upper()}"
        return {
            "ServiceCode": "sagemaker",
            "ServiceName": "Amazon SageMaker",
            "QuotaArn": f"arn:aws:servicequotas:us-east-1:{ACCOUNT}:sagemaker/{code}",
            "QuotaCode": code,
            "QuotaName": f"{instance_type} for endpoint usage",
            "Value": float(self._switches.quotas.get(instance_type, PLENTY)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }


def _members(form: Mapping[str, object], name: str) -> list[str]:
    found = {key.rpartition(".")[2]: value for key, value in form.items() if key.startswith(f"{name}.member.")}
    return [str(found[number]) for number in sorted(found, key=int)]


def _xml(action: str, content: str) -> Response:
    return Response(
        f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>", content_type="text/xml"
    )


def _json(content: object) -> Response:
    return Response(json.dumps(content), content_type="application/x-amz-json-1.1")

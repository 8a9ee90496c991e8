"""What a request to AWS asks for, in IAM's words, and how each service words its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import unquote
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

ACCOUNT = "123456789012"
# How requests are signed, and the prefix of the service's actions in IAM, where it is another.
PREFIXES = {"tagging": "tag", "monitoring": "cloudwatch", "email": "ses"}
RUNTIME_PATH = re.compile(r"^/endpoints/([^/]+)/(invocations|async-invocations|invocations-response-stream)$")
RUNTIME_ACTIONS = {
    "invocations": "InvokeEndpoint",
    "async-invocations": "InvokeEndpointAsync",
    "invocations-response-stream": "InvokeEndpoint",  # a stream needs no permission of its own
}
SCHEDULER_ROUTES = (
    ("POST", r"^/schedules/([^/]+)$", "CreateSchedule"),
    ("PUT", r"^/schedules/([^/]+)$", "UpdateSchedule"),
    ("GET", r"^/schedules/([^/]+)$", "GetSchedule"),
    ("DELETE", r"^/schedules/([^/]+)$", "DeleteSchedule"),
    ("GET", r"^/schedules$", "ListSchedules"),
    ("POST", r"^/schedule-groups/([^/]+)$", "CreateScheduleGroup"),
    ("GET", r"^/schedule-groups/([^/]+)$", "GetScheduleGroup"),
    ("DELETE", r"^/schedule-groups/([^/]+)$", "DeleteScheduleGroup"),
    ("GET", r"^/schedule-groups$", "ListScheduleGroups"),
    ("GET", r"^/tags/(.+)$", "ListTagsForResource"),
    ("POST", r"^/tags/(.+)$", "TagResource"),
    ("DELETE", r"^/tags/(.+)$", "UntagResource"),
)


class AwsError(Exception):
    """An error as AWS sends it; `members` are what its shape has beside the message."""

    def __init__(self, code: str, message: str, status: int = 400, **members: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.members = code, message, status, members


def refuse(message: str) -> NoReturn:
    """Raise what most services call a request that they will not carry out."""
    raise AwsError("ValidationException", message)


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        service: Prefix of its actions in IAM.
        action: Name of the action in IAM; for S3 that is not always the operation's.
        region: Where it goes to.
        resource: ARN, as far as it shows in the request, or "*".
        body: The parameters of a JSON request.
        protocol: How the service words its errors.
        path: What the URL says, in case it names the resource.
    """

    service: str
    action: str
    region: str
    resource: str = "*"
    body: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "json"
    path: str = "/"

    @property
    def needs(self) -> tuple[tuple[str, str, str], ...]:
        """Every (service, action, resource) that the caller must be allowed."""
        needed = [(self.service, self.action, self.resource)]
        if self.service == "sagemaker" and self.action.startswith("Create") and self.body.get("Tags"):
            needed.append(("sagemaker", "AddTags", self.resource))
        role = self.body.get("ExecutionRoleArn") or (self.body.get("Target") or {}).get("RoleArn")
        if role and self.action.startswith(("Create", "Update")):
            needed.append(("iam", "PassRole", str(role)))
        return tuple(needed)


def read_call(request: Request) -> Call | None:
    """What a signed request asks for; None if it is not signed."""
    scope = re.search(
        r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request",
        unquote(f"{request.headers.get('Authorization', '')} {request.query_string.decode()}").replace(
            "X-Amz-Credential=", "Credential="
        ),
    )
    if scope is None:
        return None
    region, signed_for = scope.groups()
    service = PREFIXES.get(signed_for, signed_for)
    if service == "s3":
        return _s3(request, region)
    if service == "scheduler":
        return _scheduler(request, region)
    return _other(request, service, region)


def _other(request: Request, service: str, region: str) -> Call:
    if invoked := RUNTIME_PATH.match(request.path):
        resource = f"arn:aws:sagemaker:{region}:{ACCOUNT}:endpoint/{invoked[1]}"
        return Call("sagemaker", RUNTIME_ACTIONS[invoked[2]], region, resource, protocol="rest", path=request.path)
    if target := request.headers.get("X-Amz-Target"):
        body = _json(request)
        action = target.rpartition(".")[2]
        return Call(service, action, region, _resource(service, action, region, body), body, path=request.path)
    if named := request.values.get("Action"):
        return Call(service, named, region, body=request.form.to_dict(), protocol="query", path=request.path)
    return Call(service, f"{request.method} {request.path}", region, protocol="rest", path=request.path)


def error_response(call: Call, error: AwsError) -> Response:
    """An error in the words of the service that was called."""
    code, message = escape(error.code), escape(error.message)
    if call.service == "s3":
        text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        return Response(text, error.status, content_type="application/xml")
    if call.protocol == "query":
        text = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return Response(f"<ErrorResponse>{text}</ErrorResponse>", error.status, content_type="text/xml")
    content = {"__type": error.code, "message": error.message, "Message": error.message, **error.members}
    return Response(
        json.dumps(content),
        error.status,
        content_type="application/x-amz-json-1.1" if call.protocol == "json" else "application/json",
        headers={"x-amzn-errortype": error.code},
    )


def _json(request: Request) -> dict[str, Any]:
    body = request.get_data()
    parsed = json.loads(body) if body else {}
    return parsed if isinstance(parsed, dict) else {}


def _resource(service: str, action: str, region: str, body: Mapping[str, Any]) -> str:
    if service != "sagemaker" or action.startswith("List"):
        return str(body.get("ResourceArn", "*"))
    for kind, key in (("endpoint", "EndpointName"), ("endpoint-config", "EndpointConfigName"), ("model", "ModelName")):
        if key in body:
            return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{body[key]}"
    return str(body.get("ResourceArn", "*"))


def _scheduler(request: Request, region: str) -> Call:
    for method, pattern, action in SCHEDULER_ROUTES:
        found = re.match(pattern, request.path)
        if found and request.method == method:
            body = _json(request)
            resource = "*"
            if found.groups() and action.endswith("ScheduleGroup"):
                resource = f"arn:aws:scheduler:{region}:{ACCOUNT}:schedule-group/{found[1]}"
                body = {**body, "Name": found[1]}
            elif found.groups() and action.endswith("Schedule"):
                group = body.get("GroupName") or request.args.get("groupName") or "default"
                resource = f"arn:aws:scheduler:{region}:{ACCOUNT}:schedule/{group}/{found[1]}"
                body = {**body, "Name": found[1]}
            return Call("scheduler", action, region, resource, body, "rest", request.path)
    return Call("scheduler", f"{request.method} {request.path}", region, protocol="rest", path=request.path)


def _s3(request: Request, region: str) -> Call:
    bucket, _, key = request.path.lstrip("/").partition("/")
    asked = set(request.args)
    match request.method, bool(bucket), bool(key):
        case _, False, _:
            action = "ListAllMyBuckets"
        case "GET" | "HEAD", _, True:
            action = "ListMultipartUploadParts" if "uploadId" in asked else "GetObject"
        case "PUT" | "POST", _, True:
            action = "PutObject"
        case "DELETE", _, True:
            action = "AbortMultipartUpload" if "uploadId" in asked else "DeleteObject"
        case "GET", _, _ if "uploads" in asked:
            action = "ListBucketMultipartUploads"
        case "GET", _, _ if "location" in asked:
            action = "GetBucketLocation"
        case "GET" | "HEAD", _, _:
            action = "ListBucket"
        case "POST", _, _:
            action = "DeleteObject"
        case "PUT", _, _:
            action = "CreateBucket"
        case _:
            action = "DeleteBucket"
    resource = f"arn:aws:s3:::{bucket}{'/' + key if key else ''}" if bucket else "*"
    return Call("s3", action, region, resource, protocol="rest", path=request.path)

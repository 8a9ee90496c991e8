"""SageMaker's data plane: invocations, with the limits and the errors of the original."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from emulators.aws_calls import ACCOUNT, RUNTIME_PATH, AwsError, Call
from emulators.aws_containers import Container
from emulators.aws_event_stream import event_stream
from emulators.aws_switches import Switches
from werkzeug.wrappers import Request, Response

MOST_BYTES = 6 * 1024 * 1024
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for "
    "each container in Amazon CloudWatch, resolve the issue, and try again."
)


class Runtime:
    """Forwards invocations to the containers of endpoints in service."""

    def __init__(self, switches: Switches, find: Callable[[str, str], Container | None]) -> None:
        self.switches = switches
        self._find = find
        self._lock = threading.Lock()
        self._at_once = 0

    def answer(self, call: Call, request: Request) -> Response:
        """Carry out one invocation."""
        found = RUNTIME_PATH.match(call.path)
        assert found is not None
        name, body = found[1], request.get_data()
        streams = found[2] == "invocations-response-stream"
        if not streams and found[2] != "invocations":
            raise AwsError("ValidationError", f"{found[2]} is not emulated.")
        if len(body) > MOST_BYTES:
            # The load balancer in front of the service says so, which is why it is not JSON.
            return Response(f"HTTP content length exceeded {MOST_BYTES} bytes.", 413, content_type="text/plain")
        container = self._find(call.region, name)
        if container is None:
            raise AwsError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        with self._lock:
            limit = self.switches.most_at_once
            if limit is not None and self._at_once >= limit:
                raise AwsError("ThrottlingException", "Rate exceeded", 429)
            self._at_once += 1
        try:
            status, parts = self._reply(container, body, streams=streams)
        except TimeoutError as error:
            raise _model_error(call.region, name, 0, TIMED_OUT) from error
        except OSError as error:
            gone = "An error occurred while handling request as the model process exited."
            raise _model_error(call.region, name, 0, gone) from error
        finally:
            with self._lock:
                self._at_once -= 1
        headers = {"x-Amzn-Invoked-Production-Variant": "AllTraffic"}
        if status != 200:
            raise _model_error(call.region, name, status, b"".join(parts).decode(errors="replace"))
        if streams:
            frames = event_stream(self._recut(parts), self.switches.break_stream_after)
            return Response(frames, 200, content_type="application/vnd.amazon.eventstream", headers=headers)
        reply = b"".join(parts)
        if len(reply) > MOST_BYTES:
            raise _model_error(call.region, name, 200, "The response is over the limit of 6291456 bytes.")
        return Response(reply, 200, content_type="application/json", headers=headers)

    def _reply(self, container: Container, body: bytes, *, streams: bool) -> tuple[int, Iterable[bytes]]:
        limit = self.switches.invoke_seconds
        time.sleep(min(self.switches.model_delay, limit))
        if self.switches.model_delay >= limit:
            raise TimeoutError
        with self._lock:
            if self.switches.replies:
                status, reply = self.switches.replies.popleft()
                return status, [reply]
        if streams:
            return container.stream(body, timeout=limit)
        status, reply = container.answer(body, timeout=limit)
        return status, [reply]

    def _recut(self, parts: Iterable[bytes]) -> Iterable[bytes]:
        size = self.switches.part_bytes
        return parts if size is None else (part[at : at + size] for part in parts for at in range(0, len(part), size))


def _model_error(region: str, name: str, status: int, said: str) -> AwsError:
    blame = "client" if 400 <= status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{name}"
    console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group={group}"
    return AwsError(
        "ModelError",
        f'Received {blame} error ({status}) from primary with message "{said}". See {console} in account {ACCOUNT} '
        "for more information.",
        424,
        OriginalStatusCode=status,
        OriginalMessage=said,
        LogStreamArn=f"arn:aws:logs:{region}:{ACCOUNT}:log-group:{group}",
    )

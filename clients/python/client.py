"""A client of Runwire from its protos alone.

    python client.py ADDRESS list|run|stream|task [MESSAGE [USER]]

The messages are what protoc makes of the protos (on PYTHONPATH). The methods
are called by their names, so plain grpcio is all it needs; the stubs that
grpcio-tools makes do the same. RUNWIRE_API_KEY is the key, DEADLINE the
seconds a call may take (60).
"""

import math
import os
import sys
import time

import grpc
from agent.v1 import agent_service_pb2 as api
from agent.v1 import run_pb2, task_pb2
from google.rpc import error_details_pb2, status_pb2

SERVICE = "/agent.v1.AgentService/"


def connect(address):
    return grpc.insecure_channel(address, options=[
        ("grpc.keepalive_time_ms", 30000),
        ("grpc.keepalive_timeout_ms", 10000),
    ])


def call_options():
    key = os.environ.get("RUNWIRE_API_KEY")
    return {
        "timeout": float(os.environ.get("DEADLINE", "60")),
        "metadata": [("x-api-key", key)] if key else [],
    }


def unary(channel, method, request, response_type):
    call = channel.unary_unary(
        SERVICE + method,
        request_serializer=type(request).SerializeToString,
        response_deserializer=response_type.FromString)
    return call(request, **call_options())


def streaming(channel, method, request, response_type):
    call = channel.unary_stream(
        SERVICE + method,
        request_serializer=type(request).SerializeToString,
        response_deserializer=response_type.FromString)
    return call(request, **call_options())


def stream(channel, request, on_text):
    """Runs an agent, hands each piece of text to on_text, and returns the result.

    It raises RuntimeError when an event is missing.
    """
    sequence = 0
    result = None
    for response in streaming(channel, "StreamRun", request, api.StreamRunResponse):
        event = response.event
        if event.sequence != sequence + 1 + event.merged:
            raise RuntimeError(f"event {event.sequence} (merged {event.merged}) after {sequence}")
        sequence = event.sequence
        if event.tool_call_id:  # an agent says it that was asked as a tool
            continue
        kind = event.WhichOneof("event")
        if kind == "text_delta":
            on_text(event.text_delta.text)
        elif kind == "retrying":  # what the step had said is void
            on_text("\n[retrying]\n")
        elif kind == "finished":
            result = event.finished.result
    return result


def task(channel, request, on_text):
    """Submits a task, hands each piece of its text to on_text, over as many calls as that takes, and returns the result."""
    submitted = unary(channel, "SubmitTask", request, task_pb2.SubmitTaskResponse).task
    watched = task_pb2.WatchTaskRequest(task_id=submitted.task_id)
    while True:
        try:
            for response in streaming(channel, "WatchTask", watched, task_pb2.WatchTaskResponse):
                event = response.event
                if event.sequence != watched.after_sequence + 1 + event.merged:
                    raise RuntimeError(f"event {event.sequence} (merged {event.merged}) after {watched.after_sequence}")
                watched.after_sequence = event.sequence
                if event.tool_call_id:
                    continue
                kind = event.WhichOneof("event")
                if kind == "text_delta":
                    on_text(event.text_delta.text)
                elif kind == "retrying":
                    on_text("\n[retrying]\n")
                elif kind == "finished":
                    return event.finished.result
        except grpc.RpcError as err:
            if not comes_back(err):
                raise
        time.sleep(0.5)  # the server may be on its way back


def comes_back(err):
    """Says whether a stream that broke off so is worth another call."""
    return err.code() in (
        grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
    ) or err.code() == grpc.StatusCode.INTERNAL and not list(details(err))  # a proxy that cut the stream


def details(err):
    """Yields the google.rpc messages that came with an error."""
    for key, value in err.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for packed in status_pb2.Status.FromString(value).details:
            for kind in (error_details_pb2.BadRequest, error_details_pb2.RetryInfo, error_details_pb2.ErrorInfo):
                message = kind()
                if packed.Unpack(message):
                    yield message


def print_error(err):
    print(f"error {err.code().name}")
    for detail in details(err):
        if isinstance(detail, error_details_pb2.BadRequest):
            for violation in detail.field_violations:
                print(f"field {violation.field}")
        elif isinstance(detail, error_details_pb2.RetryInfo):
            print(f"retry after {math.ceil(detail.retry_delay.ToTimedelta().total_seconds())}s")
        elif isinstance(detail, error_details_pb2.ErrorInfo):
            print(f"reason {detail.reason}")


def print_result(result):
    reason = run_pb2.StopReason.Name(result.stop_reason)
    print(f"{reason} tools={','.join(result.tool_calls_made)} tokens={result.usage.total_tokens}")


def write(text):
    print(text, end="", flush=True)


def main(address, command, message="", user="python"):
    with connect(address) as channel:
        try:
            if command == "list":
                for a in unary(channel, "ListAgents", api.ListAgentsRequest(), api.ListAgentsResponse).agents:
                    print(a.name, a.model, ",".join(a.tools))
            elif command == "run":
                request = api.RunRequest(message=message, user_id=user)
                result = unary(channel, "Run", request, api.RunResponse).result
                print(result.content)
                print_result(result)
            elif command == "stream":
                result = stream(channel, api.StreamRunRequest(message=message, user_id=user), write)
                print()
                print_result(result)
            elif command == "task":
                result = task(channel, task_pb2.SubmitTaskRequest(message=message, user_id=user), write)
                print()
                print_result(result)
            else:
                sys.exit(f"no command {command}")
        except grpc.RpcError as err:
            print_error(err)
            sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""OpenAI's files and batches: work that may wait for the trough, within its deadline."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from actuators.onnx_tier.batch_folder import OPEN, Batch, BatchFile, BatchFolder, new_id
from actuators.onnx_tier.batch_order import BatchLine, read_lines, read_metadata, window_s
from actuators.onnx_tier.batch_runner import BatchRunner
from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.replies import BODY_BYTES_MAX, JsonReply, read_body
from forecaster.domain.ports import Clock

PAGE = 20
PAGE_MOST = 100


class BatchApi:
    """Routes under ``/v1/files`` and ``/v1/batches``.

    Parameters
    ----------
    door : FrontDoor
        Knows the models.
    folder : BatchFolder
        What is on disk.
    runner : BatchRunner
        Answers.
    clock : Clock
        Of the installation.
    """

    def __init__(
        self, door: FrontDoor, folder: BatchFolder, runner: BatchRunner, clock: Clock
    ) -> None:
        self._door = door
        self._folder = folder
        self._runner = runner
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Return what to mount."""
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files", self._files),
            Route("/v1/files/{file}", self._file),
            Route("/v1/files/{file}", self._delete, methods=["DELETE"]),
            Route("/v1/files/{file}/content", self._content),
            Route("/v1/batches", self._create, methods=["POST"]),
            Route("/v1/batches", self._batches),
            Route("/v1/batches/{batch}", self._batch),
            Route("/v1/batches/{batch}/cancel", self._cancel, methods=["POST"]),
        ]

    def read(self, batch: Batch) -> list[BatchLine]:
        """The requests of a batch that was checked when it came."""
        lines = self._folder.lines(batch.input_file)
        return read_lines(lines, batch.endpoint, lambda _model: batch.service)[1]

    async def _upload(self, request: Request) -> JsonReply:
        if int(request.headers.get("content-length") or 0) > BODY_BYTES_MAX:
            raise RefusedError(413, f"the file exceeds {BODY_BYTES_MAX} bytes", "too_large")
        try:
            async with request.form(max_files=1, max_fields=8) as form:
                given, purpose = form.get("file"), form.get("purpose")
                if not isinstance(given, UploadFile) or purpose != "batch":
                    raise _bad("a multipart form with a file and purpose = batch is needed")
                content = await given.read(BODY_BYTES_MAX + 1)
                name = (given.filename or "batch.jsonl")[:255]
        except (MultiPartException, AssertionError, KeyError) as error:
            raise _bad(f"the form cannot be read: {error}") from error
        if len(content) > BODY_BYTES_MAX:
            raise RefusedError(413, f"the file exceeds {BODY_BYTES_MAX} bytes", "too_large")
        try:
            file = self._folder.add_file(name, "batch", content, self._clock.now_s())
        except OSError as error:
            raise _no_space(error) from error
        return JsonReply(_card(file))

    async def _files(self, request: Request) -> JsonReply:
        return JsonReply(_page(request, [_card(each) for each in self._folder.files()]))

    async def _file(self, request: Request) -> JsonReply:
        return JsonReply(_card(self._known_file(request)))

    async def _delete(self, request: Request) -> JsonReply:
        file = self._known_file(request)
        for batch in self._folder.batches():
            if batch.status in OPEN and batch.input_file == file.id:
                raise RefusedError(
                    409, f"{file.id} is read by {batch.id}: cancel it first", "in_use"
                )
        self._folder.remove_file(file.id)
        return JsonReply({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Response:
        path = self._folder.path_of(self._known_file(request).id)
        return Response(path.read_bytes(), media_type="application/jsonl")

    async def _create(self, request: Request) -> JsonReply:
        try:
            asked = orjson.loads(await read_body(request))
        except orjson.JSONDecodeError as error:
            raise _bad(f"the body is not JSON ({error})") from error
        if not isinstance(asked, dict):
            raise _bad("the body must be an object")
        file_id = str(asked.get("input_file_id"))
        file = self._folder.file(file_id)
        if file is None or file.purpose != "batch":
            raise _missing("file", file_id)
        seconds = window_s(asked.get("completion_window"))
        metadata = read_metadata(asked.get("metadata"))
        endpoint = asked.get("endpoint")
        service, lines = read_lines(self._folder.lines(file_id), endpoint, self._generating)
        now_s = self._clock.now_s()
        batch = Batch(
            id=new_id("batch_"),
            service=service,
            endpoint=str(endpoint),
            input_file=file_id,
            window=asked["completion_window"],
            expires_at=now_s + seconds,
            total=len(lines),
            output_file=new_id("file-"),
            error_file=new_id("file-"),
            times={"created": now_s, "in_progress": now_s},
            metadata=metadata,
        )
        try:
            self._folder.keep(batch)
        except OSError as error:
            raise _no_space(error) from error
        self._runner.add(batch, lines)
        return JsonReply(self._said(batch))

    async def _batches(self, request: Request) -> JsonReply:
        return JsonReply(_page(request, [self._said(each) for each in self._folder.batches()]))

    async def _batch(self, request: Request) -> JsonReply:
        return JsonReply(self._said(self._known_batch(request)))

    async def _cancel(self, request: Request) -> JsonReply:
        batch = self._known_batch(request)
        if batch.status not in OPEN:
            raise RefusedError(409, f"{batch.id} is {batch.status}", "batch_over")
        self._runner.cancel(batch.id)
        return JsonReply(self._said(self._known_batch(request)))

    def _generating(self, model: object) -> str:
        service = self._door.service(model)
        if not service.unit_type.generative:
            raise _bad(f"{service.service} does not generate text")
        return service.service

    def _known_file(self, request: Request) -> BatchFile:
        file_id = request.path_params["file"]
        if file := self._folder.file(file_id):
            return file
        raise _missing("file", file_id)

    def _known_batch(self, request: Request) -> Batch:
        batch_id = request.path_params["batch"]
        for each in self._folder.batches():
            if each.id == batch_id:
                return each
        raise _missing("batch", batch_id)

    def _said(self, batch: Batch) -> dict[str, Any]:
        """A batch as OpenAI shapes it, with the counts of this moment."""
        batch = self._runner.batch(batch.id) or batch
        states = ("in_progress", "completed", "failed", "expired", "cancelling", "cancelled")
        times = {f"{state}_at": _whole(batch.times.get(state)) for state in states}
        files = {"output_file_id": batch.output_file, "error_file_id": batch.error_file}
        shown = {key: each if self._folder.file(each) else None for key, each in files.items()}
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "model": batch.service,
            "errors": None,
            "input_file_id": batch.input_file,
            "completion_window": batch.window,
            "status": batch.status,
            "created_at": _whole(batch.times["created"]),
            "expires_at": _whole(batch.expires_at),
            "finalizing_at": None,
            **times,
            **shown,
            "request_counts": {
                "total": batch.total,
                "completed": batch.completed,
                "failed": batch.failed,
            },
            "metadata": batch.metadata,
        }


def _card(file: BatchFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": _whole(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


def _page(request: Request, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows behind ``after``, at most ``limit`` of them."""
    try:
        limit = int(request.query_params.get("limit", PAGE))
    except ValueError:
        limit = 0
    if not 1 <= limit <= PAGE_MOST:
        raise _bad(f"limit must be 1 to {PAGE_MOST}")
    ids = [row["id"] for row in rows]
    after = request.query_params.get("after")
    first = ids.index(after) + 1 if after in ids else 0
    shown = rows[first : first + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": first + limit < len(rows),
    }


def _whole(moment_s: float | None) -> int | None:
    return None if moment_s is None else int(moment_s)


def _bad(message: str) -> RefusedError:
    return RefusedError(400, message, "invalid_request")


def _missing(kind: str, name: str) -> RefusedError:
    return RefusedError(404, f"there is no {kind} {name[:60]!r}", f"{kind}_not_found")


def _no_space(error: OSError) -> RefusedError:
    return RefusedError(507, f"it cannot be kept: {error.strerror or error}", "no_space", 60)

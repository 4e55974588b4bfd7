"""Reflection, log settings and trace settings on the inference port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from google.protobuf.message import DecodeError, Message
from interlock.errors import InvalidArgument, Violation
from interlock.protocols import open_inference_pb2 as pb

from interlock_server.front.seam import Conversation
from interlock_server.process.logs import Kept, keep, kept
from interlock_server.reflection import METHODS, Reflection
from interlock_server.worker.agreement import Asked
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.tracing import Tracer, TraceSetting


class ReflectionAnswers:
    """Tells which services there are."""

    def __init__(self, reflection: Reflection) -> None:
        self._reflection = reflection

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(conversations=dict.fromkeys(METHODS, self._start))

    def _start(self, call: Conversation) -> None:
        def answer(data: bytes) -> None:
            try:
                call.message(self._reflection.answer(data))
            except DecodeError:
                call.fail(InvalidArgument("the request is no ServerReflectionRequest: its bytes do not parse"))

        call.listen(answer, call.done)


_LOGS: Final = SERVICE + "LogSettings"
_TRACES: Final = SERVICE + "TraceSetting"


class DiagnosticAnswers:
    """Changes what this worker logs and which requests it traces."""

    def __init__(self, catalog: Catalog, tracer: Tracer, *, among_others: bool = False) -> None:
        """Take what is served and traced, and whether other workers have the same settings."""
        self._catalog = catalog
        self._tracer = tracer
        self._among_others = among_others

    @property
    def methods(self) -> Methods:
        """What it answers."""
        alone = not self._among_others
        return Methods(
            unary={_LOGS: log_settings, _TRACES: self._begin_traces if alone else self._follow_traces},
            extensions=("logging", "trace"),
        )

    @property
    def agreed(self) -> Mapping[str, Callable[[bytes], Message]]:
        """What changes the settings, in the worker that was asked; it has the others follow."""
        return {_LOGS: log_settings, _TRACES: self._begin_traces}

    def state(self) -> Sequence[Asked]:
        """Return the calls that bring another worker to the same settings."""
        lines = pb.LogSettingsRequest()
        flags = kept()
        for name, flag in (("log_info", flags.info), ("log_warning", flags.warning), ("log_error", flags.error)):
            lines.settings[name].bool_param = flag
        lines.settings["log_verbose_level"].uint32_param = int(flags.debug)
        calls = [Asked(_LOGS, lines.SerializeToString())]
        for own in self._tracer.own():
            request = pb.TraceSettingRequest(model_name=own.model)
            for name, value in own.values.items():
                request.settings[name].value.append(value)
            calls.append(Asked(_TRACES, request.SerializeToString()))
        return calls

    def restore(self, asked: Asked) -> None:
        """Take over a setting of another worker, also of a model that this one has yet to hear of."""
        if asked.method == _LOGS:
            log_settings(asked.request)
        else:
            request = pb.TraceSettingRequest.FromString(asked.request)
            self._tracer.change(request.model_name, _changes(request))

    def undo(self, asked: Asked) -> Asked | None:
        """Return nothing: what one worker takes they all do."""
        return None

    def _begin_traces(self, data: bytes) -> pb.TraceSettingResponse:
        request = self._about_known(data)
        return _told(self._tracer.begin(request.model_name, _changes(request)))

    def _follow_traces(self, data: bytes) -> pb.TraceSettingResponse:
        request = self._about_known(data)
        return _told(self._tracer.change(request.model_name, _changes(request)))

    def _about_known(self, data: bytes) -> pb.TraceSettingRequest:
        request = pb.TraceSettingRequest.FromString(data)
        if request.model_name:
            self._catalog.of_model(request.model_name)
        return request


def _changes(request: pb.TraceSettingRequest) -> Mapping[str, Sequence[str]]:
    return {name: tuple(setting.value) for name, setting in request.settings.items()}


def _told(setting: TraceSetting) -> pb.TraceSettingResponse:
    response = pb.TraceSettingResponse()
    for name, value in (
        ("trace_level", setting.level.value),
        ("trace_rate", str(setting.rate)),
        ("trace_count", str(setting.count)),
        ("log_frequency", "0"),
        ("trace_file", ""),
        ("trace_mode", "triton"),
    ):
        response.settings[name].value.append(value)
    return response


_FLAGS: Final = {"log_info": "info", "log_warning": "warning", "log_error": "error"}


def log_settings(data: bytes) -> pb.LogSettingsResponse:
    """Change and tell which lines are logged; all of a request's settings are right, or none is taken."""
    request = pb.LogSettingsRequest.FromString(data)
    flags = kept()
    values = {"info": flags.info, "warning": flags.warning, "error": flags.error, "debug": flags.debug}
    for name, setting in request.settings.items():
        kind = setting.WhichOneof("parameter_choice")
        if name in _FLAGS:
            if kind != "bool_param":
                raise _refuse(name, f"expect boolean for '{name}'")
            values[_FLAGS[name]] = setting.bool_param
        elif name == "log_verbose_level":
            if kind != "uint32_param":
                raise _refuse(name, f"expect int32 for '{name}'")
            values["debug"] = setting.uint32_param > 0
        elif name == "log_file":
            raise _refuse(name, "log file location can not be updated through network protocol; the log is on stderr")
        elif name == "log_format":
            if kind != "string_param":
                raise _refuse(name, f"expect string for '{name}'")
            if setting.string_param != "default":
                raise _refuse(
                    name,
                    f"invalid argument for log_format, got: {setting.string_param[:100]}; the server's setting "
                    "log_format is read at its start",
                )
        else:
            raise _refuse(name, f"there is no log setting {name[:100]!r}")
    if request.settings:
        keep(Kept(**values))
    response = pb.LogSettingsResponse()
    for name, flag in _FLAGS.items():
        response.settings[name].bool_param = values[flag]
    response.settings["log_verbose_level"].uint32_param = 1 if values["debug"] else 0
    response.settings["log_file"].string_param = ""
    response.settings["log_format"].string_param = "default"
    return response


def _refuse(name: str, what: str) -> InvalidArgument:
    return InvalidArgument(what, violations=[Violation(f"settings[{name[:100]}]", what)])

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from interlock.errors import InvalidArgument
from interlock.protocols import open_inference_pb2 as pb
from interlock_server.process import logs
from interlock_server.worker.diagnostics import log_settings
from interlock_server.worker.trace_budget import SharedBudget
from interlock_server.worker.tracing import Trace, TraceLevel, Tracer, TraceSetting
from interlock_server.worker.work import Ran

from tests.unit.server.batching import Outcome, work
from tests.unit.server.builders import signature

Value = pb.LogSettingsRequest.SettingValue


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, kept = root.handlers[:], root.level, logs.kept()
    yield
    logs.keep(kept)
    root.handlers[:] = handlers
    root.setLevel(level)


def change(**settings: pb.LogSettingsRequest.SettingValue) -> Mapping[str, object]:
    response = log_settings(pb.LogSettingsRequest(settings=settings).SerializeToString())
    return {
        name: getattr(value, str(value.WhichOneof("parameter_choice"))) for name, value in response.settings.items()
    }


# --- log settings ---


def test_log_settings_say_what_the_process_logs() -> None:
    logs.configure("test", "warning", "json")
    assert change() == {
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_file": "",
        "log_format": "default",
    }


def test_log_settings_really_change_what_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("test", "info", "text")
    log = logging.getLogger("interlock.test")

    def logged() -> list[str]:
        for write in (log.debug, log.info, log.warning, log.error):
            write("line %s", write.__name__)
        return [line.rpartition(" ")[2] for line in capfd.readouterr().err.splitlines()]

    assert logged() == ["info", "warning", "error"]
    change(log_info=Value(bool_param=False))
    assert logged() == ["warning", "error"]
    change(log_verbose_level=Value(uint32_param=2), log_warning=Value(bool_param=False))
    assert logged() == ["debug", "error"]
    change(log_verbose_level=Value(uint32_param=0), log_info=Value(bool_param=True), log_error=Value(bool_param=False))
    assert logged() == ["info"]
    change(log_info=Value(bool_param=False))
    assert logged() == []


WRONG = [
    ("log_info", Value(uint32_param=1), "expect boolean for 'log_info'"),
    ("log_verbose_level", Value(bool_param=True), "expect int32 for 'log_verbose_level'"),
    ("log_file", Value(string_param="elsewhere"), "can not be updated"),
    ("log_format", Value(string_param="ISO8601"), "invalid argument for log_format"),
    ("log_format", Value(bool_param=True), "expect string for 'log_format'"),
    ("log_colour", Value(bool_param=True), "no log setting"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_of_a_request_with_a_wrong_log_setting_nothing_is_taken(
    name: str, value: pb.LogSettingsRequest.SettingValue, said: str
) -> None:
    before = change()
    with pytest.raises(InvalidArgument, match=said):
        change(**{"log_error": Value(bool_param=False), name: value})
    assert change() == before


# --- which requests are traced ---


def sampled(tracer: Tracer, model: str, count: int) -> int:
    return sum(tracer.sample(model) is not TraceLevel.OFF for _ in range(count))


def test_nothing_is_traced_until_somebody_asks() -> None:
    tracer = Tracer()
    assert (tracer.active, sampled(tracer, "m", 2000)) == (False, 0)
    assert tracer.change("", {}) == TraceSetting(TraceLevel.OFF, 1000, -1)


def test_every_nth_request_is_traced_and_no_more_than_so_many() -> None:
    tracer = Tracer()
    setting = tracer.begin("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["10"], "trace_count": ["7"]})
    assert setting == TraceSetting(TraceLevel.TIMESTAMPS, 10, 7)
    assert tracer.active
    assert sampled(tracer, "m", 50) == 5
    assert tracer.change("", {}).count == 2
    assert sampled(tracer, "m", 1000) == 2
    tracer.change("", {"trace_count": []})
    assert sampled(tracer, "m", 1000) == 100


def test_a_model_may_have_settings_of_its_own_and_give_them_back() -> None:
    tracer = Tracer()
    tracer.change("", {"trace_rate": ["2"]})
    assert tracer.change("m", {"trace_level": ["TIMESTAMPS", "TENSORS"]}) == TraceSetting(TraceLevel.TENSORS, 2, -1)
    assert (sampled(tracer, "m", 10), sampled(tracer, "other", 10)) == (5, 0)
    tracer.change("", {"trace_rate": ["5"]})
    assert tracer.change("m", {}).rate == 5, "what the model does not say itself follows the common setting"
    tracer.begin("m", {"trace_count": ["1"]})
    assert sampled(tracer, "m", 100) == 1
    tracer.change("other", {"trace_level": ["OFF"]})
    assert tracer.change("m", {}).count == 0, "what is used up stays so when another model's setting changes"
    assert tracer.change("m", {"trace_level": [], "trace_count": []}) == tracer.change("", {})
    assert not tracer.active


def test_a_count_is_that_of_all_workers_whichever_of_them_is_asked(tmp_path: Path) -> None:
    folder = str(tmp_path / "traces")
    first, second = Tracer(SharedBudget(folder)), Tracer(SharedBudget(folder))
    changes = {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "trace_count": ["7"]}
    assert first.begin("m", changes).count == second.change("m", changes).count == 7
    assert sampled(first, "m", 3) + sampled(second, "m", 3) == 6
    assert first.change("m", {}).count == second.change("m", {}).count == 1
    assert sampled(second, "m", 3) == 1
    assert sampled(first, "m", 3) == 0
    assert not first.active and not second.active, "requests go their usual way again when all is traced"
    late = Tracer(SharedBudget(folder))
    for own in first.own():
        late.change(own.model, {name: (value,) for name, value in own.values.items()})
    assert sampled(late, "m", 3) == 0, "whoever joins later does not count from the start"
    second.begin("m", {"trace_count": ["2"]})
    first.change("m", {"trace_count": ["2"]})
    assert sampled(first, "m", 9) == 2
    assert sampled(first, "other", 9) == 0


def test_models_without_a_count_of_their_own_share_the_common_one() -> None:
    tracer = Tracer()
    tracer.begin("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "trace_count": ["5"]})
    tracer.change("m", {"trace_level": ["TENSORS"]})
    assert sampled(tracer, "m", 2) + sampled(tracer, "other", 9) == 5


BAD = [
    ({"trace_level": ["LOUD"]}, "no trace level"),
    ({"trace_level": ["OFF", "TIMESTAMPS"]}, "Expect only one trace level"),
    ({"trace_rate": ["0"]}, "out of range"),
    ({"trace_rate": ["x"]}, "Unable to parse 'trace_rate', got: x"),
    ({"trace_rate": ["1", "2"]}, "expect only 1 value for 'trace_rate'"),
    ({"trace_count": ["-2"]}, "out of range"),
    ({"trace_file": ["elsewhere"]}, "can not be updated"),
    ({"trace_colour": ["red"]}, "no trace setting"),
]


@pytest.mark.parametrize(("changes", "said"), BAD)
def test_a_wrong_trace_setting_is_refused_and_changes_nothing(changes: dict[str, list[str]], said: str) -> None:
    tracer = Tracer()
    with pytest.raises(InvalidArgument, match=said):
        tracer.change("", {"trace_level": ["TENSORS"]} | changes)
    assert tracer.change("", {}) == TraceSetting()


def test_a_trace_says_where_the_time_went(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="interlock.trace")
    spec = signature()
    trace = Trace(TraceLevel.TENSORS, "r-1", "m", "3", "stable", spec.inputs, [(4, 2)])
    trace.answered(0.010, 0.001, 0.002, Ran(1.0, 0.0005, 0.005, 8, work(Outcome()), 0))
    trace.failed("DEADLINE_EXCEEDED", 0.5)
    answered, failed = (record.__dict__ for record in caplog.records)
    expected = {"request_id": "r-1", "model": "m", "version": "3", "alias": "stable", "code": "OK", "total_us": 10_000}
    expected |= {"queue_us": 1000, "compute_infer_us": 5000, "compute_input_us": 500, "compute_output_us": 2000}
    assert {name: answered[name] for name in expected} == expected
    assert answered["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [4, 2]}]
    assert (failed["code"], failed["total_us"]) == ("DEADLINE_EXCEEDED", 500_000)

"""ONNX Runtime's own profile: real runs of small graphs, their raw events summed by hand, and files that are broken."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mosear.runtime.profiling.operators_fold import NoProfile
from mosear.runtime.profiling.operators_onnxruntime import BETWEEN, Event, OnnxRuntimeProfile, Run, read_runs
from mosear.runtime.sessions.onnxruntime import OnnxRuntime, OnnxSession

WIDTH = 16
FLOAT = TensorProto.FLOAT


def two_layers() -> onnx.ModelProto:
    """A product, a sine and a product a layer, and a norm that is in neither; no two of them can be fused."""
    weight = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32) * 0.5, "weight")
    nodes, value = [], "x"
    for layer in range(2):
        for place, kind in enumerate(("MatMul", "Sin", "MatMul")):
            inputs = [value, "weight"] if kind == "MatMul" else [value]
            value = f"value_{layer}_{place}"
            nodes.append(helper.make_node(kind, inputs, [value], name=f"layers.{layer}/{kind}_{place}"))
    nodes.append(helper.make_node("Softmax", [value], ["y"], name="head/Softmax_0"))
    return model_of(nodes, [weight])


def model_of(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    given = [helper.make_tensor_value_info("x", FLOAT, ["n", WIDTH])]
    if any("chosen" in node.input for node in nodes):
        given.append(helper.make_tensor_value_info("chosen", TensorProto.BOOL, []))
    made = [helper.make_tensor_value_info("y", FLOAT, ["n", WIDTH])]
    graph = helper.make_graph(nodes, "g", given, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def branches() -> onnx.ModelProto:
    """A choice between a loop of three sines and one product, each with all of its work inside."""
    weight = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "weight")
    rounds = numpy_helper.from_array(np.array(3), "rounds")
    yes = numpy_helper.from_array(np.array(True), "yes")
    body = helper.make_graph(
        [
            helper.make_node("Sin", ["before"], ["after"], name="layers.0/Sin_0"),
            helper.make_node("Identity", ["going"], ["on"], name="layers.0/Identity_0"),
        ],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", FLOAT, ["n", WIDTH]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", FLOAT, ["n", WIDTH]),
        ],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "x"], ["looped"], name="layers.0/Loop_0", body=body)
    product = helper.make_node("MatMul", ["x", "weight"], ["multiplied"], name="layers.0/MatMul_0")
    then, other = (
        helper.make_graph([node], name, [], [helper.make_tensor_value_info(node.output[0], FLOAT, ["n", WIDTH])])
        for name, node in (("then", loop), ("other", product))
    )
    choice = helper.make_node("If", ["chosen"], ["y"], name="layers.0/If_0", then_branch=then, else_branch=other)
    return model_of([choice], [weight, rounds, yes])


class Profiled:
    """A graph, run with a profile."""

    def __init__(self, folder: Path, model: onnx.ModelProto) -> None:
        self.path = folder / "graph.onnx"
        onnx.save(model, self.path)
        (folder / "profiles").mkdir()
        self.profile = OnnxRuntimeProfile(folder / "profiles", {self.path: ("vision", "vision")})
        self._backend = OnnxRuntime(1, observer=self.profile)
        self._session = self._backend.session(self.path)
        assert isinstance(self._session, OnnxSession)

    def run(self, times: int, rows: int = 64, **inputs: Any) -> None:
        x = np.ones((rows, WIDTH), np.float32)
        for _ in range(times):
            self._session.run({"x": x, **inputs})

    def raw(self) -> list[dict[str, Any]]:
        [file] = self.profile.end()
        events: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return events


@pytest.fixture
def profiled(tmp_path: Path) -> Callable[[onnx.ModelProto], Profiled]:
    return lambda model: Profiled(tmp_path, model)


def test_a_fold_is_the_sum_of_the_raw_events(profiled: Callable[[onnx.ModelProto], Profiled]) -> None:
    graph = profiled(two_layers())
    graph.run(3, rows=999)
    graph.profile.start()
    graph.run(5)
    raw = graph.raw()
    found = {(each.layer, each.operator): each for each in graph.profile.operators(5)}
    began = sorted(event["ts"] for event in raw if event["name"] == "model_run")[3]
    counted = [event for event in raw if event["ts"] >= began]
    kernels = [event for event in counted if event["name"].endswith("_kernel_time")]
    assert {key for key in found if key[1] != BETWEEN} == {
        (0, "MatMul"), (0, "Sin"), (1, "MatMul"), (1, "Sin"), (None, "Softmax")
    }  # fmt: skip
    for (layer, operator), each in found.items():
        if operator != BETWEEN:
            place = "head" if layer is None else f"layers.{layer}"
            mine = [event["dur"] for event in kernels if event["name"].startswith(f"{place}/{operator}_")]
            assert each.calls == len(mine) / 5 == (2 if operator == "MatMul" else 1)
            assert each.ms == pytest.approx(sum(mine) / 5 / 1000)
    took = sum(event["dur"] for event in counted if event["name"] == "model_run")
    assert sum(each.ms for each in found.values()) == pytest.approx(took / 5 / 1000)
    assert found[None, BETWEEN].calls == 1
    assert found[None, BETWEEN].ms == pytest.approx((took - sum(event["dur"] for event in kernels)) / 5 / 1000)


@pytest.mark.parametrize(
    ("chosen", "inside"), [(True, {"Loop": 1, "Sin": 3, "Identity": 3}), (False, {"MatMul": 1})], ids=["loop", "plain"]
)
def test_time_inside_of_a_node_is_counted_once(
    profiled: Callable[[onnx.ModelProto], Profiled], chosen: bool, inside: dict[str, int]
) -> None:
    graph = profiled(branches())
    graph.profile.start()
    graph.run(4, rows=2000, chosen=np.array(chosen))
    raw = graph.raw()
    found = {each.operator: each for each in graph.profile.operators(4)}
    # The library may do without the node that passes a loop's condition on.
    assert set(inside) - {"Identity"} <= found.keys() - {"If", BETWEEN} <= set(inside)
    assert all(found[name].calls == count for name, count in inside.items() if name in found)
    assert {each.layer for each in found.values() if each.operator != BETWEEN} == {0}
    took = Counter[str]()
    for event in raw:
        took[event["args"].get("op_name", event["name"])] += event["dur"]
    total = sum(each.ms for each in found.values())
    assert total == pytest.approx(took["model_run"] / 4 / 1000)
    directly, innermost = ("Loop", "Sin") if chosen else ("MatMul", "MatMul")
    # Microseconds are rounded down, and what is inside may seem to end one later than what is around it.
    assert found["If"].ms == pytest.approx((took["If"] - took[directly]) / 4 / 1000, abs=0.002)
    assert found[innermost].ms == pytest.approx(took[innermost] / 4 / 1000, abs=0.002)


def test_what_is_inside_of_what_by_hand() -> None:
    """Starts and durations are rounded down to microseconds, so neighbours may share one."""
    events = [
        Event("inner", "Sin", 1, 12, 3),
        Event("innermost", "Cos", 1, 16, 1),
        Event("body", "Loop", 1, 16, 3),
        Event("outer", "If", 1, 10, 10),
        Event("next", "Add", 1, 20, 5),
        Event("empty", "Shape", 1, 25, 0),
        Event("last", "Mul", 1, 25, 2),
        Event("meanwhile", "MatMul", 2, 11, 9),
    ]
    ms = {node or kind: round(1000 * ms) for node, kind, ms in Run(40, events).by_node()}
    assert ms == {
        "inner": 3, "innermost": 1, "body": 2, "outer": 4, "next": 5, "empty": 0, "last": 2, "meanwhile": 9,
        BETWEEN: 40 - (10 + 5 + 0 + 2 + 9),
    }  # fmt: skip
    assert [each[2] for each in Run(5, [Event("a", "Add", 1, 0, 4), Event("b", "Add", 1, 4, 4)]).by_node()][-1] == 0


def test_without_an_observer_nothing_is_profiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(two_layers(), tmp_path / "graph.onnx")
    OnnxRuntime(1).session(tmp_path / "graph.onnx").run({"x": np.ones((1, WIDTH), np.float32)})
    assert [each.name for each in tmp_path.iterdir()] == ["graph.onnx"]


def test_sessions_opened_in_one_millisecond_write_apart(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.onnx" for name in "abcdef"]
    for path in paths:
        onnx.save(two_layers(), path)
    (tmp_path / "profiles").mkdir()
    profile = OnnxRuntimeProfile(tmp_path / "profiles", {path: (path.stem, path.stem) for path in paths})
    backend = OnnxRuntime(1, observer=profile)
    sessions = [backend.session(path) for path in paths]
    for count, session in enumerate(sessions):
        for _ in range(count):
            session.run({"x": np.ones((1, WIDTH), np.float32)})
    files = profile.end()
    assert len(set(files)) == len(paths)
    calls = {each.graph: each.calls for each in profile.operators(1) if each.operator == BETWEEN}
    assert calls == {"b": 1, "c": 2, "d": 3, "e": 4, "f": 5}
    assert profile.end() == files


def cut_in_a_line(text: str) -> str:
    return text[: len(text) * 2 // 3]


def cut_behind_a_line(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-2])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut_in_a_line, "damaged"),
        (cut_behind_a_line, "breaks off"),
        (lambda text: "", "breaks off"),
        (lambda text: text.replace('"op_name"', '"op"'), "damaged"),
        (lambda text: text.replace('"name"', '"called"'), "damaged"),
        (lambda text: text.replace('"dur" :', '"dur" :"long'), "damaged"),
        (lambda text: "[\n[1, 2],\n]\n", "damaged"),
        (lambda text: "[\n7\n]\n", "damaged"),
        (lambda text: "[\n]\n", "0 of 2 runs of graph.onnx; ONNX Runtime keeps a million events"),
        (lambda text: "".join(line for line in text.splitlines(True) if "model_run" not in line), "0 of 2 runs"),
    ],
)
def test_a_broken_profile_says_what_is_wrong(
    profiled: Callable[[onnx.ModelProto], Profiled], spoil: Callable[[str], str], told: str
) -> None:
    graph = profiled(two_layers())
    graph.run(2)
    [file] = graph.profile.end()
    assert sum(each.calls for each in graph.profile.operators(2)) == 8  # seven nodes, and what is between them
    file.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(NoProfile, match=told):
        graph.profile.operators(2)


def test_a_profile_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(NoProfile, match="can't be read"):
        list(read_runs(tmp_path / "missing.json"))
    with pytest.raises(NoProfile, match="can't be read"):
        list(read_runs(tmp_path))
    (tmp_path / "noise.json").write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(NoProfile, match="damaged"):
        list(read_runs(tmp_path / "noise.json"))


def test_a_warm_up_alone_leaves_nothing(profiled: Callable[[onnx.ModelProto], Profiled]) -> None:
    graph = profiled(two_layers())
    graph.run(2)
    graph.profile.start()
    graph.profile.end()
    assert graph.profile.operators(1) == []

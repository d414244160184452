"""Time by operator and layer."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.runtime.profiling.forms.operators import Fold, by_graph, by_operator, heaviest, layer_name
from mosear.runtime.profiling.forms.words import inline, short
from mosear.runtime.profiling.record import Operator, Profile
from mosear.runtime.report.drawing import WIDTH, chart, text
from mosear.runtime.report.markup import Markup, figures, joined, table, tag

_FIRST, _MOST = 15, 400
_LEFT = 52.0


def operators(profile: Profile) -> Markup:
    """Shares of the graphs, a strip by layer, and the operators, the heaviest first."""
    heading = tag("h2", "Operators")
    method = profile.operators_method or "Not measured."
    if not profile.operators:
        return tag("section", heading, tag("p", method))
    folds = heaviest(profile.operators)
    head = ("Graph", "Layer", "Operator", "Calls a run", "ms a run", "Share")
    kinds = table(
        ("Graph", "Operator", "Calls a run", "ms a run", "Share"), _rows(by_operator(profile.operators)[:_MOST])
    )
    rest = [figures(f"{len(folds) - _FIRST} that take less", table(head, _rows(folds[_FIRST:_MOST]), "wide"))]
    if len(folds) > _MOST:
        left = sum(fold.ms for fold in folds[_MOST:])
        rest.append(
            tag("p", f"{len(folds) - _MOST} more take {short(left)} ms together; JSON has them.", class_="soft")
        )
    graphs = ", ".join(
        f"{fold.name[0]} {short(fold.ms)} ms ({_percent(fold.share)})" for fold in by_graph(profile.operators)
    )
    return tag(
        "section",
        heading,
        tag("p", f"{method.rstrip('.')}. A run's operators: {graphs}."),
        tag("div", strips(profile.operators), class_="charts"),
        table(head, _rows(folds[:_FIRST]), "wide"),
        joined(rest) if len(folds) > _FIRST else Markup(),
        figures("by operator over all layers", kinds),
    )


def strips(operators: Sequence[Operator]) -> Markup:
    """A row a graph, a field a layer, the fuller the more time it takes; the last field is what is in no layer."""
    graphs = [fold.name[0] for fold in by_graph(operators)]
    sums: dict[tuple[str, int | None], float] = {}
    for each in operators:
        sums[each.graph, each.layer] = sums.get((each.graph, each.layer), 0.0) + each.ms
    highest = max(sums.values()) or 1.0
    parts: list[str] = []
    top = 0.0
    for graph in graphs:
        layers: list[int | None] = [*sorted(layer for name, layer in sums if name == graph and layer is not None)]
        layers += [None] if (graph, None) in sums else []
        side = min((WIDTH - _LEFT - 4) / len(layers), 26.0)
        parts.append(text(_LEFT - 5, top + 16, graph[:9], "end"))
        for place, layer in enumerate(layers):
            share = sums[graph, layer] / highest
            spot = {"x": round(_LEFT + side * place, 2), "y": top, "width": round(side * 0.94, 2), "height": 22}
            told = tag("title", f"{graph}, layer {layer_name(layer)}: {short(sums[graph, layer])} ms a run")
            fields = (tag("rect", **spot, class_="none"), tag("rect", **spot, class_="a", opacity=round(share, 3)))
            parts.append(tag("g", told, *fields))
        for place in sorted({0, len(layers) - 1}):
            parts.append(text(_LEFT + side * (place + 0.5), top + 34, layer_name(layers[place]), "soft mid"))
        top += 44
    caption = f"Time by layer; full colour: {short(highest)} ms a run. Other: outside of the layers, or not known."
    return chart(caption, top, "time by layer", parts)


def _rows(folds: Sequence[Fold]) -> list[tuple[str, ...]]:
    return [(*fold.name, inline(fold.calls), short(fold.ms), _percent(fold.share)) for fold in folds]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

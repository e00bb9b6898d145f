"""Writes every golden plan anew."""

from tests.plan.golden import HERE, names, plan_of, render

for name in names():
    (HERE / f"{name}.json").write_text(render(plan_of(name)))
    print(HERE / f"{name}.json")

"""See before you act: what is wrong with a bpm.yml, what is planned, why a path is as it is, what this host can do."""

from bpm.insight.check import Findings, check_job, check_text
from bpm.insight.doctor import Diagnosis, examine_host
from bpm.insight.explain import Access, Explanation, Remedy, explain_path
from bpm.insight.schema import plan_schema
from bpm.insight.text import Change, Row, Section, compare_plans, describe_plan

__all__ = [
    "Access",
    "Change",
    "Diagnosis",
    "Explanation",
    "Findings",
    "Remedy",
    "Row",
    "Section",
    "check_job",
    "check_text",
    "compare_plans",
    "describe_plan",
    "examine_host",
    "explain_path",
    "plan_schema",
]

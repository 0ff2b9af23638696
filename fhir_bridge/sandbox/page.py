"""The sandbox's page for people: which tasks arrived, patient by patient."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined

_JINJA = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_PAGE = _JINJA.from_string(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5">
<title>Task API sandbox</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; margin: 2rem auto; padding: 0 1rem }
body { max-width: 70rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #d0d7de; vertical-align: top }
h2 { font-size: 1rem; margin: 2rem 0 .3rem } h2 span { color: #57606a; font-weight: normal }
.twice { color: #b3261e }
pre { white-space: pre-wrap; margin: .3rem 0 0 } summary { cursor: pointer }
</style>
</head>
<body>
<h1>Task API sandbox</h1>
<p>{{ counts.tasks }} tasks for {{ counts.tasks_by_patient | length }} patients;
{{ counts.patients }} patients created; {{ requests }} requests. Nobody is phoned.</p>
{% if shown < counts.tasks %}
<p>The newest {{ shown }} tasks; all of them: <a href="/_sandbox/tasks">JSON</a>.</p>
{% endif %}
{% for patient_id, tasks in patients %}
{% set total = counts.tasks_by_patient[patient_id] %}
<h2>Patient {{ patient_id }} <span{% if total > 1 %} class="twice"{% endif %}>
{{ total }} {{ "task" if total == 1 else "tasks" }}</span></h2>
<table>
<tr><th>Received</th><th>Task</th><th>Number</th><th>Status</th><th>Outcome</th></tr>
{% for task in tasks %}
<tr><td>{{ task.received_at }}</td>
<td><details><summary>{{ task.request.task }}</summary>
<pre>{{ task.request | tojson(indent=2) }}</pre></details></td>
<td>{{ task.request.phone_number }}</td><td>{{ task.status }}</td><td>{{ task.task_outcome or "" }}</td></tr>
{% endfor %}
</table>
{% else %}
<p>No task has arrived yet.</p>
{% endfor %}
</body>
</html>
"""
)


NEWEST = 200
"""How many tasks the page shows; a test of thousands would make it too large to be looked at."""


def overview(counts: dict[str, Any], tasks: list[dict[str, Any]], requests: int) -> str:
    """The page as HTML; `counts` and `tasks`, the newest of them, as the store gives them."""
    in_order = sorted(tasks, key=lambda task: str(task["request"]["patient_id"]))
    patients = groupby(in_order, key=lambda task: task["request"]["patient_id"])
    grouped = [(patient_id, list(of_patient)) for patient_id, of_patient in patients]
    return _PAGE.render(counts=counts, patients=grouped, requests=requests, shown=len(tasks))

"""
C{deploy/grafana}: what the dashboard asks Prometheus for. The tests do without Grafana itself.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.processes.child import SOURCE

DASHBOARD = SOURCE / "deploy" / "grafana" / "etcd-twisted.json"


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def expressions() -> Iterator[str]:
    """Returns the expressions, with values for the variables that Grafana fills in."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"].replace("$job", "etcd").replace("$__rate_interval", "5m")


class DashboardTests(SynchronousTestCase):
    def test_prometheus_understands_each_expression(self) -> None:
        if shutil.which("promtool") is None:
            self.skipTest("promtool is not installed (apt-get install prometheus)")
        rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions())]
        self.assertGreater(len(rules), 20)
        self.assertEqual([rule["expr"] for rule in rules if "$" in rule["expr"]], [])
        path = Path(self.mktemp())
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"{len(rules)} rules found", done.stdout)

    def test_panels_do_not_overlap(self) -> None:
        """Each has a number of its own."""
        shown = panels()
        self.assertEqual(len({panel["id"] for panel in shown}), len(shown))
        squares = [
            (x, y)
            for panel in shown
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        self.assertEqual(len(set(squares)), len(squares))
        self.assertTrue(all(0 <= x < 24 for x, _ in squares))

    def test_variables_are_defined(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        known = {variable["name"] for variable in dashboard["templating"]["list"]}
        used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard["panels"])))
        self.assertEqual(used, known)

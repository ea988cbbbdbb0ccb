"""
C{deploy/prometheus}: the alerts, as checked by Prometheus's own tool.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.alerts import ILL, MINUTES, WELL, Illness
from tests.processes.child import SOURCE

RULES = SOURCE / "deploy" / "prometheus" / "etcd-twisted.rules.yml"


def alerts() -> dict[str, tuple[str, str]]:
    """Returns each alert's severity and summary."""
    found = {}
    for rule in RULES.read_text().split("- alert: ")[1:]:
        name = rule.splitlines()[0]
        (severity,) = re.findall(r"labels: \{severity: (\w+)\}", rule)
        (summary,) = re.findall(r'summary: "(.*)"', rule)
        found[name] = (severity, summary)
    return found


class RulesTests(SynchronousTestCase):
    """Each alert fires when it should, and not otherwise."""

    if shutil.which("promtool") is None:
        skip = "promtool is not installed (apt-get install prometheus)"

    def promtool(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = ("promtool", *map(str, arguments))
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_prometheus_loads_the_rules(self) -> None:
        checked = self.promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.assertIn(f"{len(alerts())} rules found", checked.stdout)

    def test_every_alert_has_its_illness(self) -> None:
        self.assertGreater(len(alerts()), 10)
        self.assertEqual({illness.alert for illness in ILL}, set(alerts()))

    def check(self, tests: Iterable[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(tests)}))
        return self.promtool("test", "rules", path)

    def assertFires(self, tests: Iterable[dict[str, Any]]) -> None:
        done = self.check(tests)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_illness_fires_its_alert(self) -> None:
        self.assertFires(_case(illness.series, [illness.alert], illness) for illness in ILL)

    def test_healthy_cluster_fires_no_alert(self) -> None:
        """The healthy cluster has a figure for each of them."""
        self.assertFires([_case(WELL, alerts())])
        names = {series.partition("{")[0] for series in WELL}
        for illness in ILL:
            self.assertLessEqual({series.partition("{")[0] for series in illness.series}, names)

    def test_unexpected_alerts_fail_the_check(self) -> None:
        """Otherwise the other tests would show nothing."""
        done = self.check(_case(illness.series, [illness.alert]) for illness in ILL)
        self.assertEqual(done.returncode, 1)
        unexpected = re.findall(r"alertname: ?(\w+)", done.stdout + done.stderr)
        self.assertEqual(set(unexpected), set(alerts()))


def _case(series: dict[str, str], names: Iterable[str], illness: Illness | None = None) -> dict[str, Any]:
    """Returns a test for promtool: at the end the alerts of the illness fire, and no other of these names."""
    fires = () if illness is None else illness.fires
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{MINUTES}m", "alertname": name, "exp_alerts": [_alert(name, labels) for labels in fires]}
            for name in names
        ],
    }


def _alert(name: str, labels: dict[str, str]) -> dict[str, Any]:
    severity, summary = alerts()[name]
    for label, value in labels.items():
        summary = summary.replace(f"{{{{ $labels.{label} }}}}", value)
    return {
        "exp_labels": {"severity": severity, **labels},
        "exp_annotations": {"summary": summary.replace("{{ $value }}", "19992")},
    }

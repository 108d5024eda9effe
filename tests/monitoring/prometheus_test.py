#!/usr/bin/env python3
"""What Prometheus makes of Nestor's metrics: a real Prometheus scrapes a server and an agent.

  tests/monitoring/prometheus_test.py BIN_DIRECTORY

Exits with 77 (skipped) where Prometheus is not installed: scripts/install-packages.sh --ci.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus"
PATIENCE = 60  # seconds until anything must have happened
BIN = pathlib.Path()


def get(url):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Program:
    """A child process, whose log goes to a file; killed at the end."""

    def __init__(self, directory, name, *arguments):
        self.log = directory / f"{pathlib.Path(name).name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([name, *arguments], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)

    def wait_for(self, pattern):
        """The first group of a line of the log that matches."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no line like {pattern!r} in\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class PrometheusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="nestor-test-")
        cls.directory = pathlib.Path(cls.temporary.name)
        cls.programs = []
        try:
            cls.start_cluster()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def start(cls, name, *arguments):
        program = Program(cls.directory, name, *arguments)
        cls.programs.append(program)
        return program

    @classmethod
    def start_cluster(cls):
        agents = f"unix:{cls.directory}/agents.sock"
        cls.api = f"unix:{cls.directory}/api.sock"
        cls.server = cls.start(str(BIN / "nestor-server"), "--data-dir", f"{cls.directory}/store",
                               "--listen", cls.api, "--agent-listen", agents, "--insecure",
                               "--metrics-listen", "127.0.0.1:0", "--log-format", "json")
        cls.agent = cls.start(str(BIN / "nestor-agent"), "--host", "host-a", "--server", agents,
                              "--run-dir", f"{cls.directory}/run", "--kernel", "sim", "--insecure",
                              "--metrics-listen", "127.0.0.1:0", "--log-format", "json")
        cls.server_url = cls.server.wait_for(r"metrics at (http://[0-9.:]+)/metrics")
        cls.agent_url = cls.agent.wait_for(r"metrics at (http://[0-9.:]+)/metrics")
        cls.agent.wait_for(r"(session \S+ began)")
        subprocess.run([BIN / "nestorctl", "--server", cls.api, "--insecure", "get", "hosts"],
                       check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
        shutil.copytree(RULES, cls.directory / "prometheus")
        config = (RULES / "prometheus.yaml").read_text()
        config = config.replace("127.0.0.1:9464", cls.server_url.removeprefix("http://"))
        config = config.replace("127.0.0.1:9465", cls.agent_url.removeprefix("http://"))
        config = config.replace("scrape_interval: 15s", "scrape_interval: 1s")
        (cls.directory / "prometheus/prometheus.yaml").write_text(config)
        prometheus = cls.start("prometheus", f"--config.file={cls.directory}/prometheus/prometheus.yaml",
                               f"--storage.tsdb.path={cls.directory}/tsdb",
                               "--web.listen-address=127.0.0.1:0")
        cls.url = "http://" + prometheus.wait_for(r"Listening on.*address=([0-9.:]+)")

    @classmethod
    def tearDownClass(cls):
        for program in cls.programs:
            program.process.kill()
            program.process.wait()
        cls.temporary.cleanup()

    def query(self, expression):
        """The samples of an instant query: [(labels, value)]."""
        status, body = get(f"{self.url}/api/v1/query?" +
                           urllib.parse.urlencode({"query": expression}))
        self.assertEqual(status, 200, body)
        return [(sample["metric"], float(sample["value"][1]))
                for sample in json.loads(body)["data"]["result"]]

    def wait_for_query(self, expression):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.query(expression)
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"nothing for {expression}")

    def test_both_programs_are_scraped(self):
        self.wait_for_query('up{job="nestor-server"} == 1')
        self.wait_for_query('up{job="nestor-agent"} == 1')
        programs = {labels["program"] for labels, _ in self.wait_for_query("nestor_build_info")}
        self.assertIn("nestor-server", programs)

    def test_counts_follow_what_happens(self):
        self.wait_for_query('nestor_rpc_requests_total{method="nestor.v1.HostService/ListHosts",'
                            'code="OK"} > 0')
        self.wait_for_query('nestor_rpc_in_flight{method="nestor.v1.AgentService/Sync"} == 1')
        self.wait_for_query('nestor_hosts{state="connected"} == 1')
        self.wait_for_query("nestor_agent_sessions == 1")
        self.wait_for_query("nestor_agent_session_connected == 1")
        self.wait_for_query('nestor_agent_devices{reason=""} == 2')
        self.wait_for_query('nestor_store_write_seconds_count{synced="true"} > 0')

    def test_promtool_finds_no_fault(self):
        for url in (self.server_url, self.agent_url):
            _, text = get(f"{url}/metrics")
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                     capture_output=True, timeout=PATIENCE)
            self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""), text)

    def test_rules_are_sound(self):
        for command in (["check", "config", str(RULES / "prometheus.yaml")],
                        ["test", "rules", str(RULES / "rules-test.yaml")]):
            checked = subprocess.run(["promtool", *command], text=True, capture_output=True,
                                     timeout=PATIENCE)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_every_metric_of_the_rules_is_shown(self):
        shown = "".join(get(f"{url}/metrics")[1] for url in (self.server_url, self.agent_url))
        families = set(re.findall(r"^# TYPE (\S+)", shown, re.M))
        for rules in ("recording-rules.yaml", "alerts.yaml"):
            for name in re.findall(r"\bnestor_\w+", (RULES / rules).read_text()):
                family = re.sub(r"_bucket$", "", name)
                # A counter of failures begins with the first.
                if family != "nestor_agent_kernel_errors_total":
                    self.assertIn(family, families, rules)

    def test_documentation_names_every_metric(self):
        page = (ROOT / "docs/metrics.md").read_text()
        for source in ("server/metrics.cc", "agent/metrics.cc", "api/support/monitoring.cc"):
            names = re.findall(r'"((?:nestor|process)_[a-z_]+)"', (ROOT / source).read_text())
            self.assertTrue(names)
            for name in names:
                self.assertIn(f"`{name}`", page, source)

    def test_probes_say_whether_there_is_service(self):
        for url in (self.server_url, self.agent_url):
            self.assertEqual(get(f"{url}/healthz")[0], 200)
            self.assertEqual(get(f"{url}/readyz")[0], 200)

    def test_logs_are_objects_with_the_agreed_fields(self):
        lines = [json.loads(line) for line in self.server.log.read_text().splitlines()]
        connected = [line for line in lines if line["message"].startswith("connected")]
        self.assertEqual(connected[0]["resource"], "hosts/host-a")
        self.assertEqual(connected[0]["epoch"], 1)


if __name__ == "__main__":
    BIN = pathlib.Path(sys.argv.pop(1)).resolve()
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        print("skipped: Prometheus is not installed (scripts/install-packages.sh --ci)")
        sys.exit(77)
    unittest.main()

"""The admin address: what /metrics counts is what was done; Prometheus itself scrapes a relay under load and evaluates each
expression of the shipped rules and of the dashboard; hostile clients there do not hurt mail."""
import base64
import json
import re
import smtplib
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import smtp
import tls

RULES = harness.ROOT / "packaging/system/prometheus/waypost.rules.yml"
DASHBOARD = harness.ROOT / "packaging/system/grafana/waypost.json"
PAGE = harness.ROOT / "man/waypost-metrics.7"
CONTENT = b"Subject: x\r\n\r\nSome text.\r\n"


def get(port, path, method="GET"):
    """(status, body, content type)."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers["Content-Type"]


def samples(text):
    """{name: {labels as text: value}}."""
    found = {}
    for name, labels, value in re.findall(r'^(\w+)(?:\{(.*)\})? (\S+)$', text, re.M):
        found.setdefault(name, {})[labels] = float(value)
    return found


def labels_of_page():
    """Metric -> the labels that the page gives it."""
    return {name: set(re.findall(r"\w+", labels or "")) for name, labels in
            re.findall(r"^\.It Ic (waypost_\w+)\n\(\w+\)(?:\n\.Ql ([\w ,]+) \.)?", PAGE.read_text(), re.M)}


class Metrics(harness.TestCase):
    def relay(self, **sections):
        self.admin = harness.free_port()
        self.sinks = []
        routes = ""
        for name, script in (("good", None), ("later", self.later), ("never", self.never)):
            sink = smtp.Sink(harness.free_port(), script=script)
            self.addCleanup(sink.stop)
            self.sinks.append(sink)
            routes += f'[[route]]\nmatch = "{name}.example"\nnext_hop = "smtp:[127.0.0.1]:{sink.port}"\n'
        routes += f'[[route]]\nmatch = "dead.example"\nnext_hop = "smtp:[127.0.0.1]:{harness.free_port()}"\n'
        pem = self.folder / "relay.pem"
        tls.make_pair(pem, "relay.test.example")
        return self.waypost(
            admin=f'listen = "127.0.0.1:{self.admin}"', relay='networks = ["127.0.0.1/32"]',
            auth=f'users = "{self.folder}/users"\nrequire_tls = false', tls=f'certificate = "{pem}"\nkey = "{pem}"',
            delivery='tls = "none"', extra=routes, **sections)

    @staticmethod
    def later(verb, _argument, _state):
        return b"452 4.2.2 full\r\n" if verb == "RCPT" else None

    @staticmethod
    def never(verb, _argument, _state):
        return b"550 5.1.1 nobody\r\n" if verb == "RCPT" else None

    def scrape(self):
        status, text, kind = get(self.admin, "/metrics")
        self.assertEqual((status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        return text

    def attempt(self, relay, password):
        with smtplib.SMTP("127.0.0.1", relay.submission, local_hostname="client.test.example", timeout=30) as client:
            client.ehlo()
            initial = base64.b64encode(b"\0ann\0" + password.encode()).decode()
            return client.docmd("AUTH", f"PLAIN {initial}")[0]

    def test_figures(self):
        relay = self.relay().start()
        subprocess.run([harness.WAYPOST, "--config", relay.config, "user", "add", "ann"], input=b"secret\n", check=True,
                       capture_output=True)
        before = samples(self.scrape())
        self.assertEqual(before["waypost_queue_messages"], {"": 0})
        self.assertEqual(before["waypost_messages_accepted_total"], {"": 0})

        with smtp.Client(relay.mx) as client:
            for _ in range(4):
                client.send("s@good.example", "r@good.example", CONTENT)
            client.send("s@good.example", ["a@good.example", "b@good.example"], CONTENT)
            for name in ("later", "never", "dead"):
                client.send("s@good.example", f"r@{name}.example", CONTENT)
            open_now = samples(self.scrape())["waypost_smtpd_connections"]
            self.assertEqual(open_now['listener="mx"'], 1)
        with smtp.Client(relay.mx, source="127.0.0.9") as stranger:
            stranger.expect(250, "MAIL FROM:<x@x.example>")
            self.assertEqual(stranger.command("RCPT TO:<y@y.example>")[0], 554)
        lost = smtp.Client(relay.mx)
        lost.close()
        self.assertEqual([self.attempt(relay, word) for word in ("secret", "wrong", "worse")], [235, 535, 535])
        with smtplib.SMTP("127.0.0.1", relay.mx, timeout=30) as client:
            client.starttls(context=tls.any_certificate())
        with smtp.Client(relay.mx) as client:
            client.expect(220, "STARTTLS")
            client.socket.sendall(b"no TLS at all\r\n")
            client.input.read()
        relay.logged(r"status=deferred .*452|452.*status=deferred|status=deferred \(.*452")
        relay.logged(r"destination_deferred|destination=dead\.example")
        # The report of never.example goes to good.example.
        harness.wait_for("the report", lambda: len(self.sinks[0].messages) == 6, 20)
        harness.wait_for("its end", lambda: relay.queued() == 2, 20)
        relay.tool("queue", "hold", "to:r@later.example", "--yes")

        def settled():
            now = samples(self.scrape())
            return now if sum(now["waypost_smtpd_connections"].values()) == 0 else None

        now = harness.wait_for("all sessions to end", settled, 20)
        of = lambda name, **labels: now[name][",".join(f'{key}="{value}"' for key, value in labels.items())]
        self.assertEqual(of("waypost_messages_accepted_total"), 8)
        self.assertEqual(of("waypost_messages_rejected_total", reason="policy", dsn_class="5"), 1)
        self.assertEqual(sum(now["waypost_messages_rejected_total"].values()), 1)
        self.assertEqual(of("waypost_deliveries_total", result="sent", dsn_class="2"), 7)
        self.assertEqual(of("waypost_deliveries_total", result="deferred", dsn_class="4"), 2)
        self.assertEqual(of("waypost_deliveries_total", result="bounced", dsn_class="5"), 1)
        self.assertEqual(sum(now["waypost_deliveries_total"].values()), 10)
        self.assertEqual(of("waypost_delivery_delay_seconds_count"), 7)
        self.assertEqual(of("waypost_bounces_total", kind="non-delivery"), 1)
        self.assertEqual(of("waypost_auth_attempts_total", mechanism="PLAIN", result="success"), 1)
        self.assertEqual(of("waypost_auth_attempts_total", mechanism="PLAIN", result="failure"), 2)
        self.assertEqual(of("waypost_tls_handshakes_total", dir="in", version="TLSv1.3", result="success"), 1)
        self.assertEqual(of("waypost_tls_handshakes_total", dir="in", version="none", result="failure"), 1)
        self.assertEqual(of("waypost_smtpd_sessions_total", listener="mx", result="done"), 3)
        self.assertEqual(of("waypost_smtpd_sessions_total", listener="mx", result="lost"), 2)
        self.assertEqual(of("waypost_smtpd_sessions_total", listener="submission", result="done"), 3)
        self.assertEqual(of("waypost_queue_messages"), 2)
        self.assertEqual(of("waypost_queue_recipients", state="deferred"), 1)
        self.assertEqual(of("waypost_queue_recipients", state="held"), 1)
        self.assertLess(0, of("waypost_queue_oldest_seconds", state="held"))
        self.assertEqual(of("waypost_destinations_failing"), 1)
        self.assertLess(0, of("waypost_destination_failing_seconds", destination="dead.example"))
        status = json.loads(relay.tool("status", "--json").stdout)
        self.assertEqual(of("waypost_queue_bytes"), status["queue"]["octets"])
        self.assertEqual(status["queue"]["messages"], 2)
        self.assertLessEqual(of("waypost_commit_seconds_count"), status["store"]["commits"])
        self.assertLess(8, of("waypost_commit_seconds_count"))

        page = labels_of_page()
        for name, values in now.items():
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in page else name
            for labels in values:
                self.assertEqual(set(re.findall(r'(\w+)="', labels)) - {"le"}, page[family], name)
        checked = subprocess.run([harness.PEERS / "bin/promtool", "check", "metrics"], input=self.scrape(), text=True,
                                 capture_output=True, timeout=60)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))
        # After a restart the queue's figures are there again, those that count begin anew.
        self.assertEqual(relay.stop(), 0)
        relay.start()
        now = samples(self.scrape())
        self.assertEqual(of("waypost_queue_messages"), 2)
        self.assertEqual(of("waypost_queue_recipients", state="held"), 1)
        self.assertEqual(of("waypost_messages_accepted_total"), 0)

    def test_rules(self):
        for what in (["check", "rules", RULES], ["test", "rules", RULES.with_suffix("").with_suffix(".rules.test.yml")]):
            done = subprocess.run([harness.PEERS / "bin/promtool", *what], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_prometheus(self):
        relay = self.relay().start()
        port = harness.free_port()
        (self.folder / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: waypost
    static_configs: [{{targets: ["127.0.0.1:{self.admin}"]}}]
""")
        harness.Program([harness.PEERS / "bin/prometheus", f"--config.file={self.folder}/prometheus.yml",
                         f"--storage.tsdb.path={self.folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
                        self.folder / "prometheus.log")
        harness.wait_for("prometheus", lambda: harness.listening("127.0.0.1", port), 60)

        def ask(path, **query):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}",
                                        timeout=30) as answer:
                return json.load(answer)["data"]

        def submit(recipient, count):
            harness.smtp_source(relay.mx, "-m", count, "-s", 4, "-l", 500, "-f", "s@good.example", "-t", recipient)

        submit("r@dead.example", 20)
        loads = [threading.Thread(target=submit, args=(f"r@{name}.example", 1000)) for name in ("good", "later")]
        for load in loads:
            load.start()
        sent = 'waypost_deliveries_total{result="sent"} > 100'
        harness.wait_for("samples of the load", lambda: ask("query", query=sent)["result"], 120, every=0.5)
        for load in loads:
            load.join()
        time.sleep(3)  # scrapes, and evaluations of the rules

        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        self.assertEqual({(rule["name"], rule["health"], rule.get("lastError", "")) for rule in rules},
                         {(rule["name"], "ok", "") for rule in rules})
        self.assertLess(10, len(rules))
        firing = {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"}
        self.assertEqual(firing, set())
        for rule in (rule for rule in rules if rule["type"] == "recording"):
            self.assertTrue(ask("query", query=rule["name"])["result"], rule["name"])

        expressions = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"]
                       for target in panel.get("targets", [])]
        self.assertLess(20, len(expressions))
        for expression in expressions:
            expression = expression.replace("$__rate_interval", "30s").replace("$instance", ".*")
            self.assertNotIn("$", expression)
            self.assertTrue(ask("query", query=expression)["result"], expression)
        accepted = ask("query", query="waypost_messages_accepted_total")["result"][0]["value"][1]
        self.assertEqual(accepted, "2020")

    def test_dashboard(self):
        """What Grafana needs to import it: ids that are unique, a source that is asked for, titles, units, places apart."""
        board = json.loads(DASHBOARD.read_text())
        self.assertIn("datasource", [variable["type"] for variable in board["templating"]["list"]])
        panels = board["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            self.assertTrue(panel["title"])
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
            if panel["type"] != "row":
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")

    def test_health_and_reload(self):
        relay = self.relay().start()
        self.assertEqual(get(self.admin, "/health"), (200, "ok\n", "text/plain; charset=utf-8"))
        whole = relay.config.read_text()
        relay.config.write_text(whole + "[nonsense]\n")
        self.assertNotEqual(relay.tool("reload", check=False).returncode, 0)
        status, text, _ = get(self.admin, "/health")
        self.assertEqual(status, 503)
        self.assertIn("the last reload failed", text)
        self.assertIn("waypost_config_reload_failed 1\n", self.scrape())
        relay.config.write_text(whole.replace(f"127.0.0.1:{self.admin}", "0.0.0.0:9"))
        done = relay.tool("reload")
        self.assertIn("admin.listen", done.stdout + done.stderr)
        self.assertIn("whoever can connect", relay.tool("config", "check").stdout + relay.tool("config", "check").stderr)
        self.assertEqual(get(self.admin, "/health")[0], 200)

        other = self.waypost("other", admin=f'listen = "127.0.0.1:{self.admin}"')
        other.launch()
        self.assertEqual(other.program.wait(30), 69)
        self.assertRegex(other.log_text(), rf"admin\.listen: .*127\.0\.0\.1:{self.admin}")

    def test_hostile(self):
        relay = self.relay().start()
        for path in ("/", "/v1/status", "/v1/queue", "/metrics/x", "/../health", "/%00", "/" + "x" * 5000):
            self.assertIn(get(self.admin, path)[0], (400, 404, 414), path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(get(self.admin, "/metrics", method)[0], 405, method)
        self.assertEqual(get(self.admin, "/health", "HEAD")[0], 200, "as many probes ask")
        half = [b"", b"G", b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nxxx", b"\x16\x03\x01\x02\x00\x01\x00\xff" * 100,
                b"GET /" + b"x" * 100_000, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 20_000]
        clients = []
        for number in range(200):
            client = socket.create_connection(("127.0.0.1", self.admin), timeout=10)
            client.setblocking(False)
            try:
                client.send(half[number % len(half)])
            except OSError:
                pass
            clients.append(client)
        began = time.monotonic()
        with smtp.Client(relay.mx) as client:
            client.send("s@good.example", "r@good.example", CONTENT)
        harness.wait_for("the message", lambda: self.sinks[0].messages, 10)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(relay.tool("health").stdout, "ok\n")
        descriptors = len(list((harness.pathlib.Path("/proc") / str(relay.program.pid) / "fd").iterdir()))
        self.assertLess(descriptors, 100)
        for client in clients:
            client.close()
        harness.wait_for("an answer", lambda: get(self.admin, "/health")[0] == 200, 30)
        self.assertIn("waypost_messages_accepted_total 1\n", self.scrape())
        self.assertEqual(relay.stop(), 0)


if __name__ == "__main__":
    harness.main()

"""With real parts: Knot serves 200 domains of three exchangers each, Postfix's smtp-source sends 10,000 messages up to
5 MB over 50 connections, smtp-sinks take them. Two exchangers are of equal preference and share the load; the third is
used only when those are down."""
import collections
import concurrent.futures

import harness

DOMAINS = 200
SENDERS, SESSIONS = 10, 5  # 50 connections
EQUAL = [f"127.0.0.{n}" for n in (11, 12, 13, 14)]
LOWER = [f"127.0.0.{n}" for n in (21, 22)]
# One larger message a domain beside 49 small ones; `in` this order by the domain's number.
LARGE = [5_000_000] * 10 + [1_000_000] * 40 + [100_000] * 150


def exchangers(i):
    """The addresses of domain i's exchangers: two equal ones and the lower one."""
    return EQUAL[i % 4], EQUAL[(i + 1) % 4], LOWER[i % 2]


def records():
    lines = [f"mx{address.split('.')[-1]} A {address}" for address in EQUAL + LOWER]
    for i in range(DOMAINS):
        for address, preference in zip(exchangers(i), (10, 10, 20)):
            lines.append(f"d{i} MX {preference} mx{address.split('.')[-1]}")
    return lines


class RealParts(harness.TestCase):
    def sinks(self, addresses, port, round_):
        return {address: harness.SmtpSink(self.folder, address, port, self.folder / round_ / address)
                for address in addresses}

    def send(self, relay, small, large):
        """All of it from SENDERS processes of SESSIONS connections. Returns the recipients, each of one message."""
        def domain(i):
            # -N puts a number before each recipient: 0d7@d7.example, ...
            if small:
                harness.smtp_source(relay.mx, "-d", "-N", "-s", SESSIONS, "-m", small, "-l", 1000 + 35 * i,
                                    "-f", "sender@client.test.example", "-t", f"d{i}@d{i}.example")
            if large:
                harness.smtp_source(relay.mx, "-l", LARGE[i], "-f", "sender@client.test.example",
                                    "-t", f"large@d{i}.example")

        with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(domain, range(DOMAINS)))
        recipients = {f"large@d{i}.example" for i in range(DOMAINS) if large}
        return recipients | {f"{n}d{i}@d{i}.example" for i in range(DOMAINS) for n in range(1, small + 1)}

    def arrived(self, sinks):
        """{recipient: [address of the sink, ...]}"""
        where = collections.defaultdict(list)
        for sink in sinks.values():
            for recipients in sink.recipients():
                for recipient in recipients:
                    where[recipient].append(sink.address)
        return where

    def test_ten_thousand(self):
        port = harness.free_port()
        dns = harness.NameServer(self.folder / "dns", records())
        relay = self.waypost(
            resolver=f'servers = ["127.0.0.1:{dns.port}"]',
            delivery=f"port = {port}",
            queue='retry = ["1s", "2s", "5s"]').start()

        sinks = self.sinks(EQUAL + LOWER, port, "first")
        sent = self.send(relay, small=49, large=True)
        self.assertEqual(len(sent), 10_000)
        harness.wait_for("10,000 messages", lambda: sum(s.count() for s in sinks.values()) >= 10_000, 300, every=0.5)
        relay.wait_empty(60)
        where = self.arrived(sinks)
        self.assertEqual(set(where) ^ sent, set(), "what arrived is what was sent")
        self.assertEqual([r for r, a in where.items() if len(a) != 1], [], "each once")

        used = collections.Counter()
        for recipient, addresses in where.items():
            used[int(recipient.split("@d")[1].split(".")[0]) % 4, addresses[0]] += 1
        for site in range(4):
            one, other, lower = exchangers(site)
            print(f"exchangers of site {site}: {one} {used[site, one]}, {other} {used[site, other]}, "
                  f"lower {lower} {used[site, lower]}")
            self.assertGreater(used[site, one], 100)
            self.assertGreater(used[site, other], 100)
            self.assertEqual(used[site, lower], 0)

        # The equal two of every domain down: the lower one gets all.
        for sink in sinks.values():
            sink.program.kill()
        lower = self.sinks(LOWER, port, "second")
        sent = self.send(relay, small=2, large=False)
        harness.wait_for("the lower exchangers to get all", lambda: sum(s.count() for s in lower.values()) >= len(sent),
                         120, every=0.5)
        relay.wait_empty(60)
        where = self.arrived(lower)
        self.assertEqual(set(where) ^ sent, set(), "what arrived is what was sent")
        print(f"second round, equal exchangers down: {len(where)} by the lower ones")


if __name__ == "__main__":
    harness.main()

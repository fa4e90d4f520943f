"""Who was promised what, and what came: clients note each reply to a final dot, sinks each message before they answer 250.
A message says who it is and what its body hashes to; one whose id ends in -bad is refused by the sink for ever, so that its
sender is owed a report."""
import collections
import hashlib
import re
import threading

BAD = "-bad"


def compose(id_, octets, rng, domain="away.example"):
    """Sender, recipient and content of a message with a body of about `octets`."""
    body = rng.randbytes(octets // 2).hex().encode() + b"\r\n"
    content = (f"Subject: under fire\r\nX-Id: {id_}\r\nX-Sum: {hashlib.sha256(body).hexdigest()}\r\n\r\n").encode() + body
    return f"s-{id_}@bounces.example", f"r-{id_}@{domain}", content


class Ledger:
    """The clients' side: tried(), then accepted() or refused(), or neither where the connection broke."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tried, self.accepted, self.refused = set(), set(), set()
        self.arrived, self.bounced = collections.Counter(), collections.Counter()
        self.damaged = []

    def send(self, client, id_, octets, rng, domain="away.example"):
        """A whole transaction, kept account of. Returns the reply to the final dot; raises what `client` does."""
        sender, recipient, content = compose(id_, octets, rng, domain)
        with self.lock:
            self.tried.add(id_)
        code, text = client.send(sender, recipient, content)
        with self.lock:
            (self.accepted if code == 250 else self.refused).add(id_)
        return code, text

    def taken(self, message):
        """A sink is about to answer 250."""
        if message.sender == "":
            with self.lock:
                self.bounced[re.match(r"s-([\w-]+)@", message.recipients[0])[1]] += 1
        else:
            self.taken_content(message.content)

    def taken_content(self, content):
        """The octets of a message that arrived, trace lines before its own header."""
        found = re.search(rb"\r\nX-Id: ([\w-]+)\r\nX-Sum: (\w+)\r\n\r\n", content)
        id_ = found[1].decode()
        with self.lock:
            if hashlib.sha256(content[found.end():]).hexdigest() != found[2].decode():
                self.damaged.append(id_)
            self.arrived[id_] += 1

    def waiting(self):
        """About how many were accepted and have not been seen since."""
        with self.lock:
            return len(self.accepted) - len(self.arrived) - len(self.bounced)

    def bad(self):
        return {id_ for id_ in self.accepted if id_.endswith(BAD)}

    def lost(self):
        """Accepted, and neither arrived nor, where that is its due, was reported."""
        bad = self.bad()
        return sorted((self.accepted - bad - set(self.arrived)) | (bad - set(self.bounced)))

    def again(self):
        """Arrivals beyond the first, and reports likewise."""
        with self.lock:
            return (sum(count - 1 for count in self.arrived.values()), sum(count - 1 for count in self.bounced.values()))

    def broken(self):
        """The promises that do not hold, as a list of texts; duplicates are the caller's to judge."""
        with self.lock:
            seen = set(self.arrived) | set(self.bounced)
            unknown = sorted(seen - self.tried)
            damaged = list(self.damaged)
            refused = sorted(self.refused & seen)
            to_nobody = sorted(id_ for id_ in self.arrived if id_.endswith(BAD))
            no_reason = sorted(id_ for id_ in self.bounced if not id_.endswith(BAD))
        kinds = [("lost", self.lost()), ("unknown", unknown), ("damaged", damaged), ("refused, yet arrived", refused),
                 ("refused by the sink, yet arrived", to_nobody), ("bounced for no reason", no_reason)]
        return [f"{kind}: {', '.join(ids[:5])}{' ...' if len(ids) > 5 else ''}" for kind, ids in kinds if ids]

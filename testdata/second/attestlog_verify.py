#!/usr/bin/env python3
"""A second implementation of the attestlog format, written from docs/format.md
alone, to check the first one against. Standard library only, Python >= 3.9.

    attestlog_verify.py vectors DIR
    attestlog_verify.py log FILE.jsonl --key FILE.pub
    attestlog_verify.py proof FILE --key FILE.pub

With VERBOSE=1 in the environment, vectors also prints why each invalid leaf is refused.
Exit status: 0 verified, 1 tampered (or a vector failed), 2 could not verify.
The signs "§1" to "§8" are the sections of docs/format.md.
"""
import argparse
import base64
import hashlib
import ipaddress
import json
import os
import re
import sys
from datetime import datetime, timedelta


class Bad(Exception):
    """The data breaks a rule of the format."""


class NotJSON(Bad):
    """The bytes are not JSON at all; for a line: it may have been cut short."""


class Tampered(Exception):
    """A log or proof does not hold."""


class Unverified(Exception):
    """Nothing can be said: a file is missing or nothing is signed."""


def need(condition, why):
    if not condition:
        raise Bad(why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text, size=None):
    """RFC 4648, Section 4, with padding; exactly one text form for each value."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Bad("not base64") from None
    need(b64(data) == text, "base64 not in its canonical form")
    need(size is None or len(data) == size, "base64 of %d bytes, not %s" % (len(data), size))
    return data


# --- JSON and RFC 8785 (§2) ---------------------------------------------------

def parse(data):
    def members(pairs):
        out = dict(pairs)
        need(len(out) == len(pairs), "duplicate name")
        return out

    def number(text):
        value = float(text)
        need(abs(value) < 2**53, "number of 2^53 or more")
        return value

    def constant(text):
        raise NotJSON("not JSON: " + text)

    try:
        if isinstance(data, bytes):
            data = data.decode("utf-8")
        return json.loads(data, object_pairs_hook=members, parse_int=number,
                          parse_float=number, parse_constant=constant)
    except RecursionError:
        raise Bad("nested too deep") from None
    except ValueError as e:
        raise NotJSON("not JSON: %s" % e) from None


SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
MUST_ESCAPE = re.compile(r'["\\\x00-\x1f]')
SURROGATE = re.compile("[\ud800-\udfff]")


def quote(text):
    need(not SURROGATE.search(text), "lone surrogate")
    return '"' + MUST_ESCAPE.sub(lambda m: SHORT.get(m[0]) or "\\u%04x" % ord(m[0]), text) + '"'


def number_text(value):
    """ECMAScript's Number::toString. repr() finds the same shortest digits."""
    if value == 0:
        return "0"  # also for -0
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(float(value))).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power n.
    n = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= n <= 21:
        return sign + digits.ljust(n, "0")
    if 0 < n <= 21:
        return sign + digits[:n] + "." + digits[n:]
    if -6 < n <= 0:
        return sign + "0." + "0" * -n + digits
    return sign + digits[0] + ("." + digits[1:] if digits[1:] else "") + "e%+d" % (n - 1)


def utf16(name):
    need(not SURROGATE.search(name), "lone surrogate")
    return name.encode("utf-16-be")


def jcs(value, depth=1):
    if isinstance(value, str):
        return quote(value)
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return number_text(value)
    need(depth <= 64, "nested more than 64 deep")
    if isinstance(value, list):
        return "[" + ",".join([jcs(v, depth + 1) for v in value]) + "]"
    return "{" + ",".join([quote(n) + ":" + jcs(value[n], depth + 1)
                           for n in sorted(value, key=utf16)]) + "}"


# --- Times and addresses (§2) -------------------------------------------------

TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
                  r"(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
EPOCH = datetime(1970, 1, 1)


def instant(text):
    """RFC 3339 as whole seconds since 1970 and nanoseconds."""
    m = TIME.fullmatch(text) if isinstance(text, str) else None
    need(m, "not an RFC 3339 time")
    try:
        when = datetime(*map(int, m.group(1, 2, 3, 4, 5, 6)))
        if m[8]:
            need(int(m[9]) < 24 and int(m[10]) < 60, "no such offset")
            offset = timedelta(hours=int(m[9]), minutes=int(m[10]))
            when += offset if m[8] == "-" else -offset
    except (ValueError, OverflowError):
        raise Bad("no such time") from None
    need(1678 <= when.year <= 2261, "time out of range")
    since = when - EPOCH
    return since.days * 86400 + since.seconds, int((m[7] or "").ljust(9, "0"))


def time_text(text):
    """An event's time in the leaf's form: UTC, nine digits."""
    seconds, nanos = instant(text)
    return (EPOCH + timedelta(seconds=seconds)).isoformat() + ".%09dZ" % nanos


def time_of(digits):
    def check(value):
        instant(value)
        need(len(value) == 21 + digits and value[-1] == "Z",
             "not a UTC time of %d digits" % digits)
    return check


def ip_text(text):
    """RFC 5952; an IPv4-mapped address in the mixed form of its Section 5."""
    try:
        need(isinstance(text, str) and "%" not in text, "not an IP address")
        ip = ipaddress.ip_address(text)
    except ValueError:
        raise Bad("not an IP address") from None
    mapped = getattr(ip, "ipv4_mapped", None)
    return "::ffff:%s" % mapped if mapped else str(ip)


# --- The leaf (§2) ------------------------------------------------------------

def text(value):
    need(isinstance(value, str) and value, "not a string, or empty")


def text_of(limit):
    def check(value):
        text(value)
        need(len(value.encode()) <= limit, "longer than %d bytes" % limit)
    return check


def one_of(*values):
    def check(value):
        need(isinstance(value, str) and value in values, "not one of " + ", ".join(values))
    return check


def whole(value):
    need(isinstance(value, float) and value == int(value) and value, "not a whole number, or 0")


def version(value):
    need(isinstance(value, float) and value == 1, "not 1")


def address(value):
    need(ip_text(value) == value, "not the canonical form of the address")


def any_value(value):
    pass


def any_object(value):
    need(isinstance(value, dict) and value, "not an object, or empty")


def record(schema, may_be_empty=False):
    def check(value):
        need(isinstance(value, dict) and (value or may_be_empty), "not an object, or empty")
        for name in value:
            need(name in schema, "no such member: %r" % name)
            try:
                schema[name](value[name])
            except Bad as e:
                raise Bad("%s: %s" % (name, e)) from None
    return check


def array(item):
    def check(value):
        need(isinstance(value, list) and value, "not an array, or empty")
        for v in value:
            item(v)
    return check


SEALABLE = {"/actor/id", "/actor/name", "/actor/on_behalf_of", "/actor/session", "/message",
            "/original", "/reason", "/request/path", "/source/host", "/source/ip",
            "/source/user_agent"}
ATTRIBUTE = re.compile(r"/attributes/((?:[^~/]|~[01])*)", re.DOTALL)


def place(pointer):
    """The way to a sealable field: (object or None for the leaf, name)."""
    if pointer in SEALABLE:
        return tuple(pointer[1:].split("/")) if pointer.count("/") == 2 else (None, pointer[1:])
    m = ATTRIBUTE.fullmatch(pointer)
    need(m, "%r cannot be sealed" % pointer)
    return "attributes", m[1].replace("~1", "/").replace("~0", "~")


def seals(value):
    any_object(value)
    for pointer in value:
        place(pointer)
        unb64(value[pointer], 32)


LEAF = record({
    "action": text_of(255),
    "actor": record({"id": text, "name": text, "on_behalf_of": text, "session": text,
                     "type": one_of("user", "service", "system", "anonymous")}),
    "attributes": any_object,
    "changes": array(record({"new": any_value, "old": any_value, "op": text, "path": text}, True)),
    "id": text_of(128),
    "logged_time": time_of(6),
    "message": text, "module": text, "operation": text,
    "reason": text, "service": text, "tenant": text,
    "outcome": one_of("success", "failure", "unknown"),
    "request": record({"id": text, "method": text, "path": text, "route": text,
                       "status": whole, "duration_us": whole}),
    "sealed": seals,
    "source": record({"host": text, "ip": address, "user_agent": text}),
    "targets": array(record({"id": text, "name": text, "type": text})),
    "time": time_of(9),
    "trace": record({"span_id": text, "trace_id": text}),
    "v": version,
})


def check_leaf(leaf, data):
    """All rules for a parsed leaf whose canonical bytes are data."""
    need(len(data) <= 65535, "leaf of more than 65,535 bytes")
    LEAF(leaf)
    for name in ("action", "id", "logged_time", "time", "v"):
        need(name in leaf, "%s is missing" % name)
    sealed = leaf.get("sealed", {})
    need("id" in leaf.get("actor", {}) or "/actor/id" in sealed, "actor.id is missing")
    for pointer in sealed:
        holder, name = place(pointer)
        need(name not in (leaf.get(holder, {}) if holder else leaf),
             "%s is both clear and sealed" % pointer)
    if leaf["action"].startswith("attestlog."):
        check_own(leaf)


def check_own(leaf):
    """The log's own entries (§7)."""
    need(leaf.get("actor") == {"id": "attestlog", "type": "system"}, "not the log's own actor")
    a = leaf.get("attributes", {})
    if leaf["action"] == "attestlog.key":
        need(Key(a.get("old")).name == Key(a.get("new")).name, "the keys' names differ")
    elif leaf["action"] == "attestlog.restore":
        need(is_index(a.get("size")), "size is not a size")
        unb64(a.get("root"), 32)
        need(isinstance(a.get("given_up"), str), "given_up is not a string")
    elif leaf["action"] == "attestlog.erase":
        need(isinstance(a.get("erased"), list), "erased is not an array")
        for e in a["erased"]:
            need(isinstance(e, dict) and set(e) == {"index", "pointers"} and is_index(e["index"])
                 and isinstance(e["pointers"], list)
                 and all(isinstance(p, str) for p in e["pointers"]), "erased has another form")
    else:
        raise Bad("no such action of the log's own: " + leaf["action"])


def is_index(value):
    return isinstance(value, float) and value >= 0 and value == int(value)


def leaf_of(data):
    """Bytes that have to be a leaf, parsed."""
    need(len(data) <= 65535, "leaf of more than 65,535 bytes")
    leaf = parse(data)
    need(isinstance(leaf, dict), "not an object")
    need(jcs(leaf).encode() == data, "not in the form of RFC 8785")
    check_leaf(leaf, data)
    return leaf


# --- Seals and disclosures (§3) -----------------------------------------------

def u32be(n):
    return n.to_bytes(4, "big")


def digest(pointer, salt, value_text):
    p, v = pointer.encode(), value_text.encode()
    return b64(sha256(b"attestlog/v1/sealed\n", salt, u32be(len(p)), p, u32be(len(v)), v))


DATA = "data:;base64,"


def check_value(pointer, value):
    if pointer not in SEALABLE:
        return
    text(value)
    if pointer == "/source/ip":
        address(value)
    elif pointer == "/original":
        raw = value.encode()
        if value.startswith(DATA):  # only for what cannot stand as a string
            raw = unb64(value[len(DATA):])
            try:
                need(raw.decode("utf-8").startswith(DATA), "original is base64 without need")
            except UnicodeDecodeError:
                pass
        need(len(raw) <= 1048576, "original of more than 1,048,576 bytes")


def value_text(pointer, value):
    """The value's RFC 8785 form. An attribute is as deep as it would be in the leaf."""
    check_value(pointer, value)
    return jcs(value, 1 if pointer in SEALABLE else 3)


def disclosures_text(found, sealed):
    """Checks disclosures against their seals and returns them as §6 writes them."""
    need(isinstance(found, dict) and found, "disclosures is not an object, or empty")
    for pointer in found:
        need(pointer in sealed, "%s is disclosed but not sealed" % pointer)
    parts = []
    for pointer in sorted(found, key=utf16):
        d = found[pointer]
        need(isinstance(d, dict) and set(d) == {"salt", "value"}, "disclosure has another form")
        value = value_text(pointer, d["value"])
        need(digest(pointer, unb64(d["salt"], 16), value) == sealed[pointer],
             "%s is not what was sealed" % pointer)
        parts.append('%s:{"salt":"%s","value":%s}' % (quote(pointer), d["salt"], value))
    return "{" + ",".join(parts) + "}"


# --- From an event to its leaf (§2, §3, §8) -------------------------------------

def without_empty(obj):
    """Drops declared members that are null, empty or, where §2 says so, 0."""
    out = {}
    for name, v in obj.items():
        if name not in ("attributes", "old", "new"):
            if isinstance(v, dict):
                v = without_empty(v)
            elif isinstance(v, list):
                v = [without_empty(x) if isinstance(x, dict) else x for x in v]
        zero = name in ("status", "duration_us") and isinstance(v, float) and v == 0
        if name in ("old", "new") or not (zero or v is None or v in ("", {}, [])):
            out[name] = v
    return out


def build(event, pointers, salts, logged_time):
    leaf = without_empty(event)
    leaf["v"], leaf["logged_time"] = 1.0, logged_time
    leaf["time"] = time_text(leaf.get("time", logged_time))
    if isinstance(leaf.get("source"), dict) and "ip" in leaf["source"]:
        leaf["source"]["ip"] = ip_text(leaf["source"]["ip"])
    sealed, found = {}, {}
    if "original" in leaf:  # exists only sealed
        pointers = set(pointers) | {"/original"}
    for pointer in pointers:
        holder, name = place(pointer)
        inside = leaf.get(holder, {}) if holder else leaf
        if name in inside:
            value = inside.pop(name)
            salt = salts[pointer]
            sealed[pointer] = digest(pointer, unb64(salt, 16), value_text(pointer, value))
            found[pointer] = {"salt": salt, "value": value}
    leaf["sealed"] = sealed
    leaf = without_empty(leaf)  # what sealing left empty
    data = jcs(leaf).encode()
    check_leaf(leaf, data)
    return leaf, data, found


# --- Keys of entries (§4) -----------------------------------------------------

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def entry_key(leaf):
    if UUID7.fullmatch(leaf["id"]):
        return bytes.fromhex(leaf["id"].replace("-", ""))
    seconds, nanos = instant(leaf["time"])
    tenant, service = leaf.get("tenant", "").encode(), leaf.get("service", "").encode()
    return ((seconds * 1000 + nanos // 1000000).to_bytes(6, "big", signed=True)
            + sha256(u32be(len(tenant)), tenant, u32be(len(service)), service,
                     leaf["id"].encode())[:10])


# --- The tree (§1) --------------------------------------------------------------

def leaf_hash(data):
    return sha256(b"\0", data)


def node_hash(left, right):
    return sha256(b"\1", left, right)


class Tree:
    """levels[h] holds the hashes of the complete subtrees of 2^h leaves."""

    def __init__(self):
        self.levels = [[]]

    def append(self, h):
        for level in range(64):
            if level == len(self.levels):
                self.levels.append([])
            nodes = self.levels[level]
            nodes.append(h)
            if len(nodes) % 2:
                return
            h = node_hash(nodes[-2], nodes[-1])

    def root(self, size):
        root = None
        for level in range(size.bit_length()):  # from the right, smallest subtree first
            if size >> level & 1:
                h = self.levels[level][(size >> level) - 1]
                root = h if root is None else node_hash(h, root)
        return root or sha256()


def root_of_path(h, index, size, path):
    """The root that an audit path of RFC 6962, Section 2.1.1, leads to."""
    need(index < size, "index is not in the tree")
    first, last = index, size - 1
    for sibling in path:
        need(last, "too many hashes")
        if first & 1 or first == last:
            h = node_hash(sibling, h)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            h = node_hash(h, sibling)
        first, last = first >> 1, last >> 1
    need(last == 0, "too few hashes")
    return h


# --- Ed25519, RFC 8032: verification only, slow -----------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(p, q):  # extended coordinates, Section 5.1.4
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = add(q, p)
        p, n = add(p, p), n >> 1
    return q


def decode_point(data):  # Section 5.1.3
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    need(y < P, "not a point")
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if x * x % P != xx:
        x = x * pow(2, (P - 1) // 4, P) % P
    need(x * x % P == xx and not (x == 0 and sign), "not a point")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def ed25519_verify(public, message, signature):
    try:
        a, r = decode_point(public), decode_point(signature[:32])
    except Bad:
        return False
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    p, q = times(s, BASE), add(r, times(k, a))
    return s < L and (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


# --- Checkpoints (§5; C2SP signed-note and tlog-checkpoint) -----------------------

class Key:
    """A verifier key: name+hash+base64 of (type ‖ public key)."""

    def __init__(self, vkey):
        parts = vkey.split("+", 2) if isinstance(vkey, str) else []
        need(len(parts) == 3 and re.fullmatch(r"[^\s+]+", parts[0]), "not a verifier key")
        data = unb64(parts[2], 33)
        need(data[0] == 1, "not an Ed25519 key")
        self.name, self.public, self.text = parts[0], data[1:], vkey
        self.id = sha256(self.name.encode(), b"\n", data)[:4]
        need(parts[1] == self.id.hex(), "the key's hash is wrong")


class Note:
    """A signed note: a text and signatures."""

    def __init__(self, note):
        need(isinstance(note, str), "a note is a string")
        need(not re.search(r"[\x00-\x09\x0b-\x1f]", note), "control character in a note")
        body, found, lines = note.rpartition("\n\n")
        need(found and lines.endswith("\n"), "not a signed note")
        self.text, self.signatures = body + "\n", []
        for line in lines[:-1].split("\n"):
            m = re.fullmatch(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
            need(m, "not a signature line")
            data = unb64(m[2])
            need(len(data) > 4, "signature too short")
            self.signatures.append((m[1], data[:4], data[4:]))

    def signed_by(self, key):
        """A signature of this key exists and holds. A false one is an error."""
        mine = [s for name, i, s in self.signatures if name == key.name and i == key.id]
        for s in mine:
            need(len(s) == 64 and ed25519_verify(key.public, self.text.encode(), s),
                 "false signature")
        return bool(mine)


class Checkpoint(Note):
    def __init__(self, note):
        super().__init__(note)
        fields = self.text[:-1].split("\n")
        need(len(fields) == 3 and fields[0], "a checkpoint's text is three lines")
        self.origin = fields[0]
        need(re.fullmatch("0|[1-9][0-9]{0,18}", fields[1]), "size is not a decimal")
        self.size, self.root = int(fields[1]), unb64(fields[2], 32)

    def signed_by(self, key):
        return super().signed_by(key) and self.origin == key.name


# --- A log in lines (§6, §7) ------------------------------------------------------

def read_lines(path):
    """Parsed lines: (expected text's bytes, value). Leaves out lines cut short."""
    torn = None
    with open(path, "rb") as f:
        for line in f:
            ended = line.endswith(b"\n")
            line = line[:-1] if ended else line
            if torn and not (line.startswith(torn[0]) and len(line) > len(torn[0])):
                raise torn[1]
            try:
                value, torn = parse(line), None
                need(ended, "the last line has no line feed")
            except NotJSON as e:
                torn = line, e
                continue
            yield line, value
    if torn:
        raise torn[1]


def verify_log(path, key):
    tree, size, last_time = Tree(), 0, ""
    keys_seen, checkpoints, rotations = set(), [], []
    missing, present, erased = set(), set(), set()  # of (index, pointer)
    good = 0  # the size up to which a checkpoint's root has been met

    def entry(line, value):
        nonlocal last_time
        need(not isinstance(value, dict) or "damaged" not in value,
             "the log had the entry as damaged when the line was written")
        need(isinstance(value, dict) and is_index(value.get("index")) and
             isinstance(value.get("leaf"), dict) and
             set(value) <= {"index", "leaf", "disclosures"}, "not an entry's line")
        need(value["index"] == size, "index %d here" % value["index"])
        leaf = value["leaf"]
        leaf_text = jcs(leaf)
        data, sealed = leaf_text.encode(), leaf.get("sealed", {})
        check_leaf(leaf, data)
        whole_line = '{"index":%d,"leaf":%s' % (size, leaf_text)
        if "disclosures" in value:
            whole_line += ',"disclosures":' + disclosures_text(value["disclosures"], sealed)
        need((whole_line + "}").encode() == line, "not written as it must be")
        need(leaf["logged_time"] >= last_time, "logged_time decreases")
        last_time = leaf["logged_time"]
        k = entry_key(leaf)
        need(k not in keys_seen, "id is not unique")
        keys_seen.add(k)
        for pointer in sealed:
            (present if pointer in value.get("disclosures", {}) else missing).add((size, pointer))
        a = leaf.get("attributes", {})
        if leaf["action"] == "attestlog.key":
            old, new, note = Key(a["old"]), Key(a["new"]), Note(a.get("note"))
            if note.text == "attestlog/v1/key\n%s\n" % new.text and note.signed_by(old):
                rotations.append((size, old, new))
        elif leaf["action"] == "attestlog.erase":
            erased.update((int(e["index"]), p) for e in a["erased"] for p in e["pointers"]
                          if e["index"] < size)
        elif leaf["action"] == "attestlog.restore":
            n = int(a["size"])
            need(n <= size and tree.root(n) == unb64(a["root"]), "restored to another tree")
        tree.append(leaf_hash(data))

    def checkpoint(line, value):
        need(isinstance(value["checkpoint"], str), "checkpoint is not a string")
        need(jcs(value).encode() == line, "not written as it must be")
        c = Checkpoint(value["checkpoint"])
        need(c.size <= size, "checkpoint of %d entries after %d of them" % (c.size, size))
        if c.root != tree.root(c.size):
            raise Tampered("index %d, or one after it up to %d: the root of the checkpoint of size "
                           "%d differs" % (min(good, c.size), c.size - 1, c.size))
        checkpoints.append(c)
        return max(good, c.size)

    try:
        for line, value in read_lines(path):
            if isinstance(value, dict) and set(value) == {"checkpoint"}:
                good = checkpoint(line, value)
            else:
                entry(line, value)
                size += 1
    except Bad as e:
        raise Tampered("index %d: %s" % (size, e)) from None
    if missing - erased:
        index, pointer = min(missing - erased)
        raise Tampered("index %d: the disclosure of %s is missing, and no entry says that it "
                       "was erased" % (index, pointer))
    signed, by = check_signatures(checkpoints, rotations, key)
    report = ["size %d" % size, "root " + b64(tree.root(size)),
              "signed: the first %d entries, by %s" % (signed, by.text)]
    if signed < size:
        report.append("not signed: %d entries from index %d on" % (size - signed, signed))
    if present & erased:
        report.append("note: %d disclosures are still here that an entry says were erased"
                      % len(present & erased))
    return report


def check_signatures(checkpoints, rotations, given):
    """Each checkpoint's signature, by the key in force at its size (§7). A new key
    counts once a checkpoint that the old one signed covers the entry naming it. The
    given key may be any of the log's keys: what it signed vouches for older ones."""
    keys = [rotations[0][1] if rotations else given]
    for index, old, new in rotations:
        if old.text != keys[-1].text:
            raise Tampered("index %d: old is not the key in force" % index)
        keys.append(new)
    texts = [k.text for k in keys]
    if given.text not in texts:
        raise Tampered("index 0: the given key is none of the log's")
    start = texts.index(given.text)
    in_force, signed, by = 0, 0, None
    for c in checkpoints:
        at = sum(index < c.size for index, _, _ in rotations)
        try:
            handover = 0 < at == in_force + 1 and c.signed_by(keys[in_force])
            if not handover and at > in_force and in_force >= start:
                continue  # signed by a key that no checkpoint of the old one vouches for
            need(handover or c.signed_by(keys[at]), "not signed by the log's key")
        except Bad as e:
            raise Tampered("index %d: checkpoint of size %d: %s" % (signed, c.size, e)) from None
        in_force = max(in_force, at)
        signer = in_force - 1 if handover else at
        if signer >= start and (by is None or c.size >= signed):
            signed, by = c.size, keys[signer]
    if by is None:
        raise Unverified("no checkpoint is signed by the given key")
    return signed, by


# --- Proofs (§5; C2SP tlog-proof) -------------------------------------------------

def verify_proof(path, key):
    try:
        head, found, note = read(path).decode("utf-8").partition("\n\n")
        lines = head.split("\n")
        need(found and len(lines) >= 3 and lines[0] == "c2sp.org/tlog-proof@v1", "not a proof")
        need(lines[1].startswith("extra "), "no extra line")
        need(re.fullmatch("index (0|[1-9][0-9]{0,18})", lines[2]), "no index line")
        data, index = unb64(lines[1][6:]), int(lines[2][6:])
        c = Checkpoint(note)
        need(c.signed_by(key), "not signed by the given key")
        path_hashes = [unb64(line, 32) for line in lines[3:]]
        need(root_of_path(leaf_hash(data), index, c.size, path_hashes) == c.root,
             "the leaf is not in the tree")
        leaf_of(data)
    except (Bad, UnicodeDecodeError) as e:
        raise Tampered(str(e)) from None
    return ["index %d of %d" % (index, c.size), "root " + b64(c.root),
            "signed by " + key.text, data.decode()]


# --- Vectors (§8) -----------------------------------------------------------------

def check_vectors(folder):
    passed, failed = 0, 0

    def result(name, problem):
        nonlocal passed, failed
        if problem:
            failed += 1
            print("FAIL %s: %s" % (name, problem))
        else:
            passed += 1

    def vectors(name):
        try:
            for line in filter(None, read(os.path.join(folder, name)).split(b"\n")):
                yield json.loads(line)["name"], line
        except (Unverified, ValueError, KeyError) as e:
            result(name, "cannot be read: %s" % e)

    for name, line in vectors("leaves.jsonl"):
        try:
            v = parse(line)
            leaf, data, found = build(v["event"], v.get("sealed") or [], v.get("salts") or {},
                                      v["logged_time"])
            want = {"leaf": data.decode(), "leaf_hash": leaf_hash(data).hex(),
                    "key": entry_key(leaf).hex()}
            wrong = ["%s\n  want %s\n  have %s" % (n, v.get(n), have)
                     for n, have in want.items() if v.get(n) != have]
            if jcs(v.get("disclosures") or {}) != jcs(found):
                wrong.append("disclosures\n  want %s\n  have %s"
                             % (jcs(v.get("disclosures")), jcs(found)))
            if found:  # and they open the seals
                disclosures_text(found, leaf["sealed"])
            if not wrong:
                leaf_of(v["leaf"].encode())
            result("leaves.jsonl " + name, "; ".join(wrong))
        except (Bad, KeyError) as e:
            result("leaves.jsonl " + name, "%s: %s" % (type(e).__name__, e))
    for name, line in vectors("invalid.jsonl"):
        v = json.loads(line)
        try:
            leaf_of(v["leaf"].encode("utf-8", "surrogatepass"))
            result("invalid.jsonl " + name, "accepted, although " + str(v.get("why")))
        except Bad as e:
            if os.environ.get("VERBOSE"):
                print("refused %s: %s; expected: %s" % (name, e, v.get("why")))
            result("invalid.jsonl " + name, None)
    for name, verify in (("log.jsonl", verify_log), ("proof.tlog-proof", verify_proof)):
        try:
            verify(os.path.join(folder, name), read_key(os.path.join(folder, "log.pub")))
            result(name, None)
        except (Tampered, Unverified, OSError) as e:
            result(name, e)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise Unverified(str(e)) from None


def read_key(path):
    try:
        return Key(read(path).decode("utf-8").rstrip("\n"))
    except (Bad, UnicodeDecodeError) as e:
        raise Unverified("%s: %s" % (path, e)) from None


def main():
    parser = argparse.ArgumentParser(description="Verifies attestlog data by docs/format.md alone.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("vectors").add_argument("path", metavar="DIR")
    for name in ("log", "proof"):
        command = commands.add_parser(name)
        command.add_argument("path", metavar="FILE")
        command.add_argument("--key", required=True, metavar="FILE.pub")
    args = parser.parse_args()
    try:
        if args.command == "vectors":
            return check_vectors(args.path)
        verify = verify_log if args.command == "log" else verify_proof
        print("\n".join(verify(args.path, read_key(args.key))))
        return 0
    except Tampered as e:
        print("tampered: %s" % e)
        return 1
    except (Unverified, OSError) as e:
        print("could not verify: %s" % e, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

// Every message that a value, a key or a combination can give, as the user reads it.

import Testing

@testable import WorkerSettings

@Suite struct MessageTests {
    @Test func theMinimalFileIsRight() {
        #expect(problems(minimal) == [])
    }

    /// Each stands below ``minimal``, whose last line is line 5.
    @Test(arguments: [
        // Keys.
        Case("wroker: {}", "6:1: wroker: unknown key, did you mean worker?"),
        Case("worker: {concurency: 1}", "6:10: worker.concurency: unknown key, did you mean concurrency?"),
        Case("worker: {prefetch: 1}", "6:10: worker.prefetch: unknown key, did you mean queues.NAME.prefetch?"),
        Case(
            "worker: {zebra: 1}",
            "6:10: worker.zebra: unknown key, remove it (known here: concurrency, drainTimeout, name)"),
        Case("    token: t", "6:5: orgs.acme.token: unknown key, did you mean tokenEnvironment?"),
        Case("    retry: {attemps: 1}", "6:13: orgs.acme.retry.attemps: unknown key, did you mean attempts?"),
        Case("queues: {q: {prefech: 1}}", "6:14: queues.q.prefech: unknown key, did you mean prefetch?"),
        Case("<<: {}", "6:1: <<: unknown key"),
        Case("orgs.acme: {}", "6:1: orgs.acme: unknown key, did you mean orgs?"),
        // Shapes.
        Case("worker: 5", "6:9: worker: must be a mapping, write KEY: VALUE lines under it"),
        Case("queues: [a, b]", "6:9: queues: must be a mapping, write KEY: VALUE lines under it"),
        Case("queues: {a: 5}", "6:13: queues.a: must be a mapping, write KEY: VALUE lines under it"),
        Case(
            "worker: {concurrency: [1]}",
            "6:23: worker.concurrency: must be a single value, write whole number, 1 to 10000"),
        Case("answers: {allowReplyTo: a}", "6:25: answers.allowReplyTo: must be a list, write [VALUE, VALUE]"),
        Case(
            "answers: {allowReplyTo: [a, [b]]}",
            "6:29: answers.allowReplyTo: holds an element that is no text, write a list of texts"),
        Case(
            "worker: {concurrency: }",
            "6:10: worker.concurrency: has no value, write one (whole number, 1 to 10000) or remove the key"),
        Case("amqp: {urls: amqp://h}", "6:14: amqp.urls: must be a list, write [VALUE, VALUE]"),
        Case(
            "amqp: {managementURL: 'amqp://h:15672'}",
            "6:23: amqp.managementURL: has the wrong scheme, write http:// or https://"),
        Case(
            "amqp: {managementURL: 'http://u:secret@h:15672/?q'}",
            "6:23: amqp.managementURL: has a query, write https://USER:PASSWORD@HOST:PORT alone"),
        Case("amqp: {urls: []}", "6:14: amqp.url: is an empty list, write at least one URL"),
        Case(
            "amqp: {url: 'amqp://h', urls: [amqp://h]}",
            "6:25: amqp.urls: url and urls are both given, keep one of them"),
        // Numbers, durations, sizes, choices.
        Case(
            "worker: {concurrency: 1.5}",
            "6:23: worker.concurrency: '1.5' is not a whole number, write one from 1 to 10000"),
        Case("worker: {concurrency: 0}", "6:23: worker.concurrency: '0' is out of bounds, write 1 to 10000"),
        Case(
            "worker: {concurrency: 99999999999999999999}",
            "6:23: worker.concurrency: '99999999999999999999' is not a whole number, write one from 1 to 10000"),
        Case(
            "worker: {drainTimeout: 30}",
            "6:24: worker.drainTimeout: '30' has no unit, write for example 30s (units: ms, s, m, h, d)"),
        Case(
            "worker: {drainTimeout: 30 sec}",
            "6:24: worker.drainTimeout: '30 sec' is not a whole number with a known unit, write for example 30s "
                + "(units: ms, s, m, h, d)"),
        Case(
            "worker: {drainTimeout: soon}",
            "6:24: worker.drainTimeout: 'soon' is not a whole number with a unit, write for example 30s "
                + "(units: ms, s, m, h, d)"),
        Case("worker: {drainTimeout: 61m}", "6:24: worker.drainTimeout: '61m' is out of bounds, write 0 to 1h"),
        Case(
            "worker: {drainTimeout: 99999999999999999d}",
            "6:24: worker.drainTimeout: '99999999999999999d' is too large, write a smaller one"),
        Case(
            "amqp: {heartbeat: 1500ms}",
            "6:19: amqp.heartbeat: '1500ms' is not a whole number of seconds, write for example 30s"),
        Case(
            "commands: {maximumBody: 256KB}",
            "6:25: commands.maximumBody: '256KB' is not a whole number with a known unit, write for example 256KiB "
                + "(units: B, KiB, MiB)"),
        Case(
            "commands: {maximumBody: 1GiB}",
            "6:25: commands.maximumBody: '1GiB' is not a whole number with a known "
                + "unit, write for example 256KiB (units: B, KiB, MiB)"),
        Case("commands: {maximumBody: 1B}", "6:25: commands.maximumBody: '1B' is out of bounds, write 1KiB to 16MiB"),
        Case(
            "commands: {honourReplay: yes}",
            "6:26: commands.honourReplay: 'yes' is neither true nor false, write one of them"),
        Case("admin: {address: 9464}", "6:18: admin.address: '9464' has no port, write HOST:PORT"),
        Case(
            "admin: {address: '::1:9464'}",
            "6:18: admin.address: '::1:9464' is an IPv6 address without brackets, write [ADDRESS]:PORT"),
        Case(
            "admin: {address: ':9464'}",
            "6:18: admin.address: ':9464' names no host, write HOST:PORT, such as 127.0.0.1:9464 or 0.0.0.0:9464"),
        Case("log: {format: xml}", "6:15: log.format: 'xml' is not one of the choices, write human, json"),
        Case(
            "    unknownEffect: ignore",
            "6:20: orgs.acme.unknownEffect: 'ignore' is not one of the choices, write report, retry, clear-then-route"),
        Case(
            "worker: {name: \"a\\nb\"}",
            "6:16: worker.name: 'a\\u{a}b' is no worker name, write 1 to 128 printable ASCII characters"),
        // Names, patterns, ids, places.
        Case(
            "answers: {queue: amq.x}",
            "6:18: answers.queue: 'amq.x' starts with amq., which the broker keeps for itself, choose another name"),
        Case(
            "answers: {queue: ''}",
            "6:18: answers.queue: '' is no queue name, write 1 to 228 bytes without control characters"),
        Case(
            "answers: {allowReplyTo: ['*']}",
            "6:26: answers.allowReplyTo: '*' would match every queue, write a prefix before the *"),
        Case(
            "answers: {allowReplyTo: ['a*b']}",
            "6:26: answers.allowReplyTo: 'a*b' has a * before its end, write one at the end alone (prefix*)"),
        Case(
            "store: {url: redis}",
            "6:14: store.url: names no store, write memory:, sqlite:PATH, postgres://…, redis://… or rediss://…"
        ),
        Case(
            "store: {url: 'sqlite:'}",
            "6:14: store.url: names no file, write sqlite:PATH (or memory: to keep nothing)"),
        Case("http: {caFile: ''}", "6:16: http.caFile: '' is no path, write the path of a file"),
        Case(
            "    defaultContext: a b",
            "6:21: orgs.acme.defaultContext: 'a b' is no developer name, write 1 to 255 ASCII characters without spaces"
        ),
        Case(
            "  b: {id: 00E000000000001, baseURL: 'https://b.example.com', tokenFile: t}",
            "6:11: orgs.b.id: '00E000000000001' is no org id, write the 15 or 18 letters and digits that start with 00D"
        ),
        Case(
            "  00D000000000009: {id: 00D000000000009, baseURL: 'https://b.example.com', tokenFile: t}",
            "6:3: orgs.00D000000000009: '00D000000000009' has the form of an org id, choose a name as the alias and "
                + "write the id under it as id:"),
        Case(
            "  a b: {id: 00D000000000009, baseURL: 'https://b.example.com', tokenFile: t}",
            "6:3: orgs.a b: 'a b' is no alias, write 1 to 64 letters, digits, hyphens, underscores or dots"),
        // URLs.
        Case("amqp: {url: rabbit}", "6:13: amqp.url: is not a URL, write amqp:// or amqps://HOST"),
        Case("amqp: {url: 'http://h'}", "6:13: amqp.url: has the wrong scheme, write amqp:// or amqps://"),
        Case("amqp: {url: 'amqp://'}", "6:13: amqp.url: has no host, write amqp:// or amqps://HOST"),
        Case(
            "amqp: {url: 'amqp://h:70000'}",
            "6:13: amqp.url: has a port that is none, write 1 to 65535 (a : in a password is written %3A)"),
        Case(
            "amqp: {url: 'amqp://u:a b@h'}",
            "6:13: amqp.url: holds spaces or characters outside ASCII, percent-encode them"),
        Case(
            "amqp: {url: 'amqp://u:5%@h'}",
            "6:13: amqp.url: holds a % that is not followed by two hexadecimal digits, write %25 for the sign itself"),
        Case(
            "amqp: {url: 'amqp://u:a@b@h'}",
            "6:13: amqp.url: has two @, percent-encode the one in user or password as %40"),
        Case(
            "amqp: {url: 'amqp://u:a#b@h'}",
            "6:13: amqp.url: has a fragment, percent-encode the # as %23 or remove it"),
        Case(
            "amqp: {url: 'amqp://h/a/b'}",
            "6:13: amqp.url: has more than one part in its path, write the virtual host with %2F for each /"),
        Case("amqp: {url: 'amqp://[::1'}", "6:13: amqp.url: lacks the ] after its IPv6 address"),
        Case(
            "amqp: {url: 'amqp://a!b'}",
            "6:13: amqp.url: has a host name that is none, write letters, digits, dots and hyphens"),
        Case("amqp: {urls: [amqp://a, b]}", "6:25: amqp.url: is not a URL, write amqp:// or amqps://HOST"),
        Case("http: {proxy: 'http://p'}", "6:15: http.proxy: has no port, write http://HOST:PORT"),
        Case("http: {proxy: 'socks://p:1'}", "6:15: http.proxy: has the wrong scheme, write http://"),
        Case("http: {proxy: 'http://p:1/x'}", "6:15: http.proxy: has a path or query, write http://HOST:PORT alone"),
    ])
    func saysOfOneValue(_ example: Case) {
        let found = problems(minimal + example.text + "\n")
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("w.yaml:" + example.message) == true, "\(found)")
    }

    @Test(arguments: [
        Case(
            "http://acme.example.com",
            "'http://acme.example.com' is plain http, which would show the token to the network, write https://"),
        Case(
            "https://a.example.com/api/v1/route",
            "'https://a.example.com/api/v1/route' has a path or query, write scheme and host alone: the worker adds "
                + "/api/v1/route"),
        Case(
            "https://u:p@a.example.com",
            "(not shown) holds a user or password, remove it: calls are made with the org's token"),
        Case("http://127.0.0.1.example.com", "'http://127.0.0.1.example.com' is plain http"),
        Case("a.example.com", "'a.example.com' is not a URL, write https:// or http://HOST"),
    ])
    func saysOfABaseURL(_ example: Case) {
        let found = problems(minimal.replacing("https://acme.example.com", with: example.text))
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("w.yaml:4:14: orgs.acme.baseURL: " + example.message) == true, "\(found)")
    }

    @Test(arguments: [
        ("https://A.example.com/", "https://a.example.com"), ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.9.0.1:1/", "http://127.9.0.1:1"), ("'http://[::1]:8080'", "http://[::1]:8080"),
    ])
    func takesABaseURL(_ written: String, _ read: String) throws {
        #expect(try load(minimal.replacing("https://acme.example.com", with: written)).orgs[0].baseURL == read)
    }
}

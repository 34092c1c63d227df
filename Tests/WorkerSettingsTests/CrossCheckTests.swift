// Settings that are each right and do not fit together.

import Testing

@testable import WorkerSettings

@Suite struct CrossCheckTests {
    /// Each stands below ``minimal``, whose last line is line 5.
    @Test(arguments: [
        Case("amqp: {certificateFile: c}", "6:25: amqp.certificateFile: needs its key, write keyFile: too"),
        Case("amqp: {keyFile: k}", "6:17: amqp.keyFile: needs its certificate, write certificateFile: too"),
        Case(
            "store: {caFile: ca.pem, url: 'redis://h'}",
            "6:17: store.caFile: is of no use with redis://, which is not encrypted, write rediss:// or remove it"),
        Case(
            "amqp: {reconnect: {minimum: 31s}}",
            "6:29: amqp.reconnect.minimum: 31s is above maximum (5s), lower it or raise maximum"),
        Case(
            "    retry: {minimum: 2s, maximum: 1s}",
            "6:22: orgs.acme.retry.minimum: 2s is above maximum (1s), lower it or raise maximum"),
        Case(
            "defaults: {retry: {maximum: 100ms}}",
            "6:29: defaults.retry.minimum: 200ms is above maximum (100ms), lower it or raise maximum"),
        Case(
            "defaults: {probe: {minimum: 2m}}",
            "6:29: defaults.probe.minimum: 2m is above maximum (1m), lower it or raise maximum"),
        Case(
            "    probe: {minimum: 20s, maximum: 10s}",
            "6:22: orgs.acme.probe.minimum: 20s is above maximum (10s), lower it or raise maximum"),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'https://10.0.0.5', tokenFile: t}\nhttp: {proxy: 'http://p:1'}",
            "6:37: orgs.b.baseURL: names an address, whose certificate cannot be checked through http.proxy, write the "
                + "name of the host"),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'https://h', oauth: {tokenURL: 'https://[::2]/t', clientId: c, "
                + "username: u, keyFiles: [k]}}\nhttp: {proxy: 'http://p:1'}",
            "6:68: orgs.b.oauth.tokenURL: names an address, whose certificate cannot be checked through http.proxy, write "
                + "the name of the host"),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'http://127.0.0.1:1', tokenFile: t}\nhttp: {proxy: 'http://p:1'}", ""),
        Case(
            "http: {proxy: 'http://u:p%FF@h:3'}",
            "6:15: http.proxy: has a user or password that is no UTF-8 text once it is decoded, percent-encode its UTF-8"
        ),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'https://h', oauth: {tokenURL: 'https://h/t<x>', clientId: c, "
                + "username: u, keyFiles: [k]}}",
            "6:68: orgs.b.oauth.tokenURL: 'https://h/t<x>' has a character in its path that no URL may hold, "
                + "percent-encode it"),
        Case(
            "queues: {routing.results: {}}",
            "6:10: queues.routing.results: is also answers.queue, choose another name for one of them"),
        Case(
            "queues: {routing.dead-letters: {}}",
            "6:10: queues.routing.dead-letters: is also answers.deadLetterQueue, choose another name for one of them"),
        Case(
            "answers: {queue: routing.dead-letters}",
            "6:18: answers.deadLetterQueue: is also answers.queue, choose another name for one of them"),
        Case(
            "answers: {allowReplyTo: ['routing.comm*']}",
            "6:25: answers.allowReplyTo: routing.comm* matches the commands queue routing.commands, to which answers "
                + "may never go, narrow the pattern"),
        Case(
            "answers: {allowReplyTo: [routing.dead-letters]}",
            "6:25: answers.allowReplyTo: routing.dead-letters matches the dead-letter queue routing.dead-letters, to "
                + "which answers may never go, narrow the pattern"),
        Case(
            "queues: {q: {concurrency: 10, prefetch: 9}}",
            "6:41: queues.q.prefetch: 9 is below the queue's concurrency (10), raise it to at least that"),
        Case(
            "queues: {a: {concurrency: 40}, b: {concurrency: 30}, c: {}}",
            "6:49: queues.b.concurrency: the queues' shares add up to 70, above worker.concurrency (64), lower them or "
                + "raise it"),
        Case(
            "queues: {a: {concurrency: 64}, b: {}}",
            "6:32: queues.b.concurrency: the other queues' shares take all of worker.concurrency (64), give this queue a "
                + "share too"),
        Case(
            "queues: {a: {concurrency: 64}}",
            "6:27: queues.a.concurrency: the queues' shares take all of worker.concurrency (64), leave some of it to "
                + "commands.replayQueue"),
        Case(
            "commands: {replayQueue: routing.results}",
            "6:25: commands.replayQueue: is also answers.queue, choose another name for one of them"),
        Case("queues: {}", ""),
        Case("queues:", ""),
        Case("worker:", ""),
        Case(
            "store: {retention: 15d}",
            "6:20: store.failureRetention: 14d is below store.retention (15d), raise it to at least that"),
        Case(
            "store: {lease: 20s}",
            "6:16: store.lease: store.lease (20s) must be longer than callTimeout + store.timeout + 5s (20s), raise the "
                + "lease or lower the timeouts"),
        Case(
            "    callTimeout: 60s\n    transferDeadline: 60s",
            "6:18: orgs.acme.callTimeout: store.lease (1m) must be longer than callTimeout + store.timeout + 5s (70s), "
                + "raise the lease or lower the timeouts\n"
                + "w.yaml:6:18: orgs.acme.callTimeout: 1m is not below transferDeadline (1m), so that no transfer could "
                + "be called, lower it"),
        Case(
            "commands: {transferDeadline: 10s}",
            "6:30: defaults.callTimeout: 10s is not below transferDeadline (10s), so that no transfer could be called, "
                + "lower it"),
        Case(
            "store: {retention: 60s}",
            "6:20: defaults.retry.budget: 2m is above store.retention (1m), lower it or raise the retention"),
        Case(
            "queues: {q: {defaultOrg: acm}}",
            "6:26: queues.q.defaultOrg: 'acm' is no org of these settings, did you mean acme?"),
        Case(
            "queues: {q: {allowedOrgs: [acme, 00D000000000002]}}",
            "6:34: queues.q.allowedOrgs: '00D000000000002' is no org of these settings, write an alias or id that "
                + "stands under orgs:"),
        Case(
            "queues: {q: {allowedOrgs: []}}",
            "6:27: queues.q.allowedOrgs: is an empty list, remove the key to allow all orgs or name some"),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'https://b.example.com', tokenFile: t}\n"
                + "queues: {q: {defaultOrg: b, allowedOrgs: [acme]}}",
            "7:26: queues.q.defaultOrg: 'b' is not among allowedOrgs, add it there"),
        Case(
            "queues: {amq.gen-1: {}}",
            "6:10: queues: 'amq.gen-1' starts with amq., which the broker keeps for itself, choose another name"),
        Case("queues: {q: {defaultOrg: 00D000000000001AAA, allowedOrgs: [acme]}}", ""),
        Case(
            "  b: {id: 00D000000000001AAA, baseURL: 'https://b.example.com', tokenFile: t}",
            "6:11: orgs.b.id: is also the id of acme, keep one org for it"),
        Case(
            "    tokenEnvironment: T",
            "6:23: orgs.acme.tokenEnvironment: and tokenFile are both given, keep one of them"),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'https://b.example.com', tokenEnvironment: T}",
            "6:80: orgs.b.tokenEnvironment: names the environment variable T, which is not set, set it"),
        Case(
            "  b: {id: 00D000000000002, baseURL: 'https://b.example.com', tokenEnvironment: 1-2}",
            "6:80: orgs.b.tokenEnvironment: is no name of an environment variable, write the name and not the token "
                + "itself"),
        Case(
            "  b:",
            "6:3: orgs.b.id: is missing, write the org's id (00D…)\n"
                + "w.yaml:6:3: orgs.b.baseURL: is missing, write https://DOMAIN.my.salesforce-scrt.com here or under "
                + "defaults:\n"
                + "w.yaml:6:3: orgs.b.tokenFile: is missing, write tokenFile:, tokenEnvironment: or oauth: here or under "
                + "defaults:"),
    ])
    func saysOfACombination(_ example: Case) {
        let found = problems(minimal + example.text + "\n").joined(separator: "\n")
        #expect(found == (example.message.isEmpty ? "" : "w.yaml:" + example.message))
    }

    @Test func aWorkerNeedsAnOrgAndToolsDoNot() {
        #expect(
            problems("log: {level: info}") == [
                "settings: orgs: no org is given, write at least one (ALIAS: {id: 00D…})"
            ])
        #expect(problems("log: {level: info}", purpose: .tools) == [])
    }

    @Test func aTokenOfTheEnvironmentMustBeSetForAWorkerAlone() {
        let file = minimal.replacing("tokenFile: acme.token", with: "tokenEnvironment: T")
        #expect(problems(file).count == 1)
        #expect(problems(file, environment: ["T": ""]).count == 1)
        #expect(problems(file, environment: ["T": "t"]) == [])
        #expect(problems(file, purpose: .tools) == [])
    }

    @Test func bothTokensUnderDefaultsAreReportedOnce() {
        let file = minimal.replacing("    tokenFile: acme.token\n", with: "")
        #expect(
            problems(file + "defaults: {tokenFile: a, tokenEnvironment: B}\n") == [
                "w.yaml:5:44: defaults.tokenEnvironment: and tokenFile are both given, keep one of them"
            ])
    }
}

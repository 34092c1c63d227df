// Flags over environment over file over defaults, and secrets unseen.

import Testing

@testable import WorkerSettings

@Suite struct PrecedenceTests {
    @Test func flagsGoOverEnvironmentOverFile() throws {
        let file = minimal + "worker: {concurrency: 10}\n"
        let variable = ["WORKER_CONCURRENCY": "20"]
        #expect(try load(minimal).worker.concurrency == 64)
        #expect(try load(file).worker.concurrency == 10)
        #expect(try load(file, environment: variable).worker.concurrency == 20)
        #expect(
            try load(file, environment: variable, flags: ["worker.concurrency": "30"]).worker.concurrency == 30)
    }

    @Test func anEmptyVariableIsNotSet() throws {
        let file = minimal + "worker: {concurrency: 10}\n"
        #expect(try load(file, environment: ["WORKER_CONCURRENCY": ""]).worker.concurrency == 10)
    }

    @Test func anOrgGoesOverTheDefaultsWhereverTheyComeFrom() throws {
        let file = """
            defaults: {callTimeout: 3s, tokenFile: all.token, retry: {attempts: 7}}
            orgs:
              acme: {id: 00D000000000001, baseURL: "https://a.example.com", callTimeout: 4s}
              globex: {id: 00D000000000002, baseURL: "https://b.example.com", tokenEnvironment: GLOBEX}
            """
        let settings = try load(file, environment: ["DEFAULTS_CALL_TIMEOUT": "5s", "GLOBEX": "t"])
        #expect(settings.orgs.map(\.callTimeout) == [.seconds(4), .seconds(5)])
        #expect(settings.orgs.map(\.token) == [.file("all.token"), .environment("GLOBEX")])
        #expect(settings.orgs.map(\.retry.attempts) == [7, 7])
        #expect(settings.orgs.map(\.maximumConcurrency) == [64, 64])
    }

    @Test func transferDeadlineComesFromTheOrgTheDefaultsOrTheCommands() throws {
        #expect(try load(minimal + "commands: {transferDeadline: 30s}\n").orgs[0].transferDeadline == .seconds(30))
        let both = minimal + "commands: {transferDeadline: 30s}\ndefaults: {transferDeadline: 20s}\n"
        #expect(try load(both).orgs[0].transferDeadline == .seconds(20))
        #expect(try load(minimal + "    transferDeadline: 15s\n").orgs[0].transferDeadline == .seconds(15))
    }

    @Test func queuesOfTheEnvironmentReplaceTheNamesAndKeepTheSettings() throws {
        let file = minimal + "queues: {one: {prefetch: 5}, two: {prefetch: 6}}\n"
        let queues = try load(file, environment: ["QUEUES": "two, three"]).queues
        #expect(queues.map(\.name) == ["two", "three"])
        #expect(queues.map(\.prefetch) == [6, 128])
    }

    @Test func severalBrokersInOneVariableOrAsAList() throws {
        let variable = "amqp://u:a,b@one:5672/v , amqps://two"
        let urls = try load(minimal + "amqp: {urls: [amqp://three]}\n", environment: ["AMQP_URL": variable]).amqp.urls
        #expect(urls.map(\.secretValue) == ["amqp://u:a,b@one:5672/v", "amqps://two"])
        let list = try load(minimal + "amqp: {urls: [amqp://three, 'amqp://[::1]:5673']}\n").amqp.urls
        #expect(list.map(\.description) == ["amqp://three", "amqp://[::1]:5673"])
    }

    @Test func everythingButOrgsComesFromTheEnvironment() throws {
        let settings = try Settings.load(
            file: nil,
            environment: [
                "AMQP_URL": "amqp://b", "STORE_URL": "memory:", "LOG_LEVEL": "debug", "LOG_FORMAT": "json",
                "ANSWERS_ALLOW_REPLY_TO": "a,b*", "HTTP_PROXY": "http://not.ours", "HTTP_PROXY_URL": "http://p:8080",
                "COMMANDS_MAXIMUM_BODY": "1MiB", "AMQP_RECONNECT_MINIMUM": "1s", "COMMANDS_HONOUR_REPLAY": "true",
            ], purpose: .tools)
        #expect(settings.store.location == .memory)
        #expect(settings.log == Settings.Log(level: .debug, format: .json, buffer: 1 << 20))
        #expect(settings.answers.allowReplyTo == [.queue("a"), .prefix("b")])
        #expect(settings.http.proxy?.description == "http://p:8080")
        #expect(settings.commands.maximumBody == 1 << 20)
        #expect(settings.amqp.reconnect.minimum == .seconds(1))
        #expect(settings.commands.honourReplay)
    }

    @Test func everyVariableAndFlagIsRead() {
        // A value that nothing takes shows that the setting is looked at, and names where it came from.
        for entry in SettingsReference.entries {
            guard let variable = entry.environment else { continue }
            let bad = "\u{1}"
            let fromVariable = problems(minimal, environment: [variable: bad])
            #expect(
                fromVariable.contains { $0.hasPrefix("environment variable \(variable): \(entry.key): ") },
                "\(variable)")
            let fromFlag = problems(minimal, flags: [entry.key: bad])
            #expect(fromFlag.contains { $0.hasPrefix("--set \(entry.key): ") }, "\(entry.key)")
        }
    }

    @Test func problemsOfAllSourcesComeTogether() {
        let found = problems(
            "worker: {concurrency: x}\n" + minimal, environment: ["STORE_LEASE": "9"], flags: ["log.level": "loud"])
        #expect(
            found == [
                "w.yaml:1:23: worker.concurrency: 'x' is not a whole number, write one from 1 to 10000",
                "environment variable STORE_LEASE: store.lease: '9' has no unit, write for example 30s "
                    + "(units: ms, s, m, h, d)",
                "--set log.level: 'loud' is not one of the choices, write "
                    + "trace, debug, info, notice, warning, error, critical",
            ])
    }

    @Test func flagsThatAreNoSettings() {
        #expect(
            problems(minimal, flags: ["worker.concurency": "1"]) == [
                "--set worker.concurency: is no setting, did you mean worker.concurrency?"
            ])
        for key in ["orgs.acme.callTimeout", "orgs.ALIAS.id"] {
            #expect(problems(minimal, flags: [key: "1s"]) == ["--set \(key): cannot be set so, write it into the file"])
        }
    }

    @Test func passwordsAreRefusedInFlags() {
        #expect(
            problems(minimal, flags: ["amqp.url": "amqp://u:hush@h"]) == [
                "--set amqp.url: holds a password, which other users of this machine can read here, "
                    + "write it into AMQP_URL or the file"
            ])
        #expect(problems(minimal, flags: ["amqp.url": "amqp://h"]).isEmpty)
        for url in ["postgres://u:hush@h/d", "postgres://h/d?user=u&password=hush", "redis://:hush@h"] {
            #expect(
                problems(minimal, flags: ["store.url": url]) == [
                    "--set store.url: holds a password, which other users of this machine can read here, "
                        + "write it into STORE_URL or the file"
                ])
        }
        #expect(problems(minimal, flags: ["store.url": "sqlite:a@b"]).isEmpty)
    }

    /// What stands before its slash could be a port, and all of it would be shown as host and path.
    @Test func aPasswordWithASlashIsNotTakenForAPath() {
        let found = problems(minimal, environment: ["AMQP_URL": "amqp://user:12/hush@h"])
        #expect(
            found == [
                "environment variable AMQP_URL: amqp.url: has an @ in its path, percent-encode a / in user or password as %2F "
                    + "and an @ in the path as %40"
            ])
    }

    /// Whatever a password stands in, and whatever is wrong with the rest.
    @Test(arguments: [
        "postgres://h?user=u&password=hush", "postgres:host=h password=hush", "host=h password=hush",
        "redis://h/0?password=hush", "postgres://h/a/b?password=hush",
    ])
    func messagesHoldNoPasswordOfAStore(_ url: String) {
        let found = problems(minimal, environment: ["STORE_URL": url])
        #expect(found.count == 1 && found.first?.contains("hush") == false, "\(found)")
    }

    @Test func descriptionsHoldNoPassword() throws {
        let file =
            minimal + "amqp: {url: 'amqps://user:hush@h:5671/v?password=hush'}\nhttp: {proxy: 'http://u:hush@p:1'}\n"
        let settings = try load(file)
        #expect(settings.amqp.urls[0].secretValue.contains("hush"))
        var dumped = ""
        dump(settings, to: &dumped)
        for text in ["\(settings)", String(reflecting: settings), dumped, "\(settings.amqp.urls)"] {
            #expect(!text.contains("hush"), "\(text)")
        }
        #expect(settings.amqp.urls[0].description == "amqps://***@h:5671/v")
    }

    @Test(arguments: [
        ("postgres://u:hush@h:5433/d?sslmode=verify-full&password=hush", "postgres://***@h:5433/d"),
        ("postgresql://u:hush@h/d", "postgresql://***@h/d"), ("redis://:hush@h", "redis://***@h"),
        ("redis://u:hush@[::1]:6380/3", "redis://***@[::1]:6380/3"), ("rediss://u:hush@h", "rediss://***@h"),
    ])
    func aStoreMayBeAServer(_ url: String, _ shown: String) throws {
        let location = try load(minimal, environment: ["STORE_URL": url]).store.location
        switch location {
        case .postgres(let found), .redis(let found):
            #expect(found.secretValue == url)
            #expect(found.description == shown)
        case .memory, .sqlite:
            Issue.record("expected a server, not \(location)")
        }
        #expect(!"\(location)".contains("hush") && !String(reflecting: location).contains("hush"))
    }

    @Test(arguments: [
        "amqp: {url: 'amqp://u:hush@h:0'}\n", "amqp: {url: 'http://u:hush@h'}\n", "amqp: 'amqp://u:hush@h'\n",
        "amqp: {urls: 'amqp://u:hush@h'}\n", "amqp: {url: [amqp://u:hush@h]}\n", "amqp: {url: 'amqp://u:hush@h@i'}\n",
        "amqp: {amqp://u:hush@h: 1}\n", "http: {proxy: 'u:hush@p'}\n", "log: {level: 'amqp://u:hush@h'}\n",
        "amqp: {url: \"amqp://u:hush@h\n", "amqp:\n  url: amqp://u:hush@h\n url: amqp://u:hush@i\n",
        "amqp:\n  url: amqp://u:hush@h\n  url: amqp://u:hush@i\n", "    tokenEnvironment: 00D!hush\n",
        "    token: 00D!hush\n", "00D!hush: {}\n", "store: {url: 'postgres://u:hush@h'}\n",
        "store: {url: 'postgres://u:hush@h/a/b'}\n", "store: {url: 'redis://u:hush@h/x'}\n",
        "store: {url: 'rediss://u:hush@h/x'}\n", "store: {url: 'mysql://u:hush@h/d'}\n",
        "defaults: {baseURL: 'https://u:hush@h'}\n", "  amqp://u:hush@h: {id: x}\n", "queues: {amqp://u:hush@h: 1}\n",
    ])
    func messagesHoldNoPassword(_ text: String) {
        let found = problems(minimal + text)
        #expect(!found.isEmpty)
        #expect(!found.joined().contains("hush"), "\(found)")
    }
}

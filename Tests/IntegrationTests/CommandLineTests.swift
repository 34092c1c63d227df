// The command line: help, exit codes, and words that say what is wrong.

import AMQP
import CommandClient
import Foundation
import InteractionAPI
import InteractionSandbox
import TestSupport
import Testing

@Suite("Command line", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct CommandLineTests {
    /// How a run of the program ended, and all that it said.
    struct Run {
        var exit: ChildProcess.Exit
        var output = ""
        var error = ""

        init(_ child: ChildProcess) async {
            for await line in child.lines() {
                switch line.source {
                case .output: output += line.text + "\n"
                case .error: error += line.text + "\n"
                }
            }
            exit = await child.exit()
        }

        init(_ arguments: [String], environment: [String: String] = [:]) async throws {
            await self.init(
                try ChildProcess(ChildProcess.product("route-worker"), arguments, environment: environment))
        }
    }

    @Test(
        "Every command has help with examples",
        arguments: [
            [], ["run"], ["send"], ["sandbox"], ["topology"], ["topology", "declare"], ["topology", "check"], ["check"],
            ["explain"], ["pause"], ["resume"], ["mode"], ["controls"], ["forget"], ["version"], ["dead-letters"],
            ["dead-letters", "list"], ["dead-letters", "show"],
            ["dead-letters", "export"], ["dead-letters", "replay"], ["dead-letters", "discard"],
            ["dead-letters", "resolve"], ["dead-letters", "trail"],
        ])
    func help(command: [String]) async throws {
        let run = try await Run(command + ["--help"])
        #expect(run.exit == .code(0))
        #expect(run.output.contains("EXAMPLES"))
        #expect(run.output.contains((["route-worker"] + command).joined(separator: " ")))
        #expect(run.error.isEmpty)
    }

    @Test("The version is printed")
    func version() async throws {
        let run = try await Run(["version"])
        #expect(run.exit == .code(0))
        #expect(run.output.hasPrefix("route-worker "))
    }

    /// Runs the program by a shell, which may do to its descriptors what it likes.
    static func shell(
        _ arguments: [String], _ redirections: String, environment: [String: String] = [:]
    ) throws -> ChildProcess {
        try ChildProcess(
            URL(fileURLWithPath: "/bin/sh"),
            ["-c", "exec \"$0\" \"$@\" \(redirections)", ChildProcess.product("route-worker").path] + arguments,
            environment: environment)
    }

    @Test("Results that could not be written fail a command", arguments: [">/dev/full", ">&-"])
    func lostOutput(redirection: String) async throws {
        let run = await Run(try Self.shell(["config", "example"], redirection))
        #expect(run.exit == .code(1) && run.error.contains("standard output"), "\(run.exit) \(run.error)")
    }

    @Test(
        "Wrong usage ends with 2",
        arguments: [
            ["walk"], ["run", "--fast"], ["send"], ["send", "--generate", "some"], ["run", "--set", "novalue"],
            ["send", "--generate", "5", "--conversation", "c"], ["sandbox", "--fault", "503@often"],
            ["dead-letters", "list", "--older-than", "soon"], ["dead-letters", "list", "--outcome", "bad"],
            ["dead-letters", "replay", "--all", "--deadline", "0s"], ["dead-letters", "discard", "--all", "--yes"],
            ["mode"], ["mode", "fast"], ["mode", "passthrough"], ["mode", "live", "--to", "q"], ["mode", "shadow"],
            ["pause", "--reason", ""], ["send", "--generate", "0"],
            ["send", "--conversation", "c", "--attribute", "novalue"],
            ["send", "--conversation", "c", "--patience", "inf"],
        ])
    func usage(arguments: [String]) async throws {
        let run = try await Run(arguments)
        #expect(run.exit == .code(2))
        #expect(run.error.contains("Usage: route-worker \(arguments == ["walk"] ? "<subcommand>" : arguments[0])"))
        #expect(run.output.isEmpty)
    }

    @Test(
        "A broken configuration ends with 78 and says where and what is wrong",
        arguments: [
            ("worker:\n  concurrency: many\n", "worker.yaml:2", "concurrency"),
            ("worker:\n  concurency: 5\n", "worker.yaml:2", "concurrency"),
            ("worker: {concurrency: 5\n", "worker.yaml:2", "YAML"),
            ("amqp:\n  heartbeat: 30s\namqp:\n  heartbeat: 20s\n", "worker.yaml:1", "again in line 3"),
        ])
    func configuration(file: String, place: String, word: String) async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(file, to: "worker.yaml")
        for command in ["run", "check"] {
            let run = try await Run([command, "--config", path])
            #expect(run.exit == .code(78))
            #expect(run.error.contains(place))
            #expect(run.error.contains(word))
        }
    }

    @Test("A missing file, no org, and a store that cannot be opened end with 78 too")
    func moreConfiguration() async throws {
        let folder = try TemporaryFolder()
        var run = try await Run(["run", "--config", folder.path("nothing.yaml")])
        #expect(run.exit == .code(78))
        #expect(run.error.contains("nothing.yaml"))

        run = try await Run(["run"])
        #expect(run.exit == .code(78))
        #expect(run.error.contains("orgs") && run.error.contains("--config"))

        try await withHarness(HarnessOptions(settings: ["store.url=sqlite:/nowhere/at/all.db"])) { harness in
            let run = await Run(try harness.tool("run"))
            #expect(run.exit == .code(78))
            #expect(run.error.contains("store.url"))
        }
    }

    @Test("A file that is not there, or cannot be read, is named with what is wrong with it")
    func unreadableFile() async throws {
        let folder = try TemporaryFolder()
        let config = try folder.write("amqp: {heartbeat: 30s}\n", to: "worker.yaml")
        let none = folder.path("none")
        for command in [["send", "--config", config, "--file"], ["sandbox", "--orgs"]] {
            for (path, reason) in [(none, "No such file or directory"), (folder.url.path, "Is a directory")] {
                let run = try await Run(command + [path])
                #expect(run.exit == .code(1))
                #expect(run.error.contains("cannot read \(path): \(reason)\n"), "\(run.error)")
            }
        }
    }

    @Test("A sandbox that cannot listen says why in plain words")
    func sandboxElsewhere() async throws {
        // RFC 5737: an address of documentation, which no host has.
        let run = try await Run(["sandbox", "--host", "192.0.2.1"])
        #expect(run.exit == .code(1))
        #expect(
            run.error.contains("cannot listen on 192.0.2.1:8080: Cannot assign requested address"), "\(run.error)")
    }

    @Test("check finds everything well, and each part that is not")
    func check() async throws {
        var options = HarnessOptions()
        options.sandbox.acceptsAnyToken = false
        options.sandbox.fixedTokens = ["a-token"]
        try await withHarness(options) { harness in
            var run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(0), "\(run.output)")
            for part in ["configuration", "broker", "queues", "store", "org acme", "org globex"] {
                #expect(run.output.contains("ok    \(part):"))
            }
            #expect(harness.sandbox.summary().totals.created == 0)

            run = await Run(try harness.tool("check", "--org", "globex"))
            #expect(run.exit == .code(0) && run.output.contains("ok    org globex:"), "\(run.output)")
            #expect(!run.output.contains("acme"))
            let requests = harness.sandbox.summary().totals
            run = await Run(try harness.tool("run", "--dry-run"))
            #expect(run.exit == .code(0), "\(run.output)")
            for part in ["configuration", "broker", "queues", "store"] {
                #expect(run.output.contains("ok    \(part):"))
            }
            #expect(run.output.contains("ok    org acme: there is a token, and http://127.0.0.1:"))
            #expect(harness.sandbox.summary().totals == requests)
            let file = URL(fileURLWithPath: harness.configFile)
            let configuration = try String(contentsOf: file, encoding: .utf8)
            // Nobody listens on port 1.
            try configuration.replacing(/127.0.0.1:\d+\n/, with: "127.0.0.1:1\n").write(
                to: file, atomically: true, encoding: .utf8)
            run = await Run(try harness.tool("run", "--dry-run"))
            #expect(run.exit == .code(1) && run.output.contains("FAIL  org acme: http://127.0.0.1:1"), "\(run.output)")
            try configuration.write(to: file, atomically: true, encoding: .utf8)

            // A proxy may be named by an IPv6 address. Nobody listens there either.
            run = await Run(try harness.tool("check", "--org", "acme", "--set", "http.proxy=http://[::1]:1"))
            #expect(run.exit == .code(1) && run.output.contains("no connection to [::1]:1"), "\(run.output)")

            run = await Run(try harness.tool("check", "--org", "nobody"))
            #expect(run.exit == .code(78) && run.error.contains("acme, globex"), "\(run.error)")

            _ = try harness.folder.write("another-token\n", to: "token")
            run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(1))
            #expect(run.output.contains("FAIL  org acme:"))
            #expect(run.output.contains("10004"))
            #expect(!run.output.contains("another-token") && !run.error.contains("another-token"))

            _ = try harness.folder.write("a-token\n", to: "token")
            try await harness.delete(harness.deadLetters)
            run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(1))
            #expect(run.output.contains("FAIL  queue '\(harness.deadLetters)': it is missing"))
            #expect(run.output.contains("ok    broker:"))
        }
    }

    @Test("check explains every code of the configuration, and a token that is not accepted, by what to do in Setup")
    func checkExplainsCodes() async throws {
        let codes = AnswerCode.table.filter { $0.kind == .configuration || $0.kind == .token }
        let orgs = codes.enumerated().map {
            (alias: "code\($0.element.code)", id: "00D0000000001\($0.offset + 10)", settings: "")
        }
        try await withHarness(HarnessOptions(orgs: orgs)) { harness in
            for (code, org) in zip(codes, orgs) {
                try harness.sandbox.add(Fault(.status, match: .init(org: org.id), code: code.code))
            }
            let run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(1))
            for (code, org) in zip(codes, orgs) {
                let line = try #require(
                    run.output.split(separator: "\n").first { $0.hasPrefix("FAIL  org \(org.alias): ") })
                #expect(line.contains("code \(code.code): \(code.meaning)"))
                if let hint = code.hint { #expect(line.contains("To do: \(hint)")) }
                #expect(code.kind == .token || code.hint != nil)
            }
        }
    }

    @Test(
        "check --org explains a token that is refused by what to do in Setup, and shows no secret",
        arguments: [
            ("invalid_grant", "user hasn't approved this consumer", "pre-authorised"),
            ("invalid_grant", "audience is invalid", "set audience to https://login.salesforce.com"),
            ("invalid_client", "client identifier invalid", "compare clientId with the app's consumer key"),
            ("invalid_scope", "scope not allowed", "give the app the OAuth scopes interaction_api"),
        ])
    func checkExplainsRefusals(error: String, said: String, advice: String) async throws {
        var options = HarnessOptions()
        options.usesOrgsFolder = true
        try await withHarness(options) { harness in
            let key = try await harness.addOAuthOrg("initech")
            #expect(await Run(try harness.tool("check", "--org", "initech")).exit == .code(0))
            var fault = Fault(.status, match: .init(endpoint: .token), status: 400)
            fault.body = #"{"error":"\#(error)","error_description":"\#(said)"}"#
            try harness.sandbox.add(fault)
            let run = await Run(try harness.tool("check", "--org", "initech"))
            #expect(run.exit == .code(1))
            #expect(run.output.contains("FAIL  org initech: ") && run.output.contains(advice))
            #expect(run.output.contains("\(error): \(said)"))
            let secret = try String(contentsOfFile: key, encoding: .utf8).split(separator: "\n")[1]
            #expect(!run.output.contains(secret) && !run.output.contains("eyJ"))
        }
    }

    @Test("check says that there is no broker, and never shows its password")
    func deadBroker() async throws {
        try await withHarness { harness in
            let url = "amqp://user:a-secret@127.0.0.1:\(try FreePort.find())/"
            let run = try await Run(
                ["check", "--config", harness.configFile], environment: ["AMQP_URL": url])
            #expect(run.exit == .code(1))
            #expect(run.output.contains("FAIL  broker:"))
            #expect(run.output.contains("127.0.0.1"))
            // Everything else is looked at all the same.
            #expect(run.output.contains("ok    org acme:"))
            #expect(!run.output.contains("a-secret") && run.error.isEmpty)
        }
    }

    @Test(
        "check says that what answers is no management API",
        arguments: [("http", "does not speak HTTP"), ("https", "is TLS spoken on that port?")])
    func notTheManagement(scheme: String, words: String) async throws {
        try await withHarness { harness in
            let broker = try #require(try URLComponents(string: TestBroker.url)?.port)
            let run = await Run(
                try harness.tool("check", "--set", "amqp.managementURL=\(scheme)://127.0.0.1:\(broker)"))
            #expect(run.exit == .code(1))
            let line = try #require(run.output.split(separator: "\n").first { $0.hasPrefix("FAIL") }, "\(run.output)")
            #expect(line.hasPrefix("FAIL  management API: ") && line.contains(words), "\(line)")
        }
    }

    @Test("send says at once that it reaches no broker or queue, or that no answer would reach it")
    func sendInVain() async throws {
        try await withHarness { harness in
            let command = ["--org", "acme", "--conversation", newID()]
            var run = try await Run(
                ["send", "--config", harness.configFile] + command,
                environment: ["AMQP_URL": "amqp://127.0.0.1:\(try FreePort.find())/"])
            #expect(run.exit == .code(1) && run.error.contains("cannot send: cannot connect to"), "\(run.error)")
            run = await Run(try harness.tool("send", command + ["--to", "nowhere"]))
            #expect(run.exit == .code(1) && run.error.contains("there is no queue 'nowhere'"), "\(run.error)")
            run = await Run(
                try harness.tool("send", command + ["--wait", "--set", "answers.allowReplyTo=elsewhere.*"]))
            #expect(run.exit == .code(78) && run.error.contains("answers.allowReplyTo"), "\(run.error)")
            #expect(try await harness.left(in: harness.queues[0]) == 0)
        }
    }

    /// The URL of the run's own server, changed.
    private func serverURL(of kind: TestDatabase, _ change: (inout URLComponents) throws -> Void) throws -> String {
        let shared = try kind.url
        var parts = try #require(URLComponents(string: shared))
        try change(&parts)
        return try #require(parts.string)
    }

    @Test("A store that refuses the password fails check, and run does not start", arguments: TestDatabase.allCases)
    func refusingStore(kind: TestDatabase) async throws {
        let url = try serverURL(of: kind) { $0.password = "not-the-password" }
        try await withHarness(HarnessOptions(storeURL: url)) { harness in
            var run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(78), "\(run.output)")
            #expect(
                run.output.contains("FAIL  store:") && run.output.contains("set user and password"), "\(run.output)")
            // Everything else is looked at all the same.
            #expect(run.output.contains("ok    org acme:"))
            #expect(!run.output.contains("not-the-password") && !run.error.contains("not-the-password"))

            run = await Run(try harness.tool("run"))
            #expect(run.exit == .code(78), "\(run.error)")
            #expect(run.error.contains("store.url") && run.error.contains("set user and password"), "\(run.error)")
            #expect(!run.output.contains("not-the-password") && !run.error.contains("not-the-password"))
        }
    }

    @Test(
        "A store of a newer version that this one cannot read is refused, and left as it is", arguments: LaterStore.all)
    func laterStore(kind: LaterStore) async throws {
        let schema = uniqueName("later").replacing("-", with: "_")
        var options = HarnessOptions()
        if case .postgres = kind {
            let server = try TestDatabase.postgres.url
            try await Self.psql(server, "CREATE SCHEMA \(schema)")
            options.storeURL = "\(server)?options=-csearch_path%3D\(schema)"
        }
        try await withHarness(options) { harness in
            // This version makes its own tables first.
            var run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(0), "\(run.output)")
            switch kind {
            case .sqlite:
                // The user version stands in the header in four bytes, big-endian (sqlite.org/fileformat.html §1.3).
                let file = try FileHandle(forUpdating: URL(fileURLWithPath: harness.folder.path("store.db")))
                try file.seek(toOffset: 60)
                try file.write(contentsOf: Data([0, 0, 0, 99]))
                try file.close()
            case .postgres:
                try await Self.psql(
                    try TestDatabase.postgres.url,
                    "UPDATE \(schema).route_worker_schema SET version = 99, oldest_reader = 98")
            }
            for command in ["run", "check", "explain"] {
                let arguments = command == "explain" ? [newID()] : []
                run = await Run(try harness.tool(command, arguments))
                #expect(run.exit == .code(78), "\(command): \(run.output)\(run.error)")
                let said = command == "check" ? run.output : run.error
                #expect(said.contains("its tables have version 99") && said.contains("run the newer worker"), "\(said)")
            }
        }
    }

    enum LaterStore: Sendable {
        case sqlite
        case postgres

        static let all: [LaterStore] = [.sqlite, .postgres]
    }

    private static func psql(_ url: String, _ sql: String) async throws {
        try await ChildProcess.run(
            URL(fileURLWithPath: "/usr/bin/env"), ["psql", url, "-v", "ON_ERROR_STOP=1", "-qAtXc", sql])
    }

    @Test("A store that cannot be reached fails check, and run waits for it", arguments: TestDatabase.allCases)
    func unreachableStore(kind: TestDatabase) async throws {
        let url = try serverURL(of: kind) { $0.port = try FreePort.find() }
        try await withHarness(HarnessOptions(storeURL: url)) { harness in
            let run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(1), "\(run.output)")
            #expect(run.output.contains("FAIL  store: the store is unavailable"), "\(run.output)")
            #expect(run.output.contains("Connection refused") && !run.output.contains("errno"), "\(run.output)")

            let worker = try await harness.startWorker()
            #expect(worker.transcript.contains("the store is unavailable"))
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("check finds every kind of store well", arguments: HarnessOptions.Store.allCases)
    func wellStore(kind: HarnessOptions.Store) async throws {
        var options = HarnessOptions()
        options.store = kind
        try await withHarness(options) { harness in
            let run = await Run(try harness.tool("check"))
            #expect(run.exit == .code(0) && run.output.contains("ok    store:"), "\(run.output)")
        }
    }

    @Test("topology declares what is missing, and tells what is otherwise")
    func topology() async throws {
        try await withHarness { harness in
            #expect(await Run(try harness.tool("topology", "check")).exit == .code(0))
            try await harness.delete(harness.queues[0])
            try await harness.delete(harness.results)
            _ = try await AMQPAdmin.withConnection(harness.broker) { admin in
                try await admin.declareQueue(harness.results, arguments: ["x-queue-type": .string("classic")])
            }
            let run = await Run(try harness.tool("topology", "check"))
            #expect(run.exit == .code(1))
            #expect(run.output.contains("queue '\(harness.queues[0])': it is missing"))
            #expect(run.output.contains("queue '\(harness.results)': it is a classic queue and must be a quorum queue"))
            #expect(run.output.contains("$ route-worker topology declare -c "))

            #expect(await Run(try harness.tool("topology", "declare")).exit == .code(1))
            try await harness.delete(harness.results)
            #expect(await Run(try harness.tool("topology", "declare")).exit == .code(0))
            #expect(await Run(try harness.tool("topology", "check")).exit == .code(0))
        }
    }

    @Test("send waits for the answers, shows them, and counts effects at the sandbox")
    func send() async throws {
        try await withHarness { harness in
            let ready = harness.folder.path("ready")
            let worker = try harness.tool("run", "--ready-file", ready)
            try await until("the ready file") { FileManager.default.fileExists(atPath: ready) }
            let (id, conversation) = (newID(), newID())
            var run = await Run(
                try harness.tool(
                    "send", "--org", "acme", "--conversation", conversation, "--request-id", id, "--wait", "--json"))
            #expect(run.exit == .code(0), "\(run.error)")
            #expect(run.output.contains(id) && run.output.contains("\"outcome\":\"succeeded\""))

            let file = try harness.folder.write(
                """
                {"command": "delete", "org": "acme", "payload": {"conversationIdentifier": "\(conversation)"}}
                {"raw": {"headers": {"Command": "route"}, "body": "no JSON"}}

                """, to: "commands.jsonl")
            run = await Run(try harness.tool("send", "--file", file, "--wait"))
            #expect(run.exit == .code(0), "\(run.error)")
            #expect(run.output.contains("succeeded") && run.output.contains("invalid"))
            // Of the second, which has no id, what is wrong stands below the table in a sentence.
            #expect(run.output.contains("\n–: the RequestId is missing"), "\(run.output)")

            #expect(await worker.stop() == .code(0))
            run = await Run(
                try harness.tool("send", "--org", "acme", "--conversation", newID(), "--wait", "--patience", "0.5"))
            #expect(run.exit == .code(1))
            #expect(run.error.contains("is a worker running?"))
        }
    }
}

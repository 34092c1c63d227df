// SIGHUP: orgs come, change, break and go while commands flow; nothing is dropped.

import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Reloading", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct ReloadTests {
    private func reload(_ worker: ChildProcess, _ expected: String) async throws {
        worker.send(SIGHUP)
        try await worker.line(containing: expected)
    }

    @Test("Orgs of a folder come, change, break and go while commands flow")
    func folder() async throws {
        var options = HarnessOptions()
        options.usesOrgsFolder = true
        try await withHarness(options) { harness in
            let worker = try await harness.startWorker()
            let flow = (0..<200).map { _ in CommandSpec.route() }
            let answers = try harness.collectAnswers()
            async let sending: Void = harness.send(flow)

            let initech = "id: 00D000000000003AAA\n"
            _ = try harness.folder.write(initech, to: "orgs/initech.yaml")
            try await reload(worker, "reloaded added=initech")
            #expect(try await harness.ask(.route(org: "initech"))[0].outcome == .succeeded)

            _ = try harness.folder.write("another-token\n", to: "token-2")
            _ = try harness.folder.write(
                initech + "tokenFile: \(harness.folder.path("token-2"))\n", to: "orgs/initech.yaml")
            try await reload(worker, "reloaded changed=initech")
            #expect(try await harness.ask(.route(org: "initech"))[0].outcome == .succeeded)

            _ = try harness.folder.write(initech + "\tbroken", to: "orgs/initech.yaml")
            try await reload(worker, "it goes on with the settings it had")
            #expect(try await harness.ask(.route(org: "initech"))[0].outcome == .succeeded)

            try FileManager.default.removeItem(atPath: harness.folder.path("orgs/initech.yaml"))
            try await reload(worker, "removed=initech")
            #expect(try await harness.ask(.route(org: "initech"))[0].outcome == .invalid)

            // Back and bad: what it had before it was removed is nobody's any more.
            _ = try harness.folder.write(initech + "baseURL: none\n", to: "orgs/initech.yaml")
            try await reload(worker, "no call is made for it")
            let waiting = CommandSpec.route(org: "initech")
            try await harness.send([waiting])
            let lot = ParkingQueue.name(of: harness.queues[0], org: try #require(OrgID("00D000000000003")))
            try await until("a parked command") { try await harness.ready(in: lot) == 1 }
            #expect(!harness.sandbox.ledger().contains { $0.requestID == waiting.id })

            try await sending
            let all = try await answers.first(flow.count)
            #expect(Set(all.compactMap(\.requestID)).isSuperset(of: flow.map(\.id)))
            #expect(all.filter { $0.outcome == .succeeded }.count >= flow.count)
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("A reload that is asked for while the worker starts, and has read its settings, is made when it is up")
    func early() async throws {
        // A store that takes connections and says nothing holds up the start.
        let (listener, port) = try FreePort.bound()
        defer { close(listener) }
        #expect(listen(listener, 16) == 0)
        var options = HarnessOptions(settings: ["store.timeout=2s"])
        options.usesOrgsFolder = true
        options.storeURL = "redis://127.0.0.1:\(port)"
        try await withHarness(options) { harness in
            let worker = try harness.tool("run")
            try await until("a connection") {
                var arrival = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
                return poll(&arrival, 1, 0) == 1
            }
            _ = try harness.folder.write("id: 00D000000000003AAA\n", to: "orgs/initech.yaml")
            try await reload(worker, "reloaded added=initech")
            #expect(await worker.stop() == .code(0))
        }
    }

    /// What keeps an org from being called, and what mends it; `FOLDER` and `URL` stand for those of the test.
    enum Mending: String, CaseIterable {
        case baseURL = "baseURL: http://127.0.0.1:1"
        case tokenFile = "tokenFile: FOLDER/none"
        case credentials =
            "oauth: {tokenURL: URL/services/oauth2/token, clientId: app, username: me@00D000000000009, keyFiles: [FOLDER/key.pem]}"
        case keyFile =
            "oauth: {tokenURL: URL/services/oauth2/token, clientId: app, username: me@00D000000000003, keyFiles: [FOLDER/late.pem]}"
        case misconfigured = "callTimeout: forever"
        case context = "defaultContext: Another_Channel"
    }

    @Test("An org in trouble is tried at once when a reload may have mended it", arguments: Mending.allCases)
    func mending(_ mending: Mending) async throws {
        var options = HarnessOptions(settings: [
            "defaults.probe.minimum=10m", "defaults.probe.maximum=10m", "defaults.breaker.minimumCalls=1",
            "defaults.retry.minimum=10ms",
        ])
        options.usesOrgsFolder = true
        options.sandbox.orgs = [SandboxOrg(id: "00D000000000003", contexts: ["Partner1_Channel1"])]
        try await withHarness(options) { harness in
            let folder = harness.folder
            let url = try await harness.sandbox.baseURL
            let openssl = URL(fileURLWithPath: "/usr/bin/env")
            try await ChildProcess.run(openssl, ["openssl", "genrsa", "-out", folder.path("key.pem"), "2048"])
            _ = try folder.write("00D000000000009!of-another-org", to: "none")
            let write = { (settings: String) in
                let settings = settings.replacing("FOLDER", with: folder.url.path)
                    .replacing("URL/", with: url + "/")
                _ = try folder.write("id: 00D000000000003AAA\n\(settings)\n", to: "orgs/initech.yaml")
            }
            try write(mending.rawValue)
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let commands = (0..<5).map { _ in CommandSpec.route(org: "initech") }
            try await harness.send(commands)
            try await worker.line(containing: "the org is parked")
            let lot = ParkingQueue.name(of: harness.queues[0], org: try #require(OrgID("00D000000000003")))
            try await until("parked commands") { try await harness.ready(in: lot) == commands.count }
            #expect(answers.all.isEmpty)

            switch mending {
            case .baseURL, .tokenFile, .misconfigured, .context: try write("")
            case .credentials: try write(mending.rawValue.replacing("0009", with: "0003"))
            case .keyFile:
                try FileManager.default.moveItem(atPath: folder.path("key.pem"), toPath: folder.path("late.pem"))
            }
            try await reload(worker, "reloaded")
            try await answers.answered(commands.count)
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            #expect(Set(answers.all.compactMap(\.requestID)) == Set(commands.map(\.id)))
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("A rate limit that a reload brings is shared by the workers")
    func rateLimit() async throws {
        try await withHarness { harness in
            let workers = [try await harness.startWorker(), try await harness.startWorker()]
            for worker in workers { try await worker.line(containing: "sharing the rate limits workers=2") }
            let settings = try String(contentsOfFile: harness.configFile, encoding: .utf8)
            let limited = settings.replacing("acme: {", with: "acme: {rateLimit: 10, ")
            try limited.write(toFile: harness.configFile, atomically: true, encoding: .utf8)
            for worker in workers { try await reload(worker, "reloaded changed=acme") }

            let answers = try harness.collectAnswers()
            let start = ContinuousClock.now
            try await harness.send((0..<40).map { _ in CommandSpec.route() })
            try await answers.answered(40)
            // One second's worth at once, the other thirty one by one; with a whole rate each it would be a second.
            #expect(ContinuousClock.now - start >= .milliseconds(2500))
            for worker in workers { #expect(await worker.stop() == .code(0)) }
        }
    }
}

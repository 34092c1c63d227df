// SIGHUP: orgs come, change, break and go while commands flow; nothing is dropped.

import CommandClient
import Foundation
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

            try await sending
            let all = try await answers.first(flow.count)
            #expect(Set(all.compactMap(\.requestID)).isSuperset(of: flow.map(\.id)))
            #expect(all.filter { $0.outcome == .succeeded }.count >= flow.count)
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

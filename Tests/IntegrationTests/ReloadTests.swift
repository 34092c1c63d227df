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
}

// A worker and the server of its store: whom it trusts, and what it does while the server does not answer.

import CommandClient
import Foundation
import InteractionSandbox
import TestSupport
import Testing

@Suite("The store's server", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct StoreServerTests {
    @Test(
        "Over TLS only a trusted server of the right name will do; with another one the worker ends with 78",
        arguments: TestDatabase.allCases)
    func overTLS(kind: TestDatabase) async throws {
        let keys = try await TestKeys()
        try await withPrivateDatabase(kind, tls: keys.server) { server in
            let url = server.url.replacing("127.0.0.1", with: "localhost")
            try await withHarness { harness in
                let stranger = try harness.tool(
                    "run", environment: ["STORE_URL": url, "STORE_CA_FILE": keys.path("stranger.pem")])
                #expect(await stranger.exit() == .code(78))
                try await stranger.line(containing: "certificate")
                let elsewhere = try harness.tool(
                    "run", environment: ["STORE_URL": server.url, "STORE_CA_FILE": keys.path("trusted.pem")])
                #expect(await elsewhere.exit() == .code(78))
                try await elsewhere.line { $0.contains(/another host|does not match host name/) }

                let worker = try await harness.startWorker(
                    environment: ["STORE_URL": url, "STORE_CA_FILE": keys.path("trusted.pem")])
                let command = CommandSpec.route()
                let answers = try await harness.ask(command, command)
                #expect(answers.map(\.outcome) == [.succeeded, .succeeded])
                #expect(answers.map(\.duplicate) == [false, true])
                #expect(harness.sandbox.effects(of: command.id).requests == 1)
                #expect(await worker.stop() == .code(0))
            }
        }
    }

    @Test("Calls whose results it cannot take are recorded once it answers again, and not made again")
    func frozen() async throws {
        // Together, since they mostly wait.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for kind in TestDatabase.allCases { group.addTask { try await Self.frozen(kind) } }
            try await group.waitForAll()
        }
    }

    private static func frozen(_ kind: TestDatabase) async throws {
        try await withPrivateDatabase(kind) { server in
            try await withHarness(HarnessOptions(settings: ["store.timeout=1s"])) { harness in
                let worker = try await harness.startWorker(environment: ["STORE_URL": server.url])
                let answers = try harness.collectAnswers()
                try harness.sandbox.add(Fault(shorthand: "latency=1500"))
                let called = (0..<5).map { _ in CommandSpec.route() }
                try await harness.send(called)
                try await until("the calls") { harness.sandbox.ledger().count == 5 }
                try await server.suspend()
                try await worker.line(containing: "cannot record")
                // One more, which is not called for while nobody can claim it.
                let late = CommandSpec.route()
                try await harness.send([late])
                try await worker.line(containing: "cannot claim")
                #expect(harness.sandbox.ledger().count == 5)
                try await server.resume()

                try await answers.first(6)
                // A server that is gone altogether is no different.
                try await server.kill()
                let later = CommandSpec.route()
                try await harness.send([later])
                let known = failures(worker)
                try await until("a claim that fails again") { failures(worker) > known }
                try await server.restart()
                try await answers.first(7)
                #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
                #expect(Set(answers.all.compactMap(\.requestID)) == Set((called + [late, later]).map(\.id)))
                #expect(harness.sandbox.ledger().count == 7)
                #expect(await worker.stop() == .code(0))
                #expect(try await harness.left(in: harness.queues[0]) == 0)
            }
        }
    }

    /// Ended with 78 it would stay down for good: systemd is told not to start it again.
    @Test("A worker that is started while the store fails over waits until it meets a primary")
    func replica() async throws {
        try await withPrivateDatabase(.redis, settings: ["replicaof=127.0.0.1 1"]) { server in
            try await withHarness { harness in
                let worker = try await harness.startWorker(environment: ["STORE_URL": server.url])
                let answers = try harness.collectAnswers()
                let command = CommandSpec.route()
                try await harness.send([command])
                try await worker.line(containing: "cannot claim")
                try await ChildProcess.run(
                    URL(fileURLWithPath: "/usr/bin/env"),
                    ["redis-cli", "--no-auth-warning", "-e", "-u", server.url, "REPLICAOF", "NO", "ONE"])
                try await answers.first(1)
                #expect(answers.all.map(\.outcome) == [.succeeded])
                #expect(harness.sandbox.ledger().count == 1)
                #expect(await worker.stop() == .code(0))
            }
        }
    }

    private static func failures(_ worker: ChildProcess) -> Int {
        worker.transcript.components(separatedBy: "cannot claim").count
    }
}

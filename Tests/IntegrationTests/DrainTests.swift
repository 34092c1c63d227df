// SIGTERM: what is under way is finished, what is not started stays in its queue, in order.

import CommandClient
import Foundation
import InteractionSandbox
import TestSupport
import Testing

@Suite("Draining", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct DrainTests {
    @Test("Calls under way are answered and acknowledged; the rest stays in order")
    func drain() async throws {
        let options = HarnessOptions(settings: ["worker.concurrency=4", "worker.drainTimeout=60s"])
        try await withHarness(options) { harness in
            try harness.sandbox.add(Fault(shorthand: "latency=3000"))
            let worker = try await harness.startWorker()
            // Six conversations of four, so that something waits in every lane.
            let conversations = (0..<6).map { _ in newID() }
            let commands = (0..<24).map { CommandSpec.route(conversations[$0 % 6]) }
            try await harness.send(commands)
            try await until("four calls") { harness.sandbox.ledger().count >= 4 }
            #expect(await worker.stop() == .code(0))

            let called = Set(harness.sandbox.ledger().compactMap(\.requestID))
            let answers = try harness.collectAnswers()
            #expect(Set(try await answers.first(called.count).compactMap(\.requestID)) == called)
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            let left = try await harness.left(in: harness.queues[0])
            #expect(left == commands.count - called.count)
            #expect(left > 0)
            let rest = try await harness.take(from: harness.queues[0]).compactMap(\.requestID)
            #expect(rest == commands.map(\.id).filter { !called.contains($0) })
        }
    }

    @Test("A command that waits between two attempts does not hold up the drain")
    func waiting() async throws {
        // In place: with parking the command would leave the queue.
        let options = HarnessOptions(settings: [
            "defaults.retry.minimum=60s", "defaults.retry.maximum=60s", "defaults.parking=false",
        ])
        try await withHarness(options) { harness in
            // A wait that is longer than this test may take.
            var fault = try Fault(shorthand: "503")
            fault.retryAfter = "100"
            try harness.sandbox.add(fault)
            let worker = try await harness.startWorker()
            try await harness.send([.route()])
            try await until("the call") { harness.sandbox.ledger().count == 1 }
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 1)

            harness.sandbox.removeFaults()
            let answers = try harness.collectAnswers()
            _ = try await harness.startWorker()
            #expect(try await answers.first(1)[0].outcome == .succeeded)
        }
    }

    @Test("Two signals at once, as of timeout(1), drain as one does")
    func signalTwiceAtOnce() async throws {
        try await withHarness { harness in
            try harness.sandbox.add(Fault(shorthand: "latency=2000"))
            let worker = try await harness.startWorker()
            let command = CommandSpec.route()
            try await harness.send([command])
            try await until("the call") { harness.sandbox.ledger().count == 1 }
            // Not twice the same, which the kernel would make one.
            worker.send(SIGTERM)
            worker.send(SIGINT)
            #expect(await worker.exit() == .code(0))
            let answers = try harness.collectAnswers()
            #expect(try await answers.first(1)[0].requestID == command.id)
        }
    }

    @Test("A second signal ends at once, with another code than 0", arguments: [SIGTERM, SIGINT])
    func secondSignal(signal: Int32) async throws {
        let options = HarnessOptions(settings: [
            "defaults.callTimeout=39s", "store.lease=60s", "worker.drainTimeout=1h",
        ])
        try await withHarness(options) { harness in
            try harness.sandbox.add(Fault(shorthand: "hang"))
            let worker = try await harness.startWorker()
            let command = CommandSpec.route()
            try await harness.send([command])
            try await until("the call") { harness.sandbox.ledger().count == 1 }
            worker.send(signal)
            try await worker.line(containing: "draining;")
            // One that comes right behind the first is taken for its repetition.
            try await until("the end") {
                worker.send(signal)
                return !worker.isRunning
            }
            #expect(await worker.exit() == .code(128 + signal))
            // It did not wait for the call: nobody answered or acknowledged the command.
            #expect(try await harness.left(in: harness.queues[0]) == 1)
            #expect(try await harness.take(from: harness.results).isEmpty)
        }
    }
}

// A worker that stands still for longer than its lease, and goes on when another has taken its commands over.

import CommandClient
import Failpoints
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Suspended for longer than a lease", .serialized, .showsWorkerLog, .timeLimit(.minutes(5)))
struct SuspensionTests {
    /// One worker that stands still, with one command on a queue of its own.
    private struct Sleeper {
        let point: Failpoint
        let suffix: String
        let command: CommandSpec
        /// How the worker that takes over ends the command.
        let outcome: Outcome
        /// Requests altogether: never one of the sleeper's after it woke.
        let requests: Int

        init(_ point: Failpoint, retries: Bool = false, _ outcome: Outcome, requests: Int) {
            self.point = point
            suffix = "commands-\(point.rawValue)-\(retries ? "retry" : "report")"
            command = .route(org: retries ? "umbrella" : "acme")
            self.outcome = outcome
            self.requests = requests
        }
    }

    private static var sleepers: [Sleeper] {
        [
            Sleeper(.beforeClaim, .succeeded, requests: 1), Sleeper(.afterClaim, .unknown, requests: 0),
            Sleeper(.beforeSend, .unknown, requests: 0), Sleeper(.beforeSend, retries: true, .succeeded, requests: 1),
            Sleeper(.afterSend, .unknown, requests: 1), Sleeper(.afterSend, retries: true, .succeeded, requests: 2),
            Sleeper(.beforeRecord, .unknown, requests: 1), Sleeper(.afterRecord, .succeeded, requests: 1),
        ]
    }

    @Test("It neither calls, nor records or answers over the one that took over")
    func sleepers() async throws {
        // Together, so that the leases that have to run out are waited for once.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in HarnessOptions.Store.allCases { group.addTask { try await Self.sleepers(store) } }
            try await group.waitForAll()
        }
    }

    private static func sleepers(_ store: HarnessOptions.Store) async throws {
        let sleepers = sleepers
        let options = HarnessOptions(
            queues: sleepers.map { ($0.suffix, "{}") },
            orgs: [("umbrella", "00D000000000003AAA", "unknownEffect: retry")],
            settings: FailpointTests.shortLease, store: store)
        try await withHarness(options) { harness in
            let answers = try harness.collectAnswers()
            var asleep: [ChildProcess] = []
            for (queue, sleeper) in sleepers.enumerated() {
                try await harness.send([sleeper.command], to: queue)
                // The broker gives up on it soon, and delivers its command again.
                let worker = try harness.startDoomedWorker(
                    at: sleeper.point, ":stop", queue: queue, environment: ["AMQP_HEARTBEAT": "1s"])
                try await until("a worker that stands still") { try worker.isStopped }
                asleep.append(worker)
            }
            let last = try await harness.startWorker()
            try await answers.first(sleepers.count)
            #expect(Set(answers.all.compactMap(\.requestID)) == Set(sleepers.map(\.command.id)))

            for (worker, queue) in zip(asleep, harness.queues) {
                worker.send(SIGCONT)
                try await worker.line(containing: "lost the connection to the broker")
                // Once it is back at its queue, it is done with what it slept over.
                try await until("a worker that consumes again") {
                    worker.transcript.components(separatedBy: "consuming queue=\(queue)").count > 2
                }
                #expect(await worker.stop() == .code(0), "\(store)")
            }
            // What the store holds shows when each is sent once more.
            try await harness.send(sleepers.map { $0.command.replying(correlationID: "again") })
            try await until("the answers to the commands sent again") {
                answers.all.count { $0.correlationID == "again" } == sleepers.count
            }
            #expect(await last.stop() == .code(0))
            for queue in harness.queues { #expect(try await harness.left(in: queue) == 0) }
            for sleeper in sleepers {
                let own = answers.all.filter { $0.requestID == sleeper.command.id }
                let effects = harness.sandbox.effects(of: sleeper.command.id)
                let place = Comment(rawValue: "\(store), \(sleeper.suffix): \(effects), \(own)")
                #expect(own.allSatisfy { $0.outcome == sleeper.outcome }, place)
                #expect(Set(own.map(\.messageID)).count == 1, place)
                #expect(own.count { !$0.duplicate } == 1, place)
                #expect(effects.requests == sleeper.requests && effects.effects == sleeper.requests, place)
            }
        }
    }
}

extension ChildProcess {
    /// Whether it was stopped by a signal (proc(5): the state after the name in parentheses).
    var isStopped: Bool {
        get throws {
            let text = try String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8)
            return text.suffix(after: ") ").first == "T"
        }
    }
}

extension String {
    fileprivate func suffix(after separator: String) -> Substring {
        range(of: separator, options: .backwards).map { self[$0.upperBound...] } ?? ""
    }
}

// 5,000 commands through a worker: every one answered, one outcome and one effect for each RequestId.

import AMQP
import CommandClient
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("A batch of 5,000 commands", .serialized, .showsWorkerLog, .timeLimit(.minutes(5)))
struct BatchTests {
    @Test(
        "Every RequestId has one outcome and its effect, every failure its dead letter",
        arguments: HarnessOptions.Store.allCases)
    func calmDay(store: HarnessOptions.Store) async throws {
        let batch = Batch(count: 5000)
        var options = HarnessOptions(store: store)
        options.sandbox.seed = batch.seed
        options.sandbox.faults = [try Fault(shorthand: "503@2%")]
        try await withHarness(options) { harness in
            let worker = try await harness.startWorker()
            let sent = try await CommandSender(harness.broker, queue: harness.queues[0]).send(
                batch.members.map(\.spec), awaitingAnswers: .seconds(60))
            #expect(sent.count { $0.outcome != .confirmed } == 0)
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)

            let audit = BatchAudit(
                batch: batch, answers: sent.compactMap(\.answer),
                deadLetters: try await harness.take(from: harness.deadLetters), sandbox: harness.sandbox)
            audit.expectAllWell()
            #expect(audit.answers.count == 5000)
            #expect(audit.answers(with: .succeeded).count > 4000)
            #expect(harness.sandbox.summary().totals.statuses[503, default: 0] > 0)
        }
    }

    @Test("The same while the broker is killed twice and the worker once")
    func badDay() async throws {
        let batch = Batch(count: 5000)
        try await withPrivateBroker { broker in
            // A short lease, since what the killed worker was calling for is only decided when its lease ends.
            var options = HarnessOptions(
                settings: ["defaults.callTimeout=2s", "store.timeout=2s", "store.lease=10s"], brokerURL: broker.url)
            options.sandbox.seed = batch.seed
            // The latency keeps calls under way at every moment.
            options.sandbox.faults = [try Fault(shorthand: "503@2%"), try Fault(shorthand: "latency=50-150")]
            try await withHarness(options) { harness in
                // A quorum queue made within the second before its broker is killed stays unusable (RabbitMQ 3.10): those
                // that a worker makes when it needs them must not be such.
                let declared = await CommandLineTests.Run(try harness.tool("topology", "declare", "--parking"))
                #expect(declared.exit == .code(0))
                var worker = try await harness.startWorker()
                let answers = try harness.collectAnswers()
                let commands = batch.messages(to: harness.queues[0])
                async let published: Void = harness.publishUntilConfirmed(commands)

                for count in [600, 1500] {
                    // The queues are older than a second by then, see PrivateBroker.kill().
                    try await answers.answered(count)
                    try await broker.kill()
                    try await broker.restart()
                }
                try await answers.answered(2500)
                await worker.crash()
                let calledFor = Set(harness.sandbox.ledger(LedgerFilter(limit: .max)).compactMap(\.requestID))
                worker = try await harness.startWorker()

                try await published
                try await answers.answered(batch.members.count)
                try await harness.allAcknowledged(at: broker)
                #expect(await worker.stop() == .code(0))
                #expect(try await harness.left(in: harness.queues[0]) == 0)

                let audit = BatchAudit(
                    batch: batch, answers: answers.all,
                    deadLetters: try await harness.take(from: harness.deadLetters), sandbox: harness.sandbox)
                audit.expectAllWell()
                let interrupted = audit.answers(with: .unknown).filter { $0.reason == "interrupted" }
                #expect(!interrupted.isEmpty, "the killed worker was calling for something")
                // No call was made for them after the crash: what the ledger knows was called for before.
                #expect(
                    interrupted.allSatisfy { answer in
                        calledFor.contains(answer.requestID ?? "")
                            || harness.sandbox.effects(of: answer.requestID ?? "").requests == 0
                    })
            }
        }
    }
}

extension BatchAudit {
    func expectAllWell() {
        // The first few say enough.
        #expect(answerProblems.prefix(5) == [], "seed \(batch.seed)")
        #expect(outcomeProblems.prefix(5) == [], "seed \(batch.seed)")
        #expect(effectProblems.prefix(5) == [], "seed \(batch.seed)")
        #expect(deadLetterProblems.prefix(5) == [], "seed \(batch.seed)")
    }
}

extension AnswerCollector {
    /// Waits until so many commands have an answer.
    func answered(_ count: Int) async throws {
        var seen = 0
        try await until("answers to \(count) commands, there are \(seen)", within: .seconds(180)) {
            seen = Set(all.compactMap(\.correlationID)).count
            return seen >= count
        }
    }
}

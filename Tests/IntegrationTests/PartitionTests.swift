// Workers that share partitions: they come, go and are killed, and every conversation keeps its order.

import AMQP
import AMQPMessage
import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Partitions", .serialized, .showsWorkerLog, .timeLimit(.minutes(5)))
struct PartitionTests {
    /// So that calls of a worker that was killed are soon decided on.
    private static let shortLease = FailpointTests.shortLease

    @Test("Conversations keep their order while workers join, leave and are killed, and the shares even out")
    func comingAndGoing() async throws {
        let options = HarnessOptions(partitions: 8, settings: Self.shortLease)
        try await withHarness(options) { harness in
            try harness.sandbox.add(Fault(shorthand: "latency=50-150"))
            let answers = try harness.collectAnswers()
            var workers: [ChildProcess] = []
            for _ in 0..<3 { workers.append(try await harness.startWorker()) }
            try await harness.sharedEvenly(among: workers)

            let conversations = (0..<40).map { _ in newID() }
            let sending = Task {
                // Goes on beside what happens to the workers, until it is cancelled.
                var sent: [(conversation: String, id: String)] = []
                while !Task.isCancelled {
                    let batch = conversations.shuffled().prefix(10).map { ($0, CommandSpec.route($0)) }
                    try await harness.send(batch.map(\.1))
                    sent += batch.map { ($0.0, $0.1.id) }
                    // Some are always under way, and never so many that the end has to wait for them.
                    try? await until("answers to most of what was sent") {
                        sent.count - Set(answers.all.compactMap(\.requestID)).count < 60
                    }
                }
                return sent
            }
            workers.append(try await harness.startWorker())
            try await harness.sharedEvenly(among: workers)
            #expect(await workers.removeFirst().stop() == .code(0))
            try await harness.sharedEvenly(among: workers)
            await workers.removeFirst().crash()
            try await harness.sharedEvenly(among: workers)
            sending.cancel()
            let sent = try await sending.value

            let ids = Set(sent.map(\.id))
            try await until("an answer to each of \(ids.count)") {
                Set(answers.all.compactMap(\.requestID)).isSuperset(of: ids)
            }
            for worker in workers { #expect(await worker.stop() == .code(0)) }
            // Nobody knows of the calls that were under way when a worker was killed.
            let unknown = Set(answers.all.filter { $0.outcome == .unknown }.compactMap(\.requestID))
            #expect(unknown.count <= 40)
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded || $0.outcome == .unknown })
            for conversation in conversations {
                let mine = sent.filter { $0.conversation == conversation }.map(\.id)
                let calls = harness.called(conversation)
                #expect(calls == mine.filter { calls.contains($0) || !unknown.contains($0) })
            }
            #expect(ids.allSatisfy { harness.sandbox.effects(of: $0).effects <= 1 })
            for partition in try #require(harness.partitioned).partitions {
                #expect(try await harness.left(in: partition) == 0)
            }
        }
    }

    @Test("Parked commands go along with their partition, and come back before those that follow them")
    func parked() async throws {
        let options = HarnessOptions(
            partitions: 4,
            settings: [
                "defaults.probe.minimum=100ms", "defaults.probe.maximum=400ms", "defaults.breaker.minimumCalls=3",
                "defaults.retry.minimum=10ms", "defaults.retry.maximum=100ms",
            ])
        try await withHarness(options) { harness in
            let org = "00D000000000001"
            try harness.sandbox.add(Fault(.status, match: .init(org: org), status: 503))
            let answers = try harness.collectAnswers()
            var workers = [try await harness.startWorker()]
            try await harness.sharedEvenly(among: workers)
            let conversations = (0..<12).map { _ in newID() }
            var sent = (0..<60).map { (conversations[$0 % 12], CommandSpec.route(conversations[$0 % 12])) }
            try await harness.send(sent.map(\.1))
            try await until("parked commands") { try await harness.parked() == sent.count }

            // Half of the partitions go to a second worker while the org is in trouble.
            workers.append(try await harness.startWorker())
            try await harness.sharedEvenly(among: workers)
            try await workers[1].line(containing: "a parking queue holds commands")
            // The others while it comes back, slowly.
            harness.sandbox.removeFaults()
            try harness.sandbox.add(
                Fault(.latency, match: .init(method: "POST"), latency: .milliseconds(50) ... .milliseconds(50)))
            try await until("the return") { harness.sandbox.ledger().contains { $0.effect == .created } }
            let fresh = conversations.map { ($0, CommandSpec.route($0)) }
            try await harness.send(fresh.map(\.1))
            sent += fresh
            #expect(await workers[0].stop() == .code(0))

            try await until("an answer to each") {
                Set(answers.all.compactMap(\.requestID)).isSuperset(of: sent.map(\.1.id))
            }
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            for conversation in conversations {
                let created = harness.sandbox.ledger(LedgerFilter(conversation: conversation)).filter {
                    $0.effect == .created
                }
                #expect(created.compactMap(\.requestID) == sent.filter { $0.0 == conversation }.map(\.1.id))
            }
            #expect(await workers[1].stop() == .code(0))
            #expect(try await harness.parked() == 0)
        }
    }

    @Test("A routing key that is not the conversation is told so, and the replay queue works beside partitions")
    func routingKey() async throws {
        try await withHarness(HarnessOptions(partitions: 2)) { harness in
            let partitioned = try #require(harness.partitioned)
            let worker = try await harness.startWorker()
            let misrouted = try await CommandSender(
                harness.broker, exchange: partitioned.exchange, queue: "somewhere"
            ).send([.route()], awaitingAnswers: .seconds(60))
            #expect(misrouted[0].answer?.outcome == .invalid && misrouted[0].answer?.reason == "routing-key-mismatch")
            let answers = try harness.collectAnswers()
            try await harness.send([.route()])
            try await answers.first(1)
            let replayed = try await CommandSender(harness.broker, queue: harness.replays)
                .send([.route()], awaitingAnswers: .seconds(60))
            #expect(replayed[0].answer?.outcome == .succeeded)
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("A broker that is killed and comes back: the partitions are taken again, and nothing is lost or out of order")
    func brokerKilled() async throws {
        try await withPrivateBroker(plugins: ["rabbitmq_consistent_hash_exchange"]) { broker in
            let options = HarnessOptions(partitions: 4, brokerURL: broker.url)
            try await withHarness(options) { harness in
                // Those for some surplus too must be older than a second, see PrivateBroker.kill().
                let declared = await CommandLineTests.Run(try harness.tool("topology", "declare", "--parking"))
                #expect(declared.exit == .code(0), "\(declared.error)")
                try harness.sandbox.add(Fault(shorthand: "latency=100"))
                let workers = [try await harness.startWorker(), try await harness.startWorker()]
                try await harness.sharedEvenly(among: workers)
                let conversations = (0..<10).map { _ in newID() }
                let sent = (0..<300).map { (conversations[$0 % 10], CommandSpec.route(conversations[$0 % 10])) }
                try await harness.send(sent.map(\.1))
                try await until("calls") { harness.sandbox.ledger().count >= 50 }
                try await broker.kill()
                try await broker.restart()

                let answers = try harness.collectAnswers()
                try await until("an answer to each") {
                    Set(answers.all.compactMap(\.requestID)).isSuperset(of: sent.map(\.1.id))
                }
                #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
                for conversation in conversations {
                    #expect(harness.called(conversation) == sent.filter { $0.0 == conversation }.map(\.1.id))
                }
                for worker in workers { #expect(await worker.stop() == .code(0)) }
            }
        }
    }
}

// A cluster of three brokers, of which one dies: the worker goes on with the others.

import AMQP
import AMQPMessage
import CommandClient
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("A cluster", .serialized, .showsWorkerLog, .timeLimit(.minutes(5)))
struct ClusterTests {
    @Test("The node that leads all queues is killed and comes back: nothing is lost, nothing is called for twice")
    func leaderKilled() async throws {
        try await withPrivateCluster(of: 3) { nodes in
            // Queues are led by the node on which they are declared, here the first, and clients try the first first.
            let options = HarnessOptions(brokerURL: nodes.map(\.url).joined(separator: ","))
            try await withHarness(options) { harness in
                // All must be older than a second when their leader is killed, see PrivateBroker.kill().
                let declared = await CommandLineTests.Run(try harness.tool("topology", "declare", "--parking"))
                #expect(declared.exit == .code(0))
                try harness.sandbox.add(Fault(shorthand: "latency=100-300"))
                let worker = try await harness.startWorker()
                let answers = try harness.collectAnswers()
                let commands = (0..<2000).map { _ in CommandSpec.route() }
                async let published: Void = harness.publishUntilConfirmed(
                    commands.map { OutgoingMessage($0.message, routingKey: harness.queues[0]) })

                try await answers.answered(300)
                try await nodes[0].kill()
                // The other two elect new leaders and go on.
                try await answers.answered(1000)
                try await nodes[0].restart()
                try await published
                try await answers.answered(commands.count)
                try await harness.allAcknowledged(at: nodes[1])
                #expect(await worker.stop() == .code(0))

                #expect(Set(answers.all.compactMap(\.requestID)) == Set(commands.map(\.id)))
                #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
                #expect(commands.allSatisfy { harness.sandbox.effects(of: $0.id).requests == 1 })
                #expect(try await harness.take(from: harness.deadLetters).isEmpty)
            }
        }
    }
}

// `topology` and `run --dry-run` about partitions: what is made, what is missing, and what must be empty first.

import AMQP
import AMQPMessage
import CommandClient
import Foundation
import RouteWorker
import RoutingContract
import TestSupport
import Testing

@Suite("Topology of partitions", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct PartitionTopologyTests {
    private typealias Run = CommandLineTests.Run

    @Test("A worker with partitions is told what is missing and how to make it; afterwards all is there")
    func declared() async throws {
        try await withHarness { harness in
            let partitioned = PartitionedQueue(name: harness.queues[0], count: 3, exchange: harness.queues[0] + ".x")
            let settings = [
                "--set", "commands.partitions=3", "--set", "commands.partitionExchange=\(partitioned.exchange)",
            ]
            let before = await Run(try harness.tool("run", settings + ["--dry-run"]))
            #expect(before.exit != .code(0))
            for name in partitioned.partitions + partitioned.countingQueues + [partitioned.exchange] {
                #expect(before.output.contains("'\(name)': it is missing"), "\(before.output)")
            }
            #expect(before.output.contains(" --partitions 3"))
            let checked = await Run(try harness.tool("topology", ["check"] + settings))
            #expect(checked.output.contains("exchange '\(partitioned.exchange)': it is missing"), "\(checked.output)")
            #expect(checked.output.contains(" --partitions 3"))

            let exchange = ["--set", "commands.partitionExchange=\(partitioned.exchange)"]
            let declared = await Run(try harness.tool("topology", ["declare", "--partitions", "3"] + exchange))
            #expect(declared.exit == .code(0), "\(declared.error)")
            #expect(declared.output.contains("exchange '\(partitioned.exchange)' is there"))
            #expect(await Run(try harness.tool("topology", ["check"] + settings)).exit == .code(0))
            #expect(await Run(try harness.tool("run", settings + ["--dry-run"])).exit == .code(0))
            // One that somebody deleted is made and bound again.
            try await harness.delete(partitioned.partition(1))
            let mended = await Run(
                try harness.tool("topology", ["declare", "--only", partitioned.partition(1)] + settings))
            #expect(mended.exit == .code(0), "\(mended.error)")
            #expect(await Run(try harness.tool("topology", ["check"] + settings)).exit == .code(0))
            await harness.remove(partitioned)
        }
    }

    @Test("Another number of partitions needs them empty and without workers")
    func changed() async throws {
        try await withHarness(HarnessOptions(partitions: 3)) { harness in
            let name = harness.queues[0]
            let worker = try await harness.startWorker()
            try await harness.sharedEvenly(among: [worker])
            let consumed = await Run(try harness.tool("topology", ["declare", "--partitions", "4"]))
            #expect(consumed.exit == .code(1) && consumed.error.contains("stop the workers"), "\(consumed.error)")
            #expect(await worker.stop() == .code(0))

            try await harness.send([.route()])
            let filled = await Run(try harness.tool("topology", ["declare", "--partitions", "2"]))
            #expect(
                filled.exit == .code(1) && filled.error.contains("there are 3 partitions, not 2"), "\(filled.error)")
            for partition in harness.partitioned?.partitions ?? [] { _ = try await harness.take(from: partition) }

            let org = try #require(OrgID("00D000000000002"))
            let lot = try await harness.park("{}", of: org, in: name + ".1")
            let parked = await Run(try harness.tool("topology", ["declare", "--partitions", "2"]))
            #expect(parked.exit == .code(1) && parked.error.contains("'\(lot)' holds commands"), "\(parked.error)")
            #expect(try await harness.ready(in: name + ".2") == 0)
            try await harness.delete(lot)

            #expect(await Run(try harness.tool("topology", ["declare", "--partitions", "2"])).exit == .code(0))
            #expect(try await harness.ready(in: name + ".1") == 0)
            #expect(try await harness.ready(in: name + ".2") == nil)
            // Of what is published now nothing may be lost with the partition that has gone.
            try await harness.send((0..<20).map { _ in .route() })
            var left = 0
            for number in 0..<2 { left += try await harness.ready(in: "\(name).\(number)") ?? 0 }
            #expect(left == 20)
        }
    }

    @Test("A broker without the plug-in: the message names it, and nothing is left behind")
    func noPlugIn() async throws {
        try await withPrivateBroker { broker in
            try await withHarness(HarnessOptions(brokerURL: broker.url)) { harness in
                let run = await Run(try harness.tool("topology", ["declare", "--partitions", "2"]))
                #expect(run.exit == .code(1))
                #expect(run.error.contains("rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"), "\(run.error)")
                #expect(try await harness.ready(in: harness.queues[0] + ".0") == nil)
            }
        }
    }
}

extension WorkerHarness {
    /// Puts a message into the parking queue of an org, as a worker would.
    ///
    /// - Returns: the queue.
    fileprivate func park(_ body: String, of org: OrgID, in queue: String) async throws -> String {
        let lot = Topology.parkingQueue(ParkingQueue.name(of: queue, org: org), deadLetterQueue: deadLetters)
        _ = try await AMQPAdmin.withConnection(broker) {
            try await $0.declareQueue(lot.name, arguments: lot.arguments)
        }
        try await publishUntilConfirmed([OutgoingMessage(Message(body: Array(body.utf8)), routingKey: lot.name)])
        return lot.name
    }

    /// Takes away what the harness does not know of.
    fileprivate func remove(_ partitioned: PartitionedQueue) async {
        _ = try? await AMQPAdmin.withConnection(broker) { admin in
            for queue in partitioned.partitions + partitioned.countingQueues { try await admin.deleteQueue(queue) }
            try await admin.deleteExchange(partitioned.exchange)
        }
    }
}

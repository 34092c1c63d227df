// What a worker sees of the others while a node of the cluster is down.

import AMQP
import AMQPMessage
import RoutingContract
import TestSupport
import Testing

@testable import RouteWorker

@Suite("Seeing the workers of a cluster", .timeLimit(.minutes(3)))
struct PartitionObserverTests {
    @Test("While the node is down on which workers are counted, partitions that nobody serves are seen all the same")
    func nodeDown() async throws {
        try await withPrivateCluster(of: 2) { nodes in
            let partitioned = PartitionedQueue(name: "q", count: 2, exchange: "x")
            var observer = PartitionObserver(partitioned: partitioned)
            func declare(_ queues: [String], on node: PrivateBroker) async throws {
                try await AMQPAdmin.withConnection(
                    AMQPConfiguration(urls: [node.url], connectionName: "observer-tests")
                ) { admin in
                    for queue in queues {
                        try await admin.declareQueue(queue, arguments: ["x-queue-type": .string("classic")])
                    }
                }
            }
            try await declare(partitioned.countingQueues, on: nodes[0])
            try await declare(partitioned.partitions, on: nodes[1])
            let survivor = try AMQPConfiguration(urls: [nodes[1].url], connectionName: "observer-tests")
            let consumer = try AMQPConsumer(
                survivor, subscriptions: [Subscription(queue: partitioned.workers, prefetch: 1)]
            ) { _ in }
            consumer.start()
            try await AMQPAdmin.withConnection(survivor) { admin in
                try await until("the worker is counted") { try await observer.look(admin).workers == 1 }
                try await nodes[0].kill()
                try await until("the node is known to be down") {
                    do {
                        _ = try await admin.queue(partitioned.workers)
                        return false
                    } catch AMQPError.channelClosed(404, _) {
                        return true
                    }
                }
                #expect(try await observer.look(admin).unserved == [0, 1])
            }
            await consumer.close()
        }
    }
}

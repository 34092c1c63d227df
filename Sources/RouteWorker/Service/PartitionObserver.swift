// What the broker says of all workers that share a partitioned queue.

import AMQP
import Partitioning
import RoutingContract

/// Looks at the queues by which workers share partitions.
struct PartitionObserver {
    let partitioned: PartitionedQueue

    func look(_ admin: AMQPAdmin) async throws -> ShareOut.Observation {
        var unserved: Set<Int> = []
        for number in 0..<partitioned.count where try await consumers(of: partitioned.partition(number), admin) == 0 {
            unserved.insert(number)
        }
        return ShareOut.Observation(
            workers: try await consumers(of: partitioned.workers, admin),
            wantingOne: try await consumers(of: partitioned.wantingOne, admin),
            wantingShare: try await consumers(of: partitioned.wantingShare, admin), unserved: unserved)
    }

    private func consumers(of queue: String, _ admin: AMQPAdmin) async throws -> Int {
        guard let found = try await admin.queue(queue) else {
            throw MissingPartitionQueue(queue: queue, partitions: partitioned.count)
        }
        return found.consumers
    }
}

/// A queue of the partitioned topology is not there.
struct MissingPartitionQueue: Error, CustomStringConvertible {
    let queue: String
    let partitions: Int

    var description: String {
        "queue '\(queue)' is missing; run `route-worker topology declare --partitions \(partitions)`"
    }
}

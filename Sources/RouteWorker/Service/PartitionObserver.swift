// What the broker says of all workers that share a partitioned queue.

import AMQP
import Partitioning
import RoutingContract

/// Looks at the queues by which workers share partitions.
struct PartitionObserver {
    private let partitioned: PartitionedQueue
    /// As many as were counted last.
    private var workers = 1

    init(partitioned: PartitionedQueue) {
        self.partitioned = partitioned
    }

    mutating func look(_ admin: AMQPAdmin) async throws -> ShareOut.Observation {
        var unserved: Set<Int> = []
        for number in 0..<partitioned.count where try await consumers(of: partitioned.partition(number), admin) == 0 {
            unserved.insert(number)
        }
        do {
            workers = try await consumers(of: partitioned.workers, admin)
            return ShareOut.Observation(
                workers: workers, wantingOne: try await consumers(of: partitioned.wantingOne, admin),
                wantingShare: try await consumers(of: partitioned.wantingShare, admin), unserved: unserved)
        } catch AMQPError.channelClosed(404, _) {
            // The node on which workers are counted is down. Partitions of those that it took along must be served all the same.
            return ShareOut.Observation(
                workers: workers, wantingOne: 0, wantingShare: 0, unserved: unserved, isCounted: false)
        }
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

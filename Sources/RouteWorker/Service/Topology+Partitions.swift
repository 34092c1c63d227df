// The exchange that spreads conversations over partitions, and how the number of partitions changes.

import AMQP
import RoutingContract

/// Another number of partitions would send conversations to other partitions than before, behind commands of theirs that
/// still wait elsewhere.
public struct PartitionsInUse: Error, CustomStringConvertible {
    public var queue: String
    public var existing: Int
    public var wanted: Int

    public var description: String {
        "there are \(existing) partitions, not \(wanted), and '\(queue)' holds commands or is consumed: stop publishing, let "
            + "the workers empty all partitions and their parking queues, stop the workers, then declare again"
    }
}

extension PartitionedQueue {
    /// The broker knows no exchange of this type unless a plug-in that comes with it is enabled.
    static let exchangeType = "x-consistent-hash"
    /// Each partition gets the same part of all conversations.
    static let weight = "1"

    /// Makes way for another number of partitions than there are, where nothing is in the way.
    ///
    /// - Parameter orgs: those whose commands may be parked.
    /// - Throws: ``PartitionsInUse``
    func prepare(_ admin: AMQPAdmin, orgs: [OrgID]) async throws {
        // With the last one and none behind it, at most some in between are missing.
        if try await admin.queue(partition(count - 1)) != nil, try await admin.queue(partition(count)) == nil { return }
        var existing: [AMQPAdmin.Queue] = []
        while let found = try await admin.queue(partition(existing.count)) { existing.append(found) }
        func require(empty queue: AMQPAdmin.Queue?) throws(PartitionsInUse) {
            // Without consumers nothing is unacknowledged either, which the broker would not tell.
            guard let queue, queue.messages > 0 || queue.consumers > 0 else { return }
            throw PartitionsInUse(queue: queue.name, existing: existing.count, wanted: count)
        }
        for partition in existing {
            try require(empty: partition)
            for org in orgs {
                try require(empty: try await admin.queue(ParkingQueue.name(of: partition.name, org: org)))
            }
        }
        // The last one first: what is left by an attempt that is broken off must be found by the next.
        for surplus in existing.dropFirst(count).reversed() {
            try await admin.unbind(queue: surplus.name, from: exchange, routingKey: Self.weight)
            // Somebody may have published in between.
            try require(empty: try await admin.queue(surplus.name))
            try await admin.deleteQueue(surplus.name)
        }
    }
}

// The exchange that spreads conversations over partitions, and how the number of partitions changes.

import AMQP
public import RoutingContract

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
    /// - Throws: ``PartitionsInUse``
    func prepare(_ admin: AMQPAdmin) async throws {
        // With the last one and none behind it, at most some in between are missing.
        if try await admin.queue(partition(count - 1)) != nil, try await admin.queue(partition(count)) == nil { return }
        var existing: [AMQPAdmin.Queue] = []
        while let found = try await admin.queue(partition(existing.count)) { existing.append(found) }
        // Without consumers nothing is unacknowledged either, which the broker would not tell.
        if let busy = existing.first(where: { $0.messages > 0 || $0.consumers > 0 }) {
            throw PartitionsInUse(queue: busy.name, existing: existing.count, wanted: count)
        }
        for surplus in existing.dropFirst(count) {
            try await admin.unbind(queue: surplus.name, from: exchange, routingKey: Self.weight)
            // Somebody may have published in between.
            if let found = try await admin.queue(surplus.name), found.messages > 0 {
                throw PartitionsInUse(queue: found.name, existing: existing.count, wanted: count)
            }
            try await admin.deleteQueue(surplus.name)
        }
    }
}

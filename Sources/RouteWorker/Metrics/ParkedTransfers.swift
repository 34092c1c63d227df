// Transfers and conferences that this worker has parked, as long as they may be counted as its own. Pure.

import RoutingContract

/// Since when parked transfers and conferences have been waiting.
///
/// A parked command comes back to this worker or to another one, which is not told here. So it counts only until it has come
/// back, its time is over, its queue is another worker's, or ``limit`` has passed.
struct ParkedTransfers {
    /// Salesforce gives a transfer no longer, whatever its deadline says.
    static let limit: Duration = .seconds(60)

    private struct Entry {
        var issuedAt: Timestamp
        var end: Timestamp
        var queue: Int
    }

    private var entries: [CommandKey: Entry] = [:]

    /// - Parameter queue: the index of its commands queue.
    mutating func parked(
        _ command: CommandKey, of queue: Int, issuedAt: Timestamp, deadline: Timestamp, now: Timestamp
    ) {
        entries[command] = Entry(issuedAt: issuedAt, end: min(deadline, now + Self.limit), queue: queue)
    }

    mutating func cameBack(_ command: CommandKey) { entries[command] = nil }

    /// What was parked of a queue is another worker's.
    mutating func gaveUp(_ queue: Int) {
        for (command, entry) in entries where entry.queue == queue { entries[command] = nil }
    }

    /// When the oldest of them was issued.
    mutating func oldest(now: Timestamp) -> Timestamp? {
        for (command, entry) in entries where entry.end <= now { entries[command] = nil }
        return entries.values.lazy.map(\.issuedAt).min()
    }
}

// How tests see which worker serves which partitions, and whether a conversation kept its order.

import CommandClient
import InteractionSandbox
import RoutingContract
import TestSupport

extension ChildProcess {
    /// The partitions that this worker says it serves.
    func served(of partitioned: PartitionedQueue) -> Set<Int> {
        var served: Set<Int> = []
        let numbers = partitioned.partitions.enumerated()
        for line in transcript.split(separator: "\n") {
            guard let number = numbers.first(where: { line.hasSuffix("queue=\($0.element)") })?.offset else { continue }
            if line.contains("consuming") { served.insert(number) }
            if line.contains("handing a partition over") || line.contains("not consuming") { served.remove(number) }
        }
        return served
    }
}

extension WorkerHarness {
    /// Waits until these workers, and no others, serve all partitions in even shares.
    func sharedEvenly(among workers: [ChildProcess]) async throws {
        guard let partitioned else { throw Missing("partitions") }
        try await until("an even share") {
            let shares = workers.map { $0.served(of: partitioned) }
            let sizes = shares.map(\.count)
            guard sizes.reduce(0, +) == partitioned.count, (sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1 else {
                return false
            }
            return shares.reduce(into: Set()) { $0.formUnion($1) }.count == partitioned.count
        }
    }

    /// The RequestIds of a conversation's calls, in the order of the calls; one that is tried again at once stands once.
    func called(_ conversation: String) -> [String] {
        sandbox.ledger(LedgerFilter(conversation: conversation)).compactMap(\.requestID).reduce(into: []) {
            if $0.last != $1 { $0.append($1) }
        }
    }
}

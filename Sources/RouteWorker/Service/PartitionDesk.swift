// Between the share-out and those who carry it out. Pure.

import AMQP
import Partitioning
import RoutingContract

/// Turns what ``ShareOut`` decides into steps, in the order in which they may be made.
struct PartitionDesk {
    enum Step: Sendable, Hashable {
        /// Try the partition's lock.
        case acquire(Int)
        /// Look for what is parked of these; answered by ``PartitionInbox/Event/tookOver(_:)``.
        case takeOver([Int])
        case consume(Int)
        /// Answered by ``PartitionInbox/Event/handedOver(_:tenure:)``.
        case handOver(Int, tenure: Int)
        /// Close the channel and give the lock back.
        case leave(Int)
        /// Be counted by this queue.
        case join(String)
        case quit(String)
        /// A lock cannot be had for a reason that does not pass by itself.
        case warn(Int, AMQPError)
    }

    private let partitioned: PartitionedQueue
    private var share: ShareOut
    private var random = SystemRandomNumberGenerator()
    private let start = ContinuousClock.now
    /// How many there are; `nil` before the first look.
    private(set) var workers: Int?
    /// Counts the times that each partition's lock was held.
    private var tenures: [Int: Int] = [:]
    /// Partitions that wait for the look before their first delivery.
    private var toTakeOver: Set<Int> = []
    /// Those that are looked at now, each with its tenure.
    private var takingOver: [Int: Int] = [:]
    private var warned: Set<Int> = []

    init(_ partitioned: PartitionedQueue) {
        self.partitioned = partitioned
        share = ShareOut(partitions: partitioned.count)
    }

    mutating func take(_ event: PartitionInbox.Event) -> [Step] {
        switch event {
        case .observed(let seen, let now):
            workers = seen.workers
            return steps(share.observed(seen, now: now - start, using: &random))
        case .lockHeld(let number):
            tenures[number, default: 0] += 1
            warned.remove(number)
            return steps(share.lockHeld(number))
        case .lockRefused(let number, let error):
            let warning = warning(of: number, error)
            return steps(share.lockRefused(number)) + warning
        case .lockLost(let number):
            toTakeOver.remove(number)
            return steps(share.lockLost(number, using: &random))
        case .tookOver(let taken):
            let asked = takingOver.filter { tenures[$0.key] == $0.value && share.serving.contains($0.key) }
            takingOver = [:]
            guard let taken else {
                toTakeOver.formUnion(asked.keys)
                return steps([])
            }
            return taken.filter { asked[$0] != nil }.map { .consume($0) } + steps([])
        case .handedOver(let number, let tenure):
            return tenures[number] == tenure ? steps(share.drained(number)) : []
        }
    }

    private mutating func steps(_ actions: [ShareOut.Action]) -> [Step] {
        var steps: [Step] = []
        for action in actions {
            switch action {
            case .acquire(let number): steps.append(.acquire(number))
            case .serve(let number): toTakeOver.insert(number)
            case .drain(let number):
                toTakeOver.remove(number)
                steps.append(.handOver(number, tenure: tenures[number] ?? 0))
            case .leave(let number): steps.append(.leave(number))
            case .wanting(let want):
                for (queue, isWanted) in [
                    (partitioned.wantingOne, want != .nothing), (partitioned.wantingShare, want == .share),
                ] {
                    steps.append(isWanted ? .join(queue) : .quit(queue))
                }
            }
        }
        // Together, and one look after another: each costs a connection.
        if takingOver.isEmpty, !toTakeOver.isEmpty {
            for number in toTakeOver { takingOver[number] = tenures[number] }
            steps.append(.takeOver(toTakeOver.sorted()))
            toTakeOver = []
        }
        return steps
    }

    /// Nothing is said of locks that others hold, and of a connection that comes back by itself.
    private mutating func warning(of number: Int, _ error: AMQPError) -> [Step] {
        if case .channelClosed(405, _) = error { return [] }
        guard error.remedy == .operatorMustAct, warned.insert(number).inserted else { return [] }
        return [.warn(number, error)]
    }
}

// Which of the queues that come and go with a lock are this worker's, and what of them is under way. Pure.

/// The tenures of a worker's queues. A queue without a lock is always its own.
///
///   absent ──lock held──▶ held ──taken over──▶ served ──giving up──▶ leaving ──lock lost──▶ absent
///
/// Queues are named by their index in the settings.
struct QueueTenures: Sendable {
    private enum Stage: Hashable {
        case absent
        case held
        case served
        case leaving
    }

    private var stages: [Stage]
    /// Counts the tenures of each queue, so that what was begun in one cannot be taken for the next one's.
    private var numbers: [Int]
    /// Deliveries of a queue that were started, those from its parking queues included.
    private var started: [Int]
    /// Parking queues of a queue whose channels are open, or about to be.
    private var openLots: [Int]

    /// - Parameter locked: for each queue, whether it comes and goes with a lock.
    init(locked: [Bool]) {
        stages = locked.map { $0 ? .absent : .served }
        numbers = Array(repeating: 0, count: locked.count)
        started = Array(repeating: 0, count: locked.count)
        openLots = Array(repeating: 0, count: locked.count)
    }

    /// Whether deliveries of the queue may be worked on.
    func serves(_ queue: Int) -> Bool { stages[queue] == .served }

    /// Whether nothing is under way that was delivered by it.
    func isQuiet(_ queue: Int) -> Bool { started[queue] == 0 }

    /// Whether nothing of it is this worker's any more but its lock and its own channel.
    func isHandedOver(_ queue: Int) -> Bool { started[queue] == 0 && openLots[queue] == 0 }

    /// The tenure in which the queue's lock is held; `nil` without one.
    func tenure(of queue: Int) -> Int? { stages[queue] == .held ? numbers[queue] : nil }

    // MARK: Tenures

    mutating func lockHeld(_ queue: Int) {
        guard stages[queue] == .absent else { return }
        numbers[queue] += 1
        stages[queue] = .held
    }

    /// All that comes before its first delivery has been done.
    ///
    /// - Parameter tenure: when that was begun, see ``tenure(of:)``.
    /// - Returns: whether the queue is served now.
    mutating func tookOver(_ queue: Int, in tenure: Int) -> Bool {
        guard self.tenure(of: queue) == tenure else { return false }
        stages[queue] = .served
        return true
    }

    /// Nothing more of the queue is started.
    ///
    /// - Returns: whether the lock is held.
    mutating func giveUp(_ queue: Int) -> Bool {
        guard stages[queue] != .absent else { return false }
        stages[queue] = .leaving
        return true
    }

    /// The lock is gone, and with it the channels that it guarded.
    mutating func lockLost(_ queue: Int) {
        stages[queue] = .absent
        openLots[queue] = 0
    }

    // MARK: What is under way

    mutating func began(_ queue: Int) { started[queue] += 1 }
    mutating func ended(_ queue: Int) { started[queue] -= 1 }
    mutating func openedLot(of queue: Int) { openLots[queue] += 1 }

    /// Told of each lot once it was closed on purpose.
    mutating func closedLot(of queue: Int) { openLots[queue] = max(openLots[queue] - 1, 0) }
}

// When one org's commands take so much of the prefetch that other orgs would wait behind them. Pure.

/// How many of an org's commands a worker holds from each of its commands queues, and whether that is too much.
///
/// An org may hold what it works on and a quarter of the prefetch besides, but never more than three quarters. It holds
/// *too much* where that is exceeded and the excess is not worked off: within ``patience`` fewer of its commands left than
/// a quarter of the prefetch, or than all of it where it is the org's own limits that hold them up. So a burst passes that
/// the worker takes as fast as it could park it. What store or broker hold up is no org's doing, and parking would wait for
/// them as well.
struct PrefetchShare: Sendable, Hashable {
    enum Judgement: Hashable {
        /// Within its share.
        case fair
        /// More than that; to be judged again at ``PrefetchShare/dueAt``.
        case watched
        /// Too much.
        case surplus
    }

    static let patience: Duration = .milliseconds(250)

    private let prefetches: [Int]
    private var bounds: [Int] = []
    private var heldByQueue: [Int]
    /// Commands of the org that are held, over all queues.
    private(set) var held = 0
    private var watchedSince: Duration?
    private var leftSince = 0

    /// - Parameters:
    ///   - prefetches: of the commands queues, in their order; at least 1 each.
    ///   - concurrency: how many of the org's commands may be worked on at a time.
    init(prefetches: [Int], concurrency: Int) {
        self.prefetches = prefetches
        heldByQueue = Array(repeating: 0, count: prefetches.count)
        bound(by: concurrency)
    }

    mutating func bound(by concurrency: Int) {
        bounds = prefetches.map { max(min($0 / 4 + concurrency, $0 * 3 / 4), 1) }
    }

    /// A command of a queue came.
    ///
    /// - Returns: whether the org is to be judged: it exceeds its share there, and nobody watches it yet.
    mutating func entered(_ queue: Int) -> Bool {
        held += 1
        heldByQueue[queue] += 1
        return heldByQueue[queue] > bounds[queue] && watchedSince == nil
    }

    mutating func left(_ queue: Int) {
        held -= 1
        heldByQueue[queue] -= 1
        leftSince += 1
    }

    /// By how many commands of a queue the org exceeds its share.
    func excess(in queue: Int) -> Int { max(heldByQueue[queue] - bounds[queue], 0) }

    /// Over all queues.
    var excess: Int { heldByQueue.indices.reduce(0) { $0 + excess(in: $1) } }

    /// When ``judge(_:)`` is due; `nil` while nobody watches.
    var dueAt: Duration? { watchedSince.map { $0 + Self.patience } }

    /// - Parameters:
    ///   - isLimited: the org may not be called as fast as the worker could.
    ///   - isHeldUp: most of its commands in work are not being called for: they wait for the store or the broker.
    ///   - now: on a clock that never steps.
    mutating func judge(isLimited: Bool, isHeldUp: Bool = false, _ now: Duration) -> Judgement {
        guard let prefetch = heldByQueue.indices.filter({ excess(in: $0) > 0 }).map({ prefetches[$0] }).min() else {
            stopWatching()
            return .fair
        }
        guard let since = watchedSince else { return watch(from: now) }
        guard now - since >= Self.patience else { return .watched }
        guard !isHeldUp, leftSince < max(isLimited ? prefetch : prefetch / 4, 1) else { return watch(from: now) }
        stopWatching()
        return .surplus
    }

    mutating func stopWatching() { watchedSince = nil }

    private mutating func watch(from now: Duration) -> Judgement {
        watchedSince = now
        leftSince = 0
        return .watched
    }
}

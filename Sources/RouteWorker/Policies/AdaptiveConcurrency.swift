// How many calls an org may get at a time, by how it takes them. Pure.

/// Additive increase, multiplicative decrease: halved when the org says that it is busy, one more for every round of
/// calls that went well.
struct AdaptiveConcurrency: Sendable, Hashable {
    /// Several calls that were under way together tell of one overload.
    static let shortestBetweenCuts: Duration = .seconds(1)

    private(set) var maximum: Int
    private(set) var limit: Int
    private var successes = 0
    private var lastCut: Duration?

    /// - Parameter maximum: where it starts; at least 1.
    init(maximum: Int) {
        self.maximum = max(maximum, 1)
        limit = self.maximum
    }

    /// A call went well.
    ///
    /// - Returns: whether the limit changed.
    mutating func succeeded() -> Bool {
        guard limit < maximum else { return false }
        successes += 1
        guard successes >= limit else { return false }
        successes = 0
        limit += 1
        return true
    }

    /// The org said that it is busy: 429, 503, or its rate limit's message.
    ///
    /// - Parameters:
    ///   - running: calls that were under way, since a limit above that bounds nothing.
    ///   - now: on a clock that never steps.
    /// - Returns: whether the limit changed.
    mutating func wasBusy(running: Int, now: Duration) -> Bool {
        if let lastCut, now - lastCut < Self.shortestBetweenCuts { return false }
        lastCut = now
        successes = 0
        let cut = max(min(limit, max(running, 1)) / 2, 1)
        defer { limit = cut }
        return cut != limit
    }

    /// After trouble: begins with a few calls.
    mutating func startSlowly() {
        successes = 0
        limit = min(limit, max(maximum / 8, 1))
    }

    /// The configuration changed.
    mutating func bound(by maximum: Int) {
        let wasUnbounded = limit == self.maximum
        self.maximum = max(maximum, 1)
        limit = wasUnbounded ? self.maximum : min(limit, self.maximum)
    }
}

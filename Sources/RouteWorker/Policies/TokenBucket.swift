// How many calls a second an org may get. Pure.

/// A token bucket: so many calls a second on average, and at most one second's worth at once.
///
/// The rate is that of the whole fleet; each worker takes its share of it.
struct TokenBucket: Sendable, Hashable {
    /// Calls a second of all workers together; more than 0.
    private(set) var fleetRate: Double
    private var workers = 1
    /// Below zero where calls are waiting for tokens that they have taken already.
    private var tokens: Double
    private var filledAt: Duration

    /// - Parameter now: on a clock that never steps.
    init(fleetRate: Double, now: Duration) {
        precondition(fleetRate > 0, "a rate of nothing would let no call through")
        self.fleetRate = fleetRate
        tokens = max(fleetRate, 1)
        filledAt = now
    }

    /// Calls a second of this worker.
    var rate: Double { fleetRate / Double(workers) }
    private var capacity: Double { max(rate, 1) }

    /// Takes one token for a call.
    ///
    /// - Returns: how long the call has to wait for it.
    mutating func take(now: Duration) -> Duration {
        fill(now)
        tokens -= 1
        return tokens >= 0 ? .zero : .seconds(-tokens / rate)
    }

    /// A token that was taken is not used: no call is made.
    mutating func giveBack(now: Duration) {
        fill(now)
        tokens = min(tokens + 1, capacity)
    }

    /// The rate, or the number of workers that share it, changed.
    mutating func share(_ fleetRate: Double, among workers: Int, now: Duration) {
        guard fleetRate != self.fleetRate || workers != self.workers else { return }
        fill(now)
        self.fleetRate = fleetRate
        self.workers = max(workers, 1)
        tokens = min(tokens, capacity)
    }

    private mutating func fill(_ now: Duration) {
        let passed = max(now - filledAt, .zero) / .seconds(1)
        tokens = min(tokens + passed * rate, capacity)
        filledAt = max(now, filledAt)
    }
}

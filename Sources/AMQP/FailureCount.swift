// How often something that is tried again has failed in a row. Pure.

/// What lasted starts the count anew; what ends at once counts as a failed attempt.
struct FailureCount {
    typealias Instant = ContinuousClock.Instant

    private var count = 0
    /// Since when it works; `nil` while it does not.
    private var since: Instant?

    mutating func worked(now: Instant) { since = now }

    /// An attempt failed, or what worked has ended.
    ///
    /// - Parameter lasting: how long it must have worked to start the count anew.
    /// - Returns: the failures in a row, this one included.
    mutating func failed(now: Instant, lasting: Duration) -> Int {
        if let since, now - since > lasting { count = 0 }
        since = nil
        count += 1
        return count
    }
}

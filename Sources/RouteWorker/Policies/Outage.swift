// What of something that fails again and again is worth a line in the log. Pure.

/// What goes wrong with one connection, queue or store until it works again.
struct Outage<Failure: Hashable> {
    typealias Instant = ContinuousClock.Instant

    /// What an attempt that failed is.
    enum Attempt: Hashable {
        /// It failed in a way that was not seen yet.
        case news
        /// Nothing was said for ``reminderInterval``.
        case reminder(away: Duration)
        case repetition
    }

    static var reminderInterval: Duration { .seconds(60) }
    /// What works between two failures that are no further apart has not come back.
    static var settlingTime: Duration { .seconds(1) }

    /// Ways of failing that are told before a reminder is due: each of a server's texts may differ from all before it.
    static var maximumNews: Int { 20 }

    private var said: Set<Failure> = []
    private var since: Instant?
    private var lastSaid: Instant?
    private var lastFailed: Instant?

    /// Something that worked is lost, which is said.
    mutating func began(_ failure: Failure, now: Instant) {
        said = [failure]
        since = now
        lastSaid = now
        lastFailed = now
    }

    /// Also the first attempt after a loss is told of, with the same failure.
    mutating func failed(_ failure: Failure, now: Instant) -> Attempt {
        guard let since, let lastSaid else {
            began(failure, now: now)
            return .news
        }
        lastFailed = now
        let attempt: Attempt =
            if said.count < Self.maximumNews, said.insert(failure).inserted {
                .news
            } else if now - lastSaid >= Self.reminderInterval {
                .reminder(away: now - since)
            } else {
                .repetition
            }
        if attempt != .repetition { self.lastSaid = now }
        return attempt
    }

    /// An attempt did not fail. The clock is read only where it counts: every command comes by here.
    ///
    /// - Returns: for how long the others did, where that is over with this attempt.
    mutating func worked(now: @autoclosure () -> Instant) -> Duration? {
        guard let since, let lastFailed, now() - lastFailed >= Self.settlingTime else { return nil }
        self = Outage()
        return lastFailed - since
    }
}

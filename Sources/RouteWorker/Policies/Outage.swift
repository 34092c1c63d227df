// What of a broker that is away is worth a line in the log. Pure.

import AMQP

/// What goes wrong with one connection until it stands again.
struct Outage {
    typealias Instant = ContinuousClock.Instant

    /// What an attempt that failed is.
    enum Attempt: Hashable {
        /// It failed in a way that was not seen yet.
        case news
        /// Nothing was said for ``reminderInterval``.
        case reminder(away: Duration)
        case repetition
    }

    static let reminderInterval: Duration = .seconds(60)

    private var said: Set<AMQPError> = []
    private var since: Instant?
    private var lastSaid: Instant?

    /// A connection that stood is lost, which is said.
    mutating func began(_ error: AMQPError, now: Instant) {
        said = [error]
        since = now
        lastSaid = now
    }

    /// Also the first attempt after a loss is told of, with the same error.
    mutating func failed(_ error: AMQPError, now: Instant) -> Attempt {
        guard let since, let lastSaid else {
            began(error, now: now)
            return .news
        }
        let attempt: Attempt =
            if said.insert(error).inserted {
                .news
            } else if now - lastSaid >= Self.reminderInterval {
                .reminder(away: now - since)
            } else {
                .repetition
            }
        if attempt != .repetition { self.lastSaid = now }
        return attempt
    }
}

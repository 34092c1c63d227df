// When a publisher replaces its channel because the broker refuses what is published on it. Pure.

/// Decides over the life of a publisher's channel.
///
/// A channel that first publishes to a quorum queue while the queue has no leader is answered with `basic.nack` for as
/// long as it lives, also after a leader has been elected (seen with RabbitMQ 3.10); a new channel is not. A full queue
/// with `reject-publish` nacks as well, and no new channel helps there, so each one that is refused too makes the next
/// wait twice as long.
struct ChannelRenewal {
    typealias Instant = ContinuousClock.Instant

    /// What may be done on the channel now.
    enum Step: Hashable {
        case publish
        /// Publish nothing: first what is in flight should be answered, since a channel that is closed answers no more.
        case hold
        /// Close the channel and open another; tell ``renewed(now:)``.
        case renew
    }

    static let shortestInterval: Duration = .milliseconds(500)
    static let longestInterval: Duration = .seconds(30)
    /// How long nothing may be answered before what is in flight is given up: its confirms depend on others.
    static let patience: Duration = .seconds(2)

    private var interval = Self.shortestInterval
    private var renewedAt: Instant?
    private var lastNack: Instant?
    /// The last answer since the channel is to be replaced.
    private var outdatedSince: Instant?

    /// The broker took a message, or returned it. The clock is read only where it counts: every message comes by here.
    mutating func answered(now: @autoclosure () -> Instant) {
        if outdatedSince != nil { outdatedSince = now() }
    }

    /// The broker refused a message.
    mutating func nacked(now: Instant) {
        defer { lastNack = now }
        guard outdatedSince == nil else {
            outdatedSince = now
            return
        }
        if let renewedAt {
            let quietSince = lastNack.map { max($0, renewedAt) } ?? renewedAt
            if now - quietSince >= interval * 2 {
                interval = Self.shortestInterval
            } else if now - renewedAt < interval {
                return
            } else {
                interval = min(interval * 2, Self.longestInterval)
            }
        }
        outdatedSince = now
    }

    /// - Parameters:
    ///   - isIdle: nothing is in flight.
    ///   - isBlocked: the broker reads nothing at present; it would not answer to a new channel either.
    func step(isIdle: Bool, isBlocked: Bool, now: @autoclosure () -> Instant) -> Step {
        guard let outdatedSince else { return .publish }
        if isBlocked { return .hold }
        return isIdle || now() - outdatedSince >= Self.patience ? .renew : .hold
    }

    /// A new channel is open, on this connection or another.
    mutating func renewed(now: Instant) {
        outdatedSince = nil
        renewedAt = now
    }
}

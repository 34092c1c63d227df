// How long a store waits between attempts to connect.

import Foundation
import RoutingContract

/// Doubles from 50 ms to 1 s, with jitter, so that workers do not come back to a server all at once.
public struct ReconnectDelay: Sendable {
    private static let (minimum, maximum) = (50, 1000)

    private var failures = 0
    /// Before then no attempt is made.
    public private(set) var notBefore = ContinuousClock.Instant.now

    public init() {}

    public mutating func failed(at now: ContinuousClock.Instant) {
        let limit = min(Self.maximum, Self.minimum << min(failures, 10))
        failures += 1
        notBefore = now + .milliseconds(Int.random(in: limit / 2...limit))
    }

    /// Blocks the calling thread.
    public func wait(atMostUntil deadline: ContinuousClock.Instant) {
        let left = (min(notBefore, deadline) - .now).wholeMilliseconds
        if left > 0 { usleep(UInt32(clamping: left * 1000)) }
    }

    public mutating func succeeded() {
        self = ReconnectDelay()
    }
}

// When a failed call is tried again, and when the worker gives up. Pure.

public import AMQP

/// The budget of one command: whichever bound is met first ends it.
public struct RetryPolicy: Sendable, Hashable {
    /// Calls at most, the first included; at least 1.
    public var attempts: Int
    /// From the first claim to the start of the last call.
    public var budget: Duration
    /// Between two calls; a server's `Retry-After` can only lengthen it.
    public var backoff: Backoff

    public init(
        attempts: Int = 10, budget: Duration = .seconds(120),
        backoff: Backoff = Backoff(minimum: .milliseconds(200), maximum: .seconds(20))
    ) {
        self.attempts = attempts
        self.budget = budget
        self.backoff = backoff
    }
}

/// What happens to a route whose call may have taken effect without an answer.
public enum UnknownEffectPolicy: String, Sendable, Hashable, CaseIterable {
    /// Say so: outcome `unknown`, no second call.
    case report
    /// Call again; there may be two effects.
    case retry
    /// `Initial` only: clear the conversation's routing under a derived RequestId, then route again. Other routing
    /// types are reported.
    case clearThenRoute = "clear-then-route"
}

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

/// How the commands of one org are worked on.
public struct OrgPolicy: Sendable, Hashable {
    /// For one call: token, connection, request and answer together.
    public var callTimeout: Duration
    /// A call is not started with less time than this before the command's deadline.
    public var minimumCallTime: Duration
    public var retry: RetryPolicy
    public var unknownEffect: UnknownEffectPolicy
    /// Commands of the org in work at one time, at least 1; `nil` is as many as the worker has slots.
    public var maximumConcurrency: Int?

    public init(
        callTimeout: Duration = .seconds(10), minimumCallTime: Duration = .seconds(1),
        retry: RetryPolicy = RetryPolicy(), unknownEffect: UnknownEffectPolicy = .report, maximumConcurrency: Int? = nil
    ) {
        self.callTimeout = callTimeout
        self.minimumCallTime = min(minimumCallTime, callTimeout)
        self.retry = retry
        self.unknownEffect = unknownEffect
        self.maximumConcurrency = maximumConcurrency
    }
}

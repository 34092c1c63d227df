// The life of one org's access token, as a machine: when it is used, when a new one is asked for, when not. No I/O.

/// What bounds the requests for new tokens.
public struct TokenRefreshPolicy: Sendable, Hashable {
    /// Between two requests of an org that the endpoint answers, however often its tokens are refused.
    public var minimumInterval: Duration = .seconds(10)
    /// The first wait after the endpoint could not be reached; doubled with each failure, with jitter.
    public var minimumBackoff: Duration = .seconds(1)
    public var maximumBackoff: Duration = .seconds(60)

    public init() {}
}

/// Why a round of requests gave no token.
struct TokenTrouble: Error, Sendable, Hashable {
    var failure: TokenFailure
    /// The endpoint answered, and said no: somebody has to change something.
    var isRefusal: Bool
    /// What the endpoint asked for, bounded.
    var retryAfter: Duration?
}

/// One org's token. All times are of a clock that never steps.
struct TokenCycle: Sendable {
    enum Answer: Sendable, Hashable {
        /// Use this one; ask for its successor meanwhile where it is time for that.
        case token(AccessToken, thenRefresh: Bool)
        /// Ask for one, or wait for the one that was asked for.
        case refresh
        /// None can be had, and it is too early to ask again.
        case failure(TokenFailure)
    }

    private let policy: TokenRefreshPolicy
    private var token: AccessToken?
    private var issuedAt: Duration = .zero
    /// `nil` where the lifetime is not known: then only a refusal tells its end.
    private var refreshAt: Duration?
    private var expiresAt: Duration?
    /// No request begins before.
    private var notBefore: Duration = .zero
    private var failures = 0
    private var failure: TokenFailure?
    private(set) var isRefreshing = false

    init(policy: TokenRefreshPolicy) {
        self.policy = policy
    }

    /// Why there is no token; `nil` where there is one, or none was needed yet.
    var trouble: TokenFailure? { token == nil ? failure : nil }

    func asked(now: Duration) -> Answer {
        let canRefresh = isRefreshing || now >= notBefore
        if let token {
            // While no other can be had, one that should have expired is tried: the server knows better.
            if let expiresAt, now >= expiresAt, canRefresh { return .refresh }
            let isDue = refreshAt.map { now >= $0 } ?? false
            return .token(token, thenRefresh: isDue && canRefresh && !isRefreshing)
        }
        if canRefresh { return .refresh }
        let wait =
            "the next request for one is made in \(max(1, Int((notBefore - now) / .seconds(1)))) s at the earliest"
        // One that was refused is soon followed by another; where none was given, nobody knows.
        return .failure(
            TokenFailure(
                "\(failure?.description ?? "no access token was asked for yet"); \(wait)",
                retryAfter: failures == 0 ? notBefore - now : nil))
    }

    /// An answer refused `refused`.
    mutating func refused(_ refused: AccessToken, now: Duration) -> Answer {
        if token == refused {
            token = nil
            failure = TokenFailure(
                "Salesforce refused the access token that was issued \(Int((now - issuedAt) / .seconds(1))) s before")
        }
        return asked(now: now)
    }

    /// Somebody may have mended why no token was given: the next request need not wait.
    mutating func mayBeMended(now: Duration) {
        if failures > 0 { notBefore = min(notBefore, now) }
    }

    mutating func refreshStarted(now: Duration) {
        isRefreshing = true
        notBefore = now + policy.minimumInterval
    }

    /// - Parameter lifetime: `nil` where it is not known.
    mutating func succeeded(
        _ token: AccessToken, lifetime: Duration?, now: Duration, using generator: inout some RandomNumberGenerator
    ) {
        isRefreshing = false
        failures = 0
        failure = nil
        self.token = token
        issuedAt = now
        // Not all workers of a fleet at once.
        refreshAt = lifetime.map { now + $0 * Double.random(in: 0.75...0.9, using: &generator) }
        expiresAt = lifetime.map { now + $0 - min($0 / 10, .seconds(10)) }
    }

    mutating func failed(_ trouble: TokenTrouble, now: Duration, using generator: inout some RandomNumberGenerator) {
        isRefreshing = false
        failures += 1
        failure = trouble.failure
        let ceiling = min(policy.minimumBackoff * (1 << min(failures - 1, 16)), policy.maximumBackoff)
        var wait = ceiling * Double.random(in: 0.5...1, using: &generator)
        if trouble.isRefusal { wait = max(wait, policy.minimumInterval) }
        notBefore = now + max(wait, trouble.retryAfter ?? .zero)
    }
}

// Each org's tokens from where its configuration says.

public import RoutingContract

/// Asks ``OAuthTokens`` for the orgs that it has credentials of, and ``FixedTokens`` for all others.
public struct TokensByOrg: AccessTokens {
    private let fixed: FixedTokens
    private let oauth: OAuthTokens

    public init(fixed: FixedTokens, oauth: OAuthTokens) {
        self.fixed = fixed
        self.oauth = oauth
    }

    public func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure> {
        oauth.has(org)
            ? await oauth.token(for: org, timeout: timeout) : await fixed.token(for: org, timeout: timeout)
    }

    public func token(
        for org: OrgID, insteadOf refused: AccessToken, timeout: Duration
    ) async -> Result<AccessToken, TokenFailure>? {
        oauth.has(org)
            ? await oauth.token(for: org, insteadOf: refused, timeout: timeout)
            : await fixed.token(for: org, insteadOf: refused, timeout: timeout)
    }

    /// From now on tokens come from here; an org whose part is the same keeps its token. To be called on the event loop
    /// of its sources, so that no call sees a part of it.
    ///
    /// - Parameter oauth: found to be right by ``OAuthTokens/check(_:)``.
    public func replace(fixed: [OrgID: TokenSource], oauth: [OrgID: OAuthCredentials]) {
        self.fixed.assumeIsolated { $0.replaceSources(with: fixed) }
        self.oauth.assumeIsolated { $0.replaceCredentials(with: oauth) }
    }

    /// Which orgs have no token.
    public struct State: Sendable {
        /// How many have a source of tokens.
        public var orgs = 0
        public var problems: [OrgID: TokenFailure] = [:]

        public init() {}
    }

    /// Of orgs whose tokens are fetched, only those have a problem that needed one already: nothing is fetched for this.
    public func state() async -> State {
        let (count, problems) = await fixed.problems()
        var state = State()
        state.orgs = count + oauth.orgs.count
        state.problems = await oauth.problems.merging(problems) { first, _ in first }
        return state
    }

    public func shutDown() async {
        await oauth.shutDown()
        await fixed.shutDown()
    }
}

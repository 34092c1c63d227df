// The port: where access tokens come from.

public import RoutingContract

/// Gives the access token for an org's calls.
public protocol AccessTokens: Sendable {
    /// The token for calls of `org`. Returns within `timeout`; a failure's message says what to mend and holds no secret.
    func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure>

    /// Another token than `refused`, which an answer (401, code 10004) has just refused. Returns within `timeout`; `nil`
    /// where no other one can be had now, a failure where one was asked for and not given.
    func token(
        for org: OrgID, insteadOf refused: AccessToken, timeout: Duration
    ) async -> Result<AccessToken, TokenFailure>?

    /// Ends what is under way; for after the drain.
    func shutDown() async
}

/// Why there is no token, for ``CallFailure/message``. Holds no secret.
public struct TokenFailure: Error, Sendable, Hashable, CustomStringConvertible {
    public let description: String
    /// After which one can be asked for again, where nothing but time is in the way: too little since the last request, or too
    /// little that the call had.
    public let retryAfter: Duration?

    public init(_ description: String, retryAfter: Duration? = nil) {
        self.description = description
        self.retryAfter = retryAfter
    }
}

/// An access token, safe to be put into a header and kept out of every log: no description, dump or mirror shows it.
public struct AccessToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    /// The value of the `Authorization` header: `Bearer …`. Secret.
    public let authorization: String

    /// Takes visible ASCII without spaces: RFC 6750 §2.1 allows less, but Salesforce's tokens hold a `!`. `nil` for
    /// anything else, or beyond 16 KiB.
    public init?(_ token: some StringProtocol) {
        guard 1...(16 * 1024) ~= token.utf8.count, token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        authorization = "Bearer " + token
    }

    /// The org that the token names itself: Salesforce's opaque tokens are `{orgId}!…`. `nil` for all others.
    var org: OrgID? {
        let token = authorization.dropFirst("Bearer ".count)
        return token.firstIndex(of: "!").flatMap { OrgID(token[..<$0]) }
    }

    public var description: String { "<access token>" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: [], displayStyle: .struct) }
}
